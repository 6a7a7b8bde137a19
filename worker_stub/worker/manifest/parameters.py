"""JSON Schema of a task's parameters, from its signature.

Each parameter is judged alone: an annotation of which pydantic makes no schema leaves its own parameter open
to anything, and the others as strict as they are.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable, Iterable
from inspect import Parameter
from typing import Any, get_type_hints

from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_jsonable_python

DIALECT = "https://json-schema.org/draft/2020-12/schema"
BY_KEYWORD = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)

logger = logging.getLogger(__name__)


def parameters_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the JSON Schema 2020-12 of a call by keyword.

    `x-positional` lists the names that may be given by position, in order; `x-variadic` is the schema of what
    `*args` takes beyond them; `**kwargs` opens `additionalProperties`.
    """
    parameters = _signature(function)
    schemas, definitions = _schemas(parameters, function)
    named = [parameter for parameter in parameters if parameter.kind in BY_KEYWORD]
    schema: dict[str, Any] = {
        "$schema": DIALECT,
        "type": "object",
        "properties": {each.name: schemas[each.name] | _default(each) for each in named},
        "required": [each.name for each in named if each.default is Parameter.empty],
        "additionalProperties": False,
        "x-positional": [each.name for each in parameters if each.kind in BY_POSITION],
    }
    for each in parameters:
        if each.kind is Parameter.VAR_POSITIONAL:
            schema["x-variadic"] = schemas[each.name]
        elif each.kind is Parameter.VAR_KEYWORD:
            schema["additionalProperties"] = schemas[each.name] or True
    return schema | definitions


def secret_names(schema: dict[str, Any]) -> set[str]:
    """Return the names of the properties that hold a `SecretStr` or `SecretBytes`, optional ones too."""
    return {name for name, each in schema["properties"].items() if _is_secret(each)}


def _is_secret(schema: dict[str, Any]) -> bool:
    return schema.get("format") == "password" or any(_is_secret(each) for each in schema.get("anyOf", ()))


def _signature(function: Callable[..., Any]) -> list[Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C, or its signature is broken: takes whatever it takes
        return [Parameter("args", Parameter.VAR_POSITIONAL), Parameter("kwargs", Parameter.VAR_KEYWORD)]


def _namespace(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the globals in which postponed annotations have their meaning."""
    return getattr(inspect.unwrap(function), "__globals__", {})


def _schemas(
    parameters: Iterable[Parameter], function: Callable[..., Any]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the schema of each parameter, and the `$defs` they share.

    One call for all of them, so that pydantic tells apart two models of one name.
    """
    schemas, shared = TypeAdapter.json_schemas(
        (each.name, "validation", _adapter(each, function)) for each in parameters
    )
    return {name: schema for (name, _), schema in schemas.items()}, shared


def _adapter(parameter: Parameter, function: Callable[..., Any]) -> TypeAdapter[Any]:
    try:
        adapter = TypeAdapter(_resolved(parameter.annotation, _namespace(function)))
        adapter.json_schema(mode="validation")
    except Exception as error:  # an annotation may be any object and raise anything
        where = getattr(function, "__qualname__", repr(function))
        logger.warning(
            "The parameter %r of %s takes anything: its annotation %r gives no JSON Schema (%s).",
            parameter.name,
            where,
            parameter.annotation,
            str(error).partition("\n")[0],
        )
        return TypeAdapter(Any)
    return adapter


def _resolved(annotation: Any, namespace: dict[str, Any]) -> Any:
    if annotation is Parameter.empty:
        return Any

    def bearer() -> None: ...

    bearer.__annotations__ = {"it": annotation}
    return get_type_hints(bearer, globalns=namespace, include_extras=True)["it"]


def _default(parameter: Parameter) -> dict[str, Any]:
    """Return the default as a schema keyword, nothing when there is none or JSON cannot say it."""
    if parameter.default is Parameter.empty:
        return {}
    try:
        return {"default": json.loads(json.dumps(parameter.default, default=_jsonable, allow_nan=False))}
    except (TypeError, ValueError, RecursionError):
        return {}


def _jsonable(value: Any) -> Any:
    if isinstance(value, set | frozenset):  # in an order that is the same in every process
        return sorted(value)
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True)
    return to_jsonable_python(value)
