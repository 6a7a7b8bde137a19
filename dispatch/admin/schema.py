"""A task's JSON Schema in the few words that an operator needs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "pattern": "/{}/",
    "format": "({})",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One line of the table."""

    name: str
    type: str
    required: bool
    default: str
    sensitive: bool
    description: str


def parameters(schema: Mapping[str, Any], sensitive: list[str]) -> Iterator[Parameter]:
    """Yield the parameters in the schema's order."""
    properties = schema.get("properties")
    required = schema.get("required")
    for name, value in (properties if isinstance(properties, dict) else {}).items():
        details = value if isinstance(value, dict) else {}
        yield Parameter(
            name=name,
            type=describe(details),
            required=name in (required if isinstance(required, list) else ()),
            default=json.dumps(details["default"], ensure_ascii=False) if "default" in details else "",
            sensitive=name in sensitive,
            description=str(details.get("description", "")),
        )


def describe(schema: Any) -> str:
    """Return ``integer ≥ 1``, ``string or null``, ``array of string``, ``one of "a", "b"`` and the like."""
    if not isinstance(schema, dict):
        return _("anything")
    limits = [text.format(schema[key]) for key, text in LIMITS.items() if key in schema]
    return " ".join([_kind(schema), *limits])


def table(schema: Mapping[str, Any], sensitive: list[str]) -> SafeString:
    """Return the parameters as an HTML table."""
    context = {
        "parameters": list(parameters(schema, sensitive)),
        "is_open": not schema or schema.get("additionalProperties", True) is not False,
    }
    return render_to_string("dispatch/parameters.html", context)


def _kind(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if isinstance(schema.get("enum"), list):
        return _("one of %(values)s") % {
            "values": ", ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
        }
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            return _alternatives([describe(option) for option in schema[key]])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    return _named(schema)


def _named(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        return _alternatives([str(name) for name in kind])
    if kind == "array" and "items" in schema:
        return _("array of %(items)s") % {"items": describe(schema["items"])}
    return str(kind) if kind else _("anything")


def _alternatives(names: list[str]) -> str:
    return _(" or ").join(names)
