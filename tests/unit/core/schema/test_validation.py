"""What is said to be covered must be so for every value: small families of schemas, so that many pairs are covered."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch.core.schema.validation import canonical, compiled, covers, same

S, INT, ANY = {"type": "string"}, {"type": "integer"}, {}
SCALARS = [None, True, False, 0, 1, 2, 3, -1, 1.5, 2.0, "", "a", "bb", "x1"]
ARRAYS = [list(items) for size in range(4) for items in itertools.product([1, "a", None], repeat=size)]
OBJECTS = [
    {name: value for name, value in zip(("p", "q", "pp"), row, strict=True) if value != "-"}
    for row in itertools.product(["-", 1, "a", None], repeat=3)
]
VALUES = [*SCALARS, *ARRAYS, *OBJECTS, [[1]], [{"p": 1}], {"p": [1]}, {"p": {"p": "a"}}]

parts = st.sampled_from(
    [S, INT, ANY, True, False, {"type": "number"}, {"enum": [1, "a"]}, {"type": ["string", "null"]}]
)
small = st.integers(0, 3)
names = st.sampled_from(["p", "q"])


def some(**keywords):
    """An object with any of these keywords."""
    return st.fixed_dictionaries({}, optional=keywords)


numbers = some(
    type=st.sampled_from(["integer", "number", ["integer", "null"]]), minimum=small, maximum=small,
    exclusiveMinimum=small, exclusiveMaximum=small, multipleOf=st.integers(1, 3), enum=st.just([0, 1, 2]), const=small,
)  # fmt: skip
texts = some(
    type=st.sampled_from(["string", ["string", "integer"]]), minLength=small, maxLength=small,
    pattern=st.sampled_from(["a", "^x"]), enum=st.lists(st.sampled_from(["a", "bb", 1]), min_size=1),
)  # fmt: skip
arrays = some(
    type=st.just("array"), items=parts, prefixItems=st.lists(parts, min_size=1, max_size=2), minItems=small,
    maxItems=small, uniqueItems=st.booleans(), contains=parts, minContains=small,
)  # fmt: skip
objects = some(
    type=st.just("object"), properties=st.dictionaries(names, parts, max_size=2), additionalProperties=parts,
    required=st.lists(names, unique=True), patternProperties=st.dictionaries(st.just("^p"), parts, max_size=1),
    minProperties=small, maxProperties=small, propertyNames=st.sampled_from([{"maxLength": 1}, True]),
    dependentRequired=st.just({"p": ["q"]}), unevaluatedProperties=st.just(False),
)  # fmt: skip
simple = st.one_of(parts, numbers, texts, arrays, objects)
unions = st.one_of(
    st.builds(lambda word, each: {word: each}, st.sampled_from(["anyOf", "oneOf", "allOf"]),
              st.lists(simple, min_size=1, max_size=3)),
    st.builds(lambda each, rest: {"not": each, **rest}, parts, numbers),
    st.builds(lambda test, then: {"if": test, "then": then, "else": False}, parts, parts),
    st.builds(lambda each, rest: {"anyOf": each, **rest}, st.lists(simple, min_size=1, max_size=2), objects),
)  # fmt: skip
families = (numbers, texts, arrays, objects, unions, simple)
pairs = st.one_of(*(st.tuples(family, family) for family in families), st.tuples(simple, unions))


def are_covered(old, new):
    return covers(canonical(new, new), canonical(old, old))


def check(old, new):
    if not are_covered(old, new):
        return
    was, is_ = compiled(old), compiled(new)
    for value in VALUES:
        assert is_.is_valid(value) or not was.is_valid(value), (old, new, value)


def rooted(schema):
    return schema if isinstance(schema, dict) else {"allOf": [schema]}


@settings(max_examples=settings.default.max_examples * 4)  # few pairs are covered
@given(pairs)
def test_what_is_said_to_be_covered_is_covered(pair):
    check(*map(rooted, pair))


@settings(max_examples=settings.default.max_examples * 2)
@given(objects, st.data())
def test_an_object_that_loses_or_changes_one_keyword_is_judged_rightly(old, data):
    changed = data.draw(objects)
    keyword = data.draw(st.sampled_from([*old, *changed, "type"]))
    new = {key: value for key, value in old.items() if key != keyword}
    check(old, new)
    check(new, old)
    check(old, {**new, **{key: changed[key] for key in changed if key == keyword}})


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [(1, 1.0, True), (1, True, False), (0, False, False), ([1], [True], False), ({"a": 0}, {"a": False}, False),
     ({"a": 1, "b": 2}, {"b": 2.0, "a": 1}, True), ("1", 1, False), (None, False, False)],
)  # fmt: skip
def test_values_are_equal_as_json_schema_has_it(one, other, equal):
    assert same(one, other) is equal


@pytest.mark.parametrize(
    ("old", "new", "covered"),
    [
        ({"type": "integer", "minimum": 2}, {"exclusiveMinimum": 2}, False),
        ({"type": "integer", "minimum": 2}, {"exclusiveMinimum": 1}, True),
        ({"type": "integer", "exclusiveMinimum": 2}, {"minimum": 2}, True),
        ({"type": "integer", "maximum": 2}, {"exclusiveMaximum": 2}, False),
        ({"type": "integer", "minimum": 2**53 + 3}, {"minimum": 2**53 + 4}, False),
        ({"type": "integer", "minimum": 10**400}, {"minimum": 10**399}, True),
        ({"type": "integer", "enum": [10**400]}, {"multipleOf": 0.3}, False),
        ({"type": "integer", "multipleOf": 4}, {"multipleOf": 2}, True),
        ({"type": "integer", "multipleOf": 2}, {"multipleOf": 4}, False),
        ({"type": "array"}, {"prefixItems": [INT, INT], "items": S}, False),
        ({"type": "array", "prefixItems": [INT, INT]}, {"prefixItems": [INT, INT], "items": S}, False),
        ({"type": "array", "prefixItems": [INT, INT], "maxItems": 2}, {"items": INT}, True),
        ({"type": "array", "prefixItems": [INT, INT], "items": False}, {"items": INT}, True),
        ({"type": "object", "patternProperties": {"^p": S}, "additionalProperties": False},
         {"maxProperties": 0}, False),
        ({"type": "object", "patternProperties": {"^p": S}, "additionalProperties": False},
         {"additionalProperties": False}, False),
        ({"type": "object", "properties": {"p": S}, "additionalProperties": False}, {"additionalProperties": S}, True),
        ({"type": "string"}, {"type": "string", "contains": INT}, True),
        ({"anyOf": [INT, S]}, {"anyOf": [S, INT, {"type": "null"}]}, True),
        ({"anyOf": [INT, S]}, {"oneOf": [S, INT]}, True),
        ({"oneOf": [INT, S]}, {"oneOf": [INT, S]}, True),
    ],
)  # fmt: skip
def test_these_are_judged_so(old, new, covered):
    assert are_covered(old, new) is covered
    check(old, new)
