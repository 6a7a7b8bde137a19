from __future__ import annotations

import pytest

from dispatch.admin.parameter_table import describe, parameters, table


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1}, "integer ≥ 1"),
        ({"type": ["string", "null"]}, "string or null"),
        ({"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}]}, "string (uri) or null"),
        ({"type": "array", "items": {"type": "string"}}, "array of string"),
        ({"enum": ["a", 1]}, 'one of "a", 1'),
        ({"const": True}, "true"),
        ({"$ref": "#/$defs/Mode"}, "Mode"),
        ({}, "anything"),
        (True, "anything"),
    ],
)
def test_a_schema_in_words(schema, words):
    assert describe(schema) == words


def test_odd_schemas_are_no_crash():
    assert list(parameters({"properties": [], "required": "x"}, [])) == []
    [one] = parameters({"properties": {"a": True}, "required": None}, ["a"])
    assert (one.type, one.required, one.sensitive) == ("anything", False, True)


def test_the_table_says_whether_more_is_accepted():
    closed = {"properties": {"a": {"type": "string"}}, "additionalProperties": False}
    assert "unchecked" not in table(closed, [])
    assert "unchecked" in table({"properties": {"a": {}}}, [])
    assert "No schema" in table({}, [])
    assert "takes no arguments" in table({"additionalProperties": False}, [])
