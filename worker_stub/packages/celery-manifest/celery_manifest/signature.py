"""A task's signature as JSON Schema 2020-12: what it takes, and what it returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

from celery_manifest.plain import plain
from celery_manifest.schemas import schemas
from celery_manifest.wrappers import Accepted, accepted

DIALECT = "https://json-schema.org/draft/2020-12/schema"
BY_KEYWORD = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def parameters_schema(function: Callable[..., Any], call: Accepted | None = None) -> dict[str, Any]:
    """Return the JSON Schema of a call by keyword, by default of one that the function accepts.

    `x-positional` lists the names that may be given by position, in order, and `x-positional-only` those of
    them that must be; `x-variadic` is the schema of what `*args` takes beyond them; `**kwargs` opens
    `additionalProperties`.
    """
    parameters = (call or accepted(function)).parameters
    defaults = {each.name: each.default for each in parameters if each.default is not Parameter.empty}
    found, definitions = schemas(
        {each.name: each.annotation for each in parameters}, function, defaults=defaults
    )
    named = [parameter for parameter in parameters if parameter.kind in BY_KEYWORD]
    schema: dict[str, Any] = {
        "$schema": DIALECT,
        "type": "object",
        "properties": {each.name: found[each.name] | _default(each) for each in named},
        "required": [each.name for each in named if each.default is Parameter.empty],
        "additionalProperties": False,
        "x-positional": [each.name for each in parameters if each.kind in BY_POSITION],
    }
    if only := [each.name for each in parameters if each.kind is Parameter.POSITIONAL_ONLY]:
        schema["x-positional-only"] = only
    for each in parameters:
        if each.kind is Parameter.VAR_POSITIONAL:
            schema["x-variadic"] = found[each.name]
        elif each.kind is Parameter.VAR_KEYWORD:
            schema["additionalProperties"] = found[each.name] or True
    return schema | definitions


def returns_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the JSON Schema of what a task returns, `{}` where its annotation says nothing."""
    try:
        annotation = inspect.signature(function).return_annotation
    except (TypeError, ValueError):  # written in C, or its signature is broken
        annotation = Signature.empty
    found, definitions = schemas({"return": annotation}, function, mode="serialization")
    return found["return"] | definitions


def _default(parameter: Parameter) -> dict[str, Any]:
    """Return the default as a schema keyword, nothing when there is none or JSON cannot say it."""
    if parameter.default is Parameter.empty:
        return {}
    try:
        return {"default": plain(parameter.default)}
    except ValueError:
        return {}
