from __future__ import annotations

from typing import Any

import pytest
from django.http import QueryDict

from dispatch.admin.schema_form import DEEPEST, MOST_ITEMS, SchemaForm, resized, without_item

pytestmark = pytest.mark.one_database
TEXT, WHOLE, NULL = {"type": "string"}, {"type": "integer"}, {"type": "null"}
AUTHOR = {"type": "object", "properties": {"name": TEXT, "age": WHOLE}, "required": ["name"]}
URL = {
    "type": "object",
    "title": "Url",
    "properties": {"kind": {"const": "url"}, "url": TEXT},
    "required": ["kind"],
}
FILE = {"type": "object", "title": "File", "properties": {"kind": {"const": "file"}}, "required": ["kind"]}


def form(
    data: QueryDict | None = None, /, *, value: Any = None, required: tuple[str, ...] = (), **properties: Any
):
    schema = {"properties": properties, "required": required, "additionalProperties": False}
    return SchemaForm(schema | {"$defs": {"Author": AUTHOR}}, "/kwargs", data, value)


def posted(shown: SchemaForm) -> QueryDict:
    """Return what a browser posts of a form."""
    data = QueryDict(mutable=True)
    for name in shown.fields:
        data[name] = str(shown[name].value())
    return data


@pytest.mark.parametrize(
    ("schema", "value", "field"),
    [
        (TEXT, "two\nlines", "text"),
        (WHOLE, 12345678901234567890, "number"),
        ({"type": "number"}, 2.0, "number"),
        ({"type": "boolean"}, False, "choice"),
        ({"enum": ["a", 1, True]}, 1, "choice"),
        ({"type": "string", "format": "date"}, "2026-02-28", "date"),
        ({"type": "string", "format": "date-time"}, "2026-02-28T10:00:00+00:00", "moment"),
        ({"type": "array", "items": WHOLE}, [1, 2], "lines"),
        ({"anyOf": [TEXT, NULL]}, "a", "text"),
        ({"type": "object", "additionalProperties": WHOLE}, {"a": 1}, "json"),
        ({}, [None], "json"),
        # What the field made for the schema would change is written otherwise.
        ({"type": "string", "format": "date-time"}, "2026-02-28T10:00:00.5Z", "text"),
        ({"type": "string", "format": "date-time"}, "0001-01-01T00:00:00+14:00", "text"),
        (TEXT, "", "json"),
        (TEXT, "a\r\nb", "json"),
        (TEXT, 5, "json"),
        (WHOLE, "5", "json"),
        ({"anyOf": [TEXT, NULL]}, None, "json"),
        ({"type": "array", "items": TEXT}, ["two\nlines"], "json"),
        ({"type": "array", "items": TEXT}, [], "json"),
        ({"const": "a", "default": "a"}, "b", "json"),
        (AUTHOR, {"name": "Ann", "mail": "a@b.c"}, "json"),
        ({"type": "array", "items": AUTHOR}, [{"name": "A"}] * (MOST_ITEMS + 1), "json"),
        ({"anyOf": [WHOLE, TEXT]}, [1], "json"),
        ({"anyOf": [WHOLE, {"anyOf": [TEXT, AUTHOR]}]}, "a", "json"),
    ],
)
def test_a_value_is_shown_by_the_first_field_that_does_not_change_it(schema, value, field):
    shown = form(value={"it": value}, it=schema)
    assert list(shown.fields) == [f"{field}:/kwargs/it"]
    again = form(posted(shown), it=schema)
    assert again.is_valid()
    assert repr(again.value()) == repr({"it": value})


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"$ref": "#/$defs/Author"}, {"name": "Ann", "age": 3}),
        ({"anyOf": [{"$ref": "#/$defs/Author"}, NULL]}, {"name": "Ann"}),
        ({"type": "array", "items": {"$ref": "#/$defs/Author"}}, [{"name": "A"}, {"name": "B", "age": 1}]),
        ({"type": "array", "items": {"type": "array", "items": WHOLE}}, [[1], [], [2, 3]]),
        ({"oneOf": [URL, FILE]}, {"kind": "file"}),
        ({"oneOf": [URL, FILE]}, {"kind": "url", "url": "x"}),
        ({"anyOf": [WHOLE, {"$ref": "#/properties/it/$defs/Text"}], "$defs": {"Text": TEXT}}, "x"),
        ({"anyOf": [WHOLE, TEXT, NULL]}, "7"),
        ({"anyOf": [WHOLE, TEXT, NULL]}, None),
    ],
)
def test_what_has_parts_comes_back_as_it_was(schema, value):
    shown = form(value={"it": value}, it=schema)
    assert "json:/kwargs/it" not in shown.fields
    again = form(posted(shown), it=schema)
    assert again.is_valid(), again.errors
    assert again.value() == {"it": value}


def test_what_is_left_empty_is_left_out_or_null_where_it_must_be_given():
    properties = {"a": TEXT, "b": {"anyOf": [TEXT, NULL]}, "c": {"type": "array", "items": TEXT}, "d": AUTHOR}
    optional = form(posted(form(**properties)), **properties)
    assert optional.is_valid()
    assert optional.value() == {}
    required = form(posted(form(**properties)), required=tuple(properties), **properties)
    assert dict(required.errors) == {
        "text:/kwargs/a": ["This field is required."],
        "text:/kwargs/d/name": ["This field is required."],
    }
    assert required.value() == {"b": None, "c": [], "d": {}}


