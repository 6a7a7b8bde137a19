from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.core.python_source.names import Names
from dispatch.core.python_source.types import Annotations, Document, joined, quoted

ADDRESS = {"type": "object", "properties": {"street": {"type": "string"}}, "required": ["street"]}


def annotate(schema: Any, definitions: dict[str, Any] | None = None) -> tuple[str, Annotations]:
    document = Document("Send", {"$defs": definitions or {}})
    annotations = Annotations(Names(), [document])
    return joined(annotations.members(schema, document, "thing")), annotations


@pytest.mark.parametrize(
    ("schema", "expression"),
    [
        ({}, "Any"),
        (True, "Any"),
        (False, "Never"),
        ({"type": "string"}, "str"),
        ({"type": "integer", "minimum": 1}, "int"),
        ({"type": "number"}, "float"),
        ({"type": "boolean"}, "bool"),
        ({"type": "null"}, "None"),
        ({"minimum": 1}, "Any"),
        ({"type": ["null", "string"]}, "str | None"),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}, {"type": "string"}]}, "int | str | None"),
        ({"oneOf": [{"type": "integer"}, {}]}, "Any"),
        ({"allOf": [{"minimum": 1}, {"type": "integer"}]}, "int"),
        ({"enum": ["a", None, 1, True]}, 'Literal["a", 1, True] | None'),
        ({"enum": [1.5, [1], {"a": 1}]}, "float | Array[Any] | Mapping[str, Any]"),
        ({"const": "it's"}, 'Literal["it\'s"]'),
        ({"type": "string", "format": "uuid"}, "str | UUID"),
        ({"type": "string", "format": "date"}, "str | dt.date"),
        ({"type": "string", "format": "date-time"}, "str | dt.datetime"),
        ({"type": "string", "format": "time"}, "str | dt.time"),
        ({"type": "string", "format": "email"}, "str"),
        ({"anyOf": [{"type": "number"}, {"type": "string"}]}, "float | str | Decimal"),
        ({"type": "array"}, "Array[Any]"),
        ({"type": "array", "items": {"type": ["integer", "null"]}}, "Array[int | None]"),
        (
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "minItems": 2,
                "maxItems": 2,
            },
            "tuple[int, str]",
        ),
        ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False}, "Array[int]"),
        (
            {"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "string"}},
            "Array[int | str]",
        ),
        ({"type": "object"}, "Mapping[str, Any]"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "Mapping[str, int]"),
        ({"type": "object", "patternProperties": {"^x": {"type": "integer"}}}, "Mapping[str, Any]"),
        (
            {
                "type": "object",
                "patternProperties": {"^x": {"type": "integer"}},
                "additionalProperties": False,
            },
            "Mapping[str, int]",
        ),
        ({**ADDRESS, "additionalProperties": True}, "Mapping[str, Any]"),
        ({"$ref": "https://example.org/schema"}, "Any"),
        ({"$ref": "#/$defs/Gone"}, "Any"),
    ],
    ids=str,
)
def test_a_schema_becomes_the_type_of_what_may_be_sent(schema, expression):
    assert annotate(schema)[0] == expression


@pytest.mark.parametrize(
    ("schema", "expression"),
    [
        ({}, "Any"),
        ({"type": "null"}, "None"),
        ({"type": "string", "format": "uuid"}, "str | UUID"),
        ({"type": "array", "items": {"type": "array", "items": {"type": "string"}}}, "list[list[str]]"),
        (
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "minItems": 2,
                "maxItems": 2,
            },
            "list[int | str]",
        ),
        ({"type": "object", "additionalProperties": {"type": "array"}}, "dict[str, list[Any]]"),
        ({**ADDRESS, "additionalProperties": True}, "dict[str, Any]"),
        ({"type": "array", "items": ADDRESS}, "list[SendItem]"),
        ({"$ref": "#/$defs/Tags", "$defs": {"Tags": {"type": "array"}}}, "Tags"),
        ({"enum": ["value number " + letter for letter in "abcdefghi"]}, "Send"),
    ],
    ids=str,
)
def test_the_schema_of_a_return_value_becomes_the_type_of_what_json_gives(schema, expression):
    document = Document("Send", schema)
    assert Annotations(Names(), [document]).returned(document) == expression


def test_an_object_with_known_keys_becomes_a_typed_dict_named_after_its_place():
    expression, annotations = annotate({"type": "array", "items": ADDRESS})
    assert expression == "Array[SendThingItem]"
    [field] = annotations.definitions["SendThingItem"].fields
    assert (field.name, field.expression, field.required) == ("street", "str", True)


