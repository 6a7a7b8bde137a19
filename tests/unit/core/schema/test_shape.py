from __future__ import annotations

import pytest

from dispatch.core.schema import shape

pytestmark = pytest.mark.one_database
TEXT, NUMBER, NULL = {"type": "string"}, {"type": "number"}, {"type": "null"}
AUTHOR = {"type": "object", "properties": {"name": TEXT}}
DOCUMENT = {
    "$defs": {
        "Author": AUTHOR,
        "Named": {"$ref": "#/$defs/Author"},
        "Endless": {"allOf": [{"$ref": "#/$defs/Endless"}]},
    }
}


@pytest.mark.parametrize(
    ("given", "simplified", "takes_null"),
    [
        (TEXT, TEXT, False),
        ({"$ref": "#/$defs/Named", "description": "Who."}, {**AUTHOR, "description": "Who."}, False),
        ({"anyOf": [TEXT, NULL], "default": None}, {**TEXT, "default": None}, True),
        ({"anyOf": [{"$ref": "#/$defs/Author"}, NULL]}, AUTHOR, True),
        ({"allOf": [{"$ref": "#/$defs/Author"}]}, AUTHOR, False),
        ({"type": ["string", "null"]}, TEXT, True),
        ({"enum": ["a", None]}, {"enum": ["a"]}, True),
        (NULL, {"type": "null", "const": None}, False),
        ({"anyOf": [TEXT, NUMBER, NULL]}, {"anyOf": [TEXT, NUMBER, NULL]}, False),
        ({"$ref": "#/$defs/Gone"}, {}, False),
        ({"$ref": "#/$defs/Endless"}, {}, False),
        (True, {}, False),
    ],
)
def test_references_and_null_are_taken_out(given, simplified, takes_null):
    assert shape.simplified(DOCUMENT, given) == (simplified, takes_null)


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        (TEXT, "scalar"),
        ({"enum": [1, "a"]}, "scalar"),
        (AUTHOR, "object"),
        ({**AUTHOR, "anyOf": [{"required": ["name"]}]}, "object"),
        ({"properties": {"name": TEXT}}, "object"),
        ({"type": "object", "additionalProperties": NUMBER}, "any"),
        ({"type": "array", "items": TEXT}, "array"),
        ({"type": "array", "prefixItems": [TEXT]}, "any"),
        ({"oneOf": [TEXT, NUMBER]}, "union"),
        ({"type": ["string", "number"]}, "union"),
        ({}, "any"),
    ],
)
def test_a_schema_is_of_one_kind(schema, kind):
    assert shape.kind(schema) == kind


def test_a_union_has_alternatives_by_schema_or_by_type():
    assert shape.alternatives({"oneOf": [TEXT, NUMBER], "title": "Either"}) == [TEXT, NUMBER]
    assert shape.alternatives({"type": ["string", "number"]}) == [TEXT, NUMBER]