def test_a_constant_is_sent_where_there_is_nothing_to_choose():
    properties = {
        "given": {"const": 1},
        "default": {"const": 2, "default": 2},
        "free": {"const": 3},
        "null": {"anyOf": [{"const": 4}, NULL], "default": None},
    }
    made = form(posted(form(**properties)), required=("given",), **properties)
    assert made.is_valid()
    assert made.value() == {"given": 1, "default": 2}
    assert list(made.fields) == ["choice:/kwargs/free", "choice:/kwargs/null"]


def test_buttons_add_and_remove():
    schema = {"type": "array", "items": {"$ref": "#/$defs/Author"}}
    shown = form(value={"it": [{"name": "a", "age": 1}, {"name": "b"}, {"name": "c"}]}, it=schema, who=AUTHOR)
    fewer = form(without_item(posted(shown), "/kwargs/it/0"), it=schema, who=AUTHOR)
    assert fewer.is_valid()
    assert fewer.value() == {"it": [{"name": "b"}, {"name": "c"}]}
    more = resized(resized(fewer.data, "3", "/kwargs/it"), "1", "/kwargs/who")
    assert list(form(more, it=schema, who=AUTHOR).errors) == [
        "text:/kwargs/it/2/name",
        "text:/kwargs/who/name",
    ]


@pytest.mark.parametrize(
    "pointer", ["", "/", "/kwargs/it", "/kwargs/it/x", "/kwargs/gone/0", "/kwargs/it/99"]
)
def test_what_no_button_posts_breaks_nothing(pointer):
    data = QueryDict(
        "size:/kwargs/it=1&text:/kwargs/it/0/name=a&number:/kwargs/it/z/age=1&size:/kwargs/it/0=¹"
    )
    schema = {"type": "array", "items": AUTHOR}
    form(without_item(data, pointer), it=schema).is_valid()
    assert len(form(resized(data, "9" * 5000, "/kwargs/it"), it=schema).root.parts[0].parts) == 0


def test_an_error_stands_beside_the_field_that_its_pointer_leads_into():
    properties = {"tags": {"type": "array", "items": TEXT}, "who": AUTHOR, "a/b": TEXT}
    made = form(posted(form(value={"who": {"name": "x"}}, **properties)), **properties)
    assert made.is_valid()
    for pointer in (
        "/kwargs/tags/1",
        "/kwargs/who/name",
        "/kwargs/who/gone",
        "/kwargs/a~1b",
        "/kwargs/tagsandmore",
        "",
    ):
        made.add_misfit(pointer, pointer)
    assert dict(made.errors) == {
        "lines:/kwargs/tags": ["/kwargs/tags/1"],
        "text:/kwargs/who/name": ["/kwargs/who/name"],
        "text:/kwargs/a~1b": ["/kwargs/a~1b"],
    }
    assert made.root.parts[1].errors == ["/kwargs/who/gone"]
    assert made.root.errors == ["/kwargs/tagsandmore", ""]


def test_further_names_are_one_field_where_they_are_accepted_or_there():
    schema: dict[str, Any] = {"properties": {"a": TEXT}}
    shown = SchemaForm(schema, "/kwargs", value={"a": "x", "b": [1]})
    made = SchemaForm(schema, "/kwargs", posted(shown))
    assert made.is_valid()
    assert made.value() == {"a": "x", "b": [1]}
    closed = schema | {"additionalProperties": False}
    assert "others:/kwargs" not in SchemaForm(closed, "/kwargs").fields
    assert "others:/kwargs" in SchemaForm(closed, "/kwargs", value={"b": 1}).fields


def test_a_schema_without_end_is_cut_off():
    node: dict[str, Any] = {"type": "object", "properties": {}, "required": ["a", "b", "c"]}
    node["properties"] = {name: {"$ref": "#/$defs/Node"} for name in "abc"}
    schema = {"properties": {"it": {"$ref": "#/$defs/Node"}}, "required": ["it"], "$defs": {"Node": node}}
    for data in (None, QueryDict("a=b")):
        made = SchemaForm(schema, "/kwargs", data)
        assert max(name.count("/") for name in made.fields) == DEEPEST + 1
        assert len(made.fields) < 1_000


def test_a_text_that_is_sensitive_cannot_be_read_from_the_screen():
    made = SchemaForm({"properties": {"a": TEXT, "b": TEXT}}, "/kwargs", secret=frozenset({"a"}))
    assert ["dispatch-secret" in str(made[name]) for name in ("text:/kwargs/a", "text:/kwargs/b")] == [
        True,
        False,
    ]


def test_the_help_tells_what_the_schema_says():
    schema = {**WHOLE, "description": "How <many>.", "minimum": 1, "default": 2, "examples": [3]}
    assert form(it=schema)["number:/kwargs/it"].help_text == (
        "How &lt;many&gt;.<br>integer ≥ 1 · if left out: 2 · for example: 3"
    )