def test_the_keys_of_a_typed_dict_are_sorted_the_required_ones_first():
    schema = {"type": "object", "properties": {"b": {}, "c": {}, "a": {}}, "required": ["c"]}
    _, annotations = annotate(schema)
    assert [field.name for field in annotations.definitions["SendThing"].fields] == ["c", "a", "b"]


def test_a_model_that_contains_itself_is_a_type_that_names_itself():
    node = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}}}
    expression, annotations = annotate({"$ref": "#/$defs/Node"}, {"Node": node})
    assert expression == "Node"
    assert annotations.definitions["Node"].expressions == ("Node | None",)


def test_an_alias_may_contain_itself_but_not_be_itself():
    tree = {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "array", "items": {"$ref": "#/$defs/Tree"}}]}
    _, annotations = annotate({"$ref": "#/$defs/Tree"}, {"Tree": tree})
    assert annotations.definitions["Tree"].expressions == ("Any",)
    _, annotations = annotate({"$ref": "#/$defs/Tree"}, {"Tree": tree["anyOf"][1]})
    assert annotations.definitions["Tree"].expressions == ("Array[Tree]",)


def test_aliases_that_lead_to_each_other_end():
    definitions = {"A": {"$ref": "#/$defs/B"}, "B": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}}
    _, annotations = annotate({"$ref": "#/$defs/A"}, definitions)
    assert annotations.definitions["A"].members == ("B",)
    assert annotations.definitions["B"].members == ("Any",)


def test_a_long_chain_of_models_is_followed_to_its_end():
    definitions: dict[str, Any] = {
        f"M{n}": {"items": {"$ref": f"#/$defs/M{n + 1}"}, "type": "array"} for n in range(3000)
    }
    _, annotations = annotate({"$ref": "#/$defs/M2900"}, definitions | {"M3000": ADDRESS})
    assert annotations.definitions["M2999"].members == ("Array[M3000]",)
    assert annotations.definitions["M3000"].fields


def test_a_long_list_of_values_gets_a_name():
    values = [f"value number {number}" for number in range(9)]
    expression, annotations = annotate({"anyOf": [{"enum": values}, {"type": "null"}]})
    assert expression == "SendThing | None"
    assert len(annotations.definitions["SendThing"].members) == len(values)
    expression, annotations = annotate({"$ref": "#/$defs/Mode"}, {"Mode": {"enum": values}})
    assert expression == "Mode"
    assert len(annotations.definitions["Mode"].members) == len(values)


def documents(*schemas: Any) -> tuple[Annotations, list[str]]:
    found = [
        Document(f"Task{number}", {"$defs": {"Address": schema}}) for number, schema in enumerate(schemas)
    ]
    annotations = Annotations(Names(), found)
    return annotations, [
        joined(annotations.members({"$ref": "#/$defs/Address"}, each, "x")) for each in found
    ]


def test_one_model_in_two_tasks_is_one_type():
    annotations, expressions = documents(ADDRESS, ADDRESS)
    assert expressions == ["Address", "Address"]
    assert list(annotations.definitions) == ["Address"]


def test_two_models_of_one_name_both_bear_the_names_of_their_tasks():
    _, expressions = documents(ADDRESS, {**ADDRESS, "required": []})
    assert expressions == ["Task0Address", "Task1Address"]


def test_schemas_nested_without_end_are_cut():
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(200):
        schema = {"type": "array", "items": schema}
    expression, _ = annotate(schema)
    assert "Any" in expression


# -- what the schema accepts, the type accepts ------------------------------------------------------------------

SCALARS = st.sampled_from(
    [
        ({"type": "string"}, "text"),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"type": "integer"}, 7),
        ({"type": "number"}, 1.5),
        ({"type": "number"}, 2),
        ({"type": "boolean"}, True),
        ({"type": ["null", "integer"]}, None),
        ({"enum": ["a", 1, None]}, "a"),
        ({"const": 'say "hi" | ]'}, 'say "hi" | ]'),
        ({}, [{"a": 1}]),
        ({"$ref": "#/$defs/Node"}, {"value": 1, "next": {"value": 2}}),
    ]
)
KEYS = st.sampled_from(["a", "b", "from", "a-b", "str", "__x"])
NODE = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "next": {"$ref": "#/$defs/Node"}},
    "required": ["value"],
}


