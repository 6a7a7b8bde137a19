"""A task's JSON Schema in the few words that an operator needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from dispatch.core.schema.summary import describe


@dataclass(frozen=True, slots=True)
class Parameter:
    """One line of the table."""

    name: str
    type: str
    required: bool
    default: str
    sensitive: bool
    description: str


def parameters(schema: Any, sensitive: list[str]) -> Iterator[Parameter]:
    """Yield the parameters in the schema's order."""
    schema = _object(schema)
    properties = _object(schema.get("properties"))
    required = schema.get("required")
    for name, value in properties.items():
        details = _object(value)
        yield Parameter(
            name=name,
            type=describe(details),
            required=name in (required if isinstance(required, list) else ()),
            default=json.dumps(details["default"], ensure_ascii=False) if "default" in details else "",
            sensitive=name in sensitive,
            description=str(details.get("description", "")),
        )


def _object(value: Any) -> dict[str, Any]:
    """Return what a schema has where an object is meant; what is none, as the empty one."""
    return value if isinstance(value, dict) else {}


def table(schema: Any, sensitive: list[str]) -> SafeString:
    """Return the parameters as an HTML table."""
    context = {
        "parameters": list(parameters(schema, sensitive)),
        "is_open": _object(schema).get("additionalProperties", True) is not False,
    }
    return render_to_string("dispatch/parameters.html", context)
