"""Which parameters are to be masked wherever arguments are shown."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType
from typing import Any

from celery_manifest.errors import ManifestError

JSON_TYPES = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    NoneType: "null",
}


def sensitive_names(task_name: str, option: Any, parameters: dict[str, Any]) -> list[str]:
    """Return the parameters of the task option `sensitive`, and those that hold a secret of pydantic's.

    A model with a `SecretStr` somewhere inside makes its whole parameter sensitive: it is masked by name.
    Raises ManifestError for what would leak: a misspelt name, a secret that has no name of its own.
    """
    named = _named(task_name, option)
    unknown = named - parameters["properties"].keys()
    if unknown and parameters["additionalProperties"] is False:
        raise ManifestError(
            f"The task {task_name} calls {sorted(unknown)} sensitive but has no such parameter: "
            f"correct the option `sensitive`, its parameters are {sorted(parameters['properties'])}."
        )
    for keyword, form in (("x-variadic", "*args"), ("additionalProperties", "**kwargs")):
        if _holds_secret(parameters.get(keyword), parameters):
            raise ManifestError(
                f"The task {task_name} takes secrets in {form}, where they cannot be masked by name: "
                "give each of them a parameter of its own."
            )
    secret = {name for name, each in parameters["properties"].items() if _holds_secret(each, parameters)}
    return sorted(named | secret)


def hide_default(schema: dict[str, Any]) -> None:
    """Take the default out of a parameter's schema; what was accepted for its sake goes by its type."""
    default = schema.pop("default", None)
    for index, each in enumerate(schema.get("anyOf", ())):
        if each == {"const": default}:
            schema["anyOf"][index] = {"type": JSON_TYPES[type(default)]}


def _named(task_name: str, option: Any) -> set[str]:
    if isinstance(option, list | tuple | set | frozenset) and all(isinstance(name, str) for name in option):
        return set(option)
    raise ManifestError(
        f"The option `sensitive` of the task {task_name} must be a list of parameter names, not {option!r}."
    )


def _holds_secret(schema: Any, root: dict[str, Any]) -> bool:
    return any(node.get("format") == "password" for node in _nodes(schema, root, set()))


def _nodes(schema: Any, root: dict[str, Any], seen: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the objects that a schema is made of, each definition that it refers to once."""
    if isinstance(schema, list):
        for each in schema:
            yield from _nodes(each, root, seen)
    elif isinstance(schema, dict):
        yield schema
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference not in seen:
            seen.add(reference)
            yield from _nodes(root.get("$defs", {}).get(reference.rpartition("/")[2]), root, seen)
        for each in schema.values():
            yield from _nodes(each, root, seen)