def _containers(pairs: Any) -> Any:
    some = st.lists(pairs, min_size=1, max_size=3)
    objects = st.dictionaries(KEYS, pairs, min_size=1, max_size=3)
    return st.one_of(
        pairs.map(lambda p: ({"type": "array", "items": p[0]}, [p[1], p[1]])),
        some.map(lambda ps: (_tuple([p[0] for p in ps]), [p[1] for p in ps])),
        some.map(lambda ps: ({"type": "array", "prefixItems": [p[0] for p in ps]}, [ps[0][1]])),
        some.map(lambda ps: ({"anyOf": [p[0] for p in ps]}, ps[-1][1])),
        pairs.map(lambda p: ({"allOf": [{"description": "x"}, p[0]]}, p[1])),
        pairs.map(lambda p: ({"type": "object", "additionalProperties": p[0]}, {"key": p[1]})),
        objects.map(
            lambda o: ({"type": "object", "properties": {k: p[0] for k, p in o.items()}}, _values(o))
        ),
        objects.map(lambda o: ({**_record(o), "required": sorted(o)}, _values(o))),
        objects.map(lambda o: ({**_record(o), "additionalProperties": True}, {**_values(o), "more": 1})),
    )


def _tuple(schemas: list[Any]) -> dict[str, Any]:
    return {"type": "array", "prefixItems": schemas, "minItems": len(schemas), "maxItems": len(schemas)}


def _record(pairs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {key: pair[0] for key, pair in pairs.items()}}


def _values(pairs: dict[str, Any]) -> dict[str, Any]:
    return {key: pair[1] for key, pair in pairs.items()}


@given(st.recursive(SCALARS, _containers, max_leaves=12))
def test_what_the_schema_accepts_the_type_accepts(pair):
    schema, value = pair
    expression, annotations = annotate(schema, {"Node": NODE})
    assert accepts(expression, value, annotations), expression


def accepts(expression: str, value: Any, types: Annotations) -> bool:
    """Tell what a type checker would, for the expressions that stubs are made of."""
    return _accepts(ast.parse(expression, mode="eval").body, value, types)


def _accepts(node: ast.expr, value: Any, types: Annotations) -> bool:
    match node:
        case ast.BinOp(left, ast.BitOr(), right):
            return _accepts(left, value, types) or _accepts(right, value, types)
        case ast.Subscript(ast.Name("Literal"), values):
            listed = ast.literal_eval(values)
            return any(
                value is each or value == each for each in (listed if isinstance(listed, tuple) else [listed])
            )
        case ast.Subscript(ast.Name("Array"), item):
            return isinstance(value, list) and all(_accepts(item, each, types) for each in value)
        case ast.Subscript(ast.Name("Mapping"), ast.Tuple([_, item])):
            return isinstance(value, dict) and all(_accepts(item, each, types) for each in value.values())
        case ast.Subscript(ast.Name("tuple"), items):
            members = items.elts if isinstance(items, ast.Tuple) else [items]
            fits = isinstance(value, list) and len(value) == len(members)
            return fits and all(map(_accepts, members, value, [types] * len(members)))
        case ast.Constant(None):
            return value is None
        case ast.Name("Any"):
            return True
        case ast.Name(name) if name in types.definitions:
            return _accepts_named(types.definitions[name], value, types)
        case ast.Name(name):
            kinds = {"str": str, "int": int, "float": (int, float), "bool": bool}
            return isinstance(value, kinds.get(name, ()))
    return False


def _accepts_named(found: Any, value: Any, types: Annotations) -> bool:
    if not found.fields:
        return accepts(joined(found.members), value, types)
    fields = {field.name: field for field in found.fields}
    return (
        isinstance(value, dict)
        and value.keys() <= fields.keys()
        and all(name in value for name, field in fields.items() if field.required)
        and all(accepts(fields[name].expression, each, types) for name, each in value.items())
    )


@given(st.text(st.characters()))
def test_a_quoted_text_is_that_text_again(text):
    assert ast.literal_eval(quoted(text)) == text


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({"type": "integer"}, 2, True),
        ({"type": "integer"}, 2.0, False),
        ({"type": "integer"}, None, False),
        ({"type": ["integer", "null"]}, None, True),
        ({"enum": ["a", "b"]}, "a", True),
        ({"enum": ["a", "b"]}, "c", False),
        ({"$ref": "#/$defs/Color"}, "red", True),
        ({"$ref": "#/$defs/Color"}, "blue", False),
        ({"type": "array"}, [], False),
        ({}, [], False),
        ({}, "x", True),
    ],
)
def test_a_default_is_shown_where_it_surely_fits(schema, value, fits):
    document = Document("Send", {"$defs": {"Color": {"enum": ["red"]}}})
    annotations = Annotations(Names(), [document])
    assert annotations.accepts(annotations.members(schema, document, "x"), value) is fits
