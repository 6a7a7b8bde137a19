"""A JSON Schema in the few words that a person needs."""

from __future__ import annotations

import json
from typing import Any

LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "pattern": "/{}/",
    "format": "({})",
}


def describe(schema: Any) -> str:
    """Return ``integer ≥ 1``, ``string or null``, ``array of string``, ``one of "a", "b"`` and the like."""
    if not isinstance(schema, dict):
        return "anything"
    limits = [text.format(schema[key]) for key, text in LIMITS.items() if key in schema]
    return " ".join([_kind(schema), *limits])


def _kind(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if isinstance(schema.get("enum"), list):
        return "one of " + ", ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
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
        return f"array of {describe(schema['items'])}"
    return str(kind) if kind else "anything"


def _alternatives(names: list[str]) -> str:
    return " or ".join(names)
