"""The shape of the values that a schema asks for, as a form shows it: what is left without references and null.

Whether a value fits is not told here: :mod:`dispatch.core.schema.parameters` judges by the schema as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dispatch.core.schema.refs import resolve

#: References in a row, after which a schema is taken for one without end.
LONGEST_CHAIN = 32
UNIONS = ("anyOf", "oneOf")
SCALARS = ("string", "integer", "number", "boolean")


def simplified(document: Mapping[str, Any], given: Any) -> tuple[dict[str, Any], bool]:
    """Return a schema of ``document`` without references and without null, and whether it takes null.

    What stands beside a reference, or a union with null, is kept: pydantic writes defaults and descriptions there. A
    schema that refers without end becomes an empty one.
    """
    schema, takes_null = given if isinstance(given, dict) else {}, False
    for _step in range(LONGEST_CHAIN):
        inner, is_nullable = _inner(document, schema)
        if inner is None:
            return _without_null(schema, takes_null)
        schema, takes_null = inner, takes_null or is_nullable
    return {}, False


def kind(schema: Mapping[str, Any]) -> str:
    """Return what a simplified schema asks for: object, array, union, scalar or any."""
    if "enum" in schema or "const" in schema:
        return "scalar"
    named = schema.get("type", "object" if "properties" in schema else "")
    if isinstance(named, list) or (not named and any(keyword in schema for keyword in UNIONS)):
        return "union"
    if named == "object" and schema.get("properties"):
        return "object"
    if named == "array" and "prefixItems" not in schema:
        return "array"
    return "scalar" if named in SCALARS else "any"


def alternatives(schema: Mapping[str, Any]) -> list[Any]:
    """Return the schemas of a union."""
    if "type" in schema:
        return [{**schema, "type": each} for each in schema["type"]]
    found: list[Any] = next(schema[keyword] for keyword in UNIONS if keyword in schema)
    return found


def _inner(document: Mapping[str, Any], schema: dict[str, Any]) -> tuple[dict[str, Any] | None, bool]:
    """Return the schema that stands for this one, None where it stands for itself; and whether null stood beside it."""
    if "$ref" in schema:
        try:
            return _merged(resolve(document, schema["$ref"]), schema, "$ref"), False
        except LookupError:
            return {}, False
    if kind(schema) in ("union", "any"):
        for keyword in ("allOf", *UNIONS):
            others = [each for each in schema.get(keyword, ()) if not _is_null(each)]
            if len(others) == 1:
                return _merged(others[0], schema, keyword), len(schema[keyword]) > 1
    return None, False


def _merged(inner: Any, outer: dict[str, Any], keyword: str) -> dict[str, Any]:
    beside = {key: value for key, value in outer.items() if key != keyword}
    return {**inner, **beside} if isinstance(inner, dict) else beside


def _without_null(schema: dict[str, Any], takes_null: bool) -> tuple[dict[str, Any], bool]:
    if _is_null(schema):
        return {**schema, "const": None}, takes_null
    if isinstance(names := schema.get("type"), list) and "null" in names:
        others = [name for name in names if name != "null"]
        schema, takes_null = {**schema, "type": others[0] if len(others) == 1 else others}, True
    if None in (values := schema.get("enum", ())):
        schema, takes_null = {**schema, "enum": [value for value in values if value is not None]}, True
    return schema, takes_null


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "null"
