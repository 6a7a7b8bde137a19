"""A task's parameters as Python has them: read from the JSON Schema of the call's keyword form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dispatch.core.python_source.names import identifier


@dataclass(frozen=True, slots=True)
class Argument:
    """One parameter; ``name`` is its name in Python, ``key`` the worker's."""

    name: str
    key: str
    schema: Any
    required: bool

    @property
    def description(self) -> str:
        """What the worker says of it."""
        return str(self.schema.get("description", "")) if isinstance(self.schema, Mapping) else ""

    @property
    def has_default(self) -> bool:
        """Whether the worker says what it takes where the argument is left out."""
        return not self.required and isinstance(self.schema, Mapping) and "default" in self.schema

    @property
    def default(self) -> Any:
        """What the worker takes where the argument is left out."""
        return self.schema["default"]


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters by kind; ``variadic`` and ``further`` are the schemas of ``*args`` and ``**kwargs``, or None."""

    positional_only: tuple[Argument, ...]
    positional: tuple[Argument, ...]
    variadic: Argument | None
    keyword_only: tuple[Argument, ...]
    further: Argument | None

    @property
    def arguments(self) -> tuple[Argument, ...]:
        """The parameters that have a name of their own, in their order."""
        return (*self.positional_only, *self.positional, *self.keyword_only)

    @property
    def renamed(self) -> dict[str, str]:
        """The worker's names of those parameters whose names are none in Python."""
        return {each.name: each.key for each in self.arguments if each.name != each.key}


def signature(parameters: Mapping[str, Any]) -> Signature:
    """Return the signature of a task, which :func:`dispatch.core.schema.parameters.Parameters.check_schema` accepts.

    Keyword-only parameters are sorted, required ones first: a database may have changed the order of the properties.
    """
    properties = parameters.get("properties", {})
    required = set(parameters.get("required", ()))
    positional = list(dict.fromkeys(parameters.get("x-positional", ())))
    by_position = {*parameters.get("x-positional-only", ())}.intersection(positional)
    unsorted = {*properties, *required}.difference(positional)
    keys = [*positional, *sorted(unsorted, key=lambda key: (key not in required, key))]
    names = _python_names(keys)
    arguments = {key: Argument(names[key], key, properties.get(key, True), key in required) for key in keys}
    placed = _without_gaps([arguments[key] for key in positional])
    split = max((positional.index(key) + 1 for key in by_position), default=0)
    return Signature(
        positional_only=tuple(placed[:split]),
        positional=tuple(placed[split:]),
        variadic=_rest("args", parameters.get("x-variadic", None if parameters else True), names.values()),
        keyword_only=tuple(arguments[key] for key in keys[len(positional) :]),
        further=_rest("kwargs", _further(parameters), names.values()),
    )


def _python_names(keys: Iterable[str]) -> dict[str, str]:
    """Return each parameter's name; those that Python could use as they are keep them."""
    taken = {key for key in keys if identifier(key) == key}
    names: dict[str, str] = {}
    for key in keys:
        if key not in taken:
            names[key] = _free(identifier(key), taken | set(names.values()))
    return {key: names.get(key, key) for key in keys}


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _without_gaps(arguments: list[Argument]) -> list[Argument]:
    """Return them with those required that stand before a required one: Python knows no such gaps."""
    last = max((index for index, each in enumerate(arguments) if each.required), default=-1)
    return [replace(each, required=each.required or index < last) for index, each in enumerate(arguments)]


def _further(parameters: Mapping[str, Any]) -> Any:
    """Return the schema of what names beyond the properties may hold, None where there may be none."""
    if parameters.get("patternProperties"):
        return True
    schema = parameters.get("additionalProperties", True)
    return None if schema is False else schema


def _rest(name: str, schema: Any, taken: Iterable[str]) -> Argument | None:
    free = _free(name, set(taken))
    return None if schema is None else Argument(free, free, schema, required=False)
