from __future__ import annotations

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from dispatch.core.predicates import ASSERTIONS, KEYWORDS, TYPES, compiled

DEFINITIONS = {
    "Colour": {"enum": ["red", "green", 1, True, None, 1.5]},
    "Tree": {
        "type": "object",
        "properties": {"label": {"type": "string"}, "left": {"$ref": "#/$defs/Tree"}},
        "required": ["label"],
    },
}
TREE = {"$ref": "#/$defs/Tree", "$defs": DEFINITIONS}

names = st.sampled_from(["a", "b", "label", "left"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, 1.0, 1.5, -2.5, 1e300])
    | st.sampled_from(["", "a", "ab", "red", "green", "é"])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
)
bounds = st.integers(0, 3)
numbers = st.integers(-3, 3) | st.sampled_from([0.5, 1.5])
types = st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"])


def keywords(inner):
    """Any keywords that the compiler knows, a few at a time, over inner schemas."""
    sizes = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
    numeric = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    parts = {
        "type": types | st.lists(types, min_size=1, max_size=3, unique=True),
        "enum": st.lists(values, min_size=1, max_size=4),
        "const": values,
        "properties": st.dictionaries(names, inner, max_size=3),
        "additionalProperties": inner,
        "required": st.lists(names, max_size=2, unique=True),
        "items": inner,
        "prefixItems": st.lists(inner, min_size=1, max_size=3),
        "anyOf": st.lists(inner, min_size=1, max_size=3),
        "allOf": st.lists(inner, min_size=1, max_size=2),
        "pattern": st.sampled_from(["^a", "b$", "."]),
        "$ref": st.sampled_from(["#/$defs/Colour", "#/$defs/Tree"]),
        "title": st.just("a remark"),
        "format": st.just("uuid"),
        **dict.fromkeys(sizes, bounds),
        **dict.fromkeys(numeric, numbers),
    }
    assert parts.keys() - {"title", "format"} == KEYWORDS.keys()
    return st.sets(st.sampled_from(sorted(parts)), max_size=3).flatmap(
        lambda chosen: st.fixed_dictionaries({name: parts[name] for name in chosen})
    )


schemas = st.recursive(st.booleans() | keywords(st.booleans()), keywords, max_leaves=6)


EDGES = [
    None,
    True,
    False,
    0,
    1,
    2,
    -1,
    0.0,
    1.0,
    1.5,
    2.0,
    "",
    "a",
    "ab",
    "b",
    [],
    [1],
    [1, "a"],
    {},
    {"a": 1},
]
SMALL_SCHEMAS = [
    *({"type": name} for name in TYPES),
    *({"enum": [value, "else"]} for value in EDGES),
    *({"const": value} for value in EDGES),
    *({keyword: limit} for keyword in KEYWORDS if "imum" in keyword for limit in (0, 1, 1.5)),
    *({keyword: 1} for keyword in KEYWORDS if keyword[:3] in ("min", "max") and "imum" not in keyword),
    {"required": ["a"]},
    {"properties": {"a": {"type": "string"}}},
    {"additionalProperties": False},
    {"items": {"type": "string"}},
    {"prefixItems": [{"type": "integer"}], "items": False},
    {"anyOf": [{"type": "string"}, {"type": "null"}]},
    {"allOf": [{"type": "string"}, {"minLength": 1}]},
    {"pattern": "b"},
]


@pytest.mark.parametrize("schema", SMALL_SCHEMAS, ids=repr)
def test_each_keyword_passes_only_what_jsonschema_passes(schema):
    fits, validator = compiled(schema), Draft202012Validator(schema)
    assert fits is not None
    assert [value for value in EDGES if fits(value) and not validator.is_valid(value)] == []
    certain = [
        value for value in EDGES if not isinstance(value, float) and not {"enum", "const"} & schema.keys()
    ]
    assert list(map(fits, certain)) == list(map(validator.is_valid, certain))


@given(schemas, values)
def test_what_it_passes_jsonschema_passes(schema, value):
    document = {"allOf": [schema], "$defs": DEFINITIONS}
    fits = compiled(document)
    assert fits is not None
    said, right = fits(value), Draft202012Validator(document).is_valid(value)
    event(f"predicate {said}, jsonschema {right}")
    assert right or not said


@given(schemas, values)
def test_what_it_does_not_see_to_fit_is_only_a_matter_of_number_types_and_of_compound_constants(
    schema, value
):
    """It compares numbers by type, where JSON Schema says that 1.0 is an integer and equal to 1."""
    document = {"allOf": [schema], "$defs": DEFINITIONS}
    if compiled(document)(value) or not Draft202012Validator(document).is_valid(value):
        return
    assert any(isinstance(part, (float, list, dict)) for part in [value, *parts_of(value)])


def parts_of(value):
    if isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield part
            yield from parts_of(part)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (TREE, {"label": "a", "left": {"label": "b", "left": {"label": "c"}}}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}, None),
        ({"type": "string", "format": "date-time", "description": "when"}, "2026-01-01T00:00:00Z"),
        ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False}, [1]),
        ({"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}}, {"a": 1}),
        ({"enum": ["a", "b"]}, "b"),
        (True, ...),
    ],
    ids=repr,
)
def test_what_manifests_are_made_of_needs_no_jsonschema(schema, value):
    assert compiled(schema, schema if isinstance(schema, dict) else {})(value)


@pytest.mark.parametrize("value", [{"label": "a", "left": {"label": 1}}, {"left": {"label": "a"}}], ids=repr)
def test_recursive_definitions_are_followed_into_the_value(value):
    assert not compiled(TREE)(value)


@pytest.mark.parametrize("keyword", sorted(ASSERTIONS - KEYWORDS.keys()))
def test_a_keyword_that_only_jsonschema_knows_is_left_to_it(keyword):
    assert compiled({keyword: {}}) is None
    assert compiled({"properties": {"a": {keyword: {}}}}) is None


@pytest.mark.parametrize(
    "reference",
    ["https://example.org/a.json", "#/properties/a", "#/$defs/none", "#anchor", "#/$defs/a~1b", "#"],
)
def test_a_reference_to_anything_but_a_definition_is_left_to_jsonschema(reference):
    assert compiled({"$ref": reference, "$defs": {"a~1b": {}}}) is None


def test_a_definition_is_looked_up_in_the_document_that_a_part_belongs_to():
    assert compiled({"$ref": "#/$defs/Colour"}, {"$defs": DEFINITIONS})("red")
