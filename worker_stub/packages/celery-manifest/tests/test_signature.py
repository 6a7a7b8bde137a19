from __future__ import annotations

import datetime
import decimal
import enum
import logging
import sys
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field

from celery_manifest.signature import parameters_schema, returns_schema

if TYPE_CHECKING:
    from fractions import Fraction


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    QUIET = 1
    LOUD = 9


class Author(BaseModel):
    name: str
    friends: list[Author] = []


class Note(BaseModel):
    author: Author
    tags: frozenset[str] = frozenset("zyxwvutsrq")
    written: datetime.date | None = Field(default=None, alias="writtenOn")


def another_note() -> type[BaseModel]:
    class Note(BaseModel):
        pages: int

    return Note


OtherNote = another_note()


@dataclass
class Point:
    x: int
    y: int = 0


class Opaque:
    pass


def resolve(schema: dict[str, Any], reference: str) -> Any:
    node: Any = schema
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [each for value in node.values() for each in references(value)]
    return [each for value in node for each in references(value)] if isinstance(node, list) else []


def test_models_are_defined_once_and_every_reference_resolves():
    def task(first: Note, second: list[Note], third: Author | None = None) -> None: ...

    schema = parameters_schema(task)
    assert set(schema["$defs"]) == {"Note", "Author"}
    assert references(schema)
    assert all(resolve(schema, reference)["type"] == "object" for reference in references(schema))


def test_two_models_of_one_name_stay_apart():
    def task(mine: Note, other: OtherNote) -> None: ...

    schema = parameters_schema(task)
    mine, other = (resolve(schema, schema["properties"][name]["$ref"]) for name in ("mine", "other"))
    assert set(mine["properties"]) == {"author", "tags", "writtenOn"}
    assert set(other["properties"]) == {"pages"}


def test_a_set_as_default_inside_a_model_is_sorted():
    def task(note: Note) -> None: ...

    assert parameters_schema(task)["$defs"]["Note"]["properties"]["tags"]["default"] == list("qrstuvwxyz")


def test_annotations_mean_what_json_can_hold():
    def task(
        when: datetime.datetime,
        mode: Literal["a", "b"],
        count: Annotated[int, Field(ge=1, le=9)],
        point: Point,
        either: int | None,
        colour: Colour,
        anything,
    ) -> None: ...

    schema = parameters_schema(task)
    properties = schema["properties"]
    assert properties["when"] == {"type": "string", "format": "date-time"}
    assert properties["mode"]["enum"] == ["a", "b"]
    assert properties["count"] == {"type": "integer", "minimum": 1, "maximum": 9}
    assert properties["point"] == {"$ref": "#/$defs/Point"}
    assert properties["either"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert resolve(schema, properties["colour"]["$ref"])["enum"] == ["red", "blue"]
    assert properties["anything"] == {}


def test_an_odd_annotation_opens_its_own_parameter_only(caplog):
    def task(
        good: int,
        opaque: Opaque,
        hidden: list[Fraction],
        missing: NoSuchName = None,  # noqa: F821
        number: 3 = 3,
        last: str = "x",
    ) -> None: ...

    with caplog.at_level(logging.WARNING):
        schema = parameters_schema(task)
    assert schema["properties"] == {
        "good": {"type": "integer"},
        "opaque": {},
        "hidden": {},
        "missing": {"default": None},
        "number": {"default": 3},
        "last": {"type": "string", "default": "x"},
    }
    assert schema["required"] == ["good", "opaque", "hidden"]
    named = [record.getMessage().split("'")[1] for record in caplog.records]
    assert named == ["opaque", "hidden", "missing", "number"]
    assert "name 'NoSuchName' is not defined" in caplog.text


def test_a_schema_that_is_no_json_opens_its_own_parameter_only(caplog):
    def task(
        good: int, odd: Annotated[int, Field(json_schema_extra={"examples": [object()]})], last: str
    ) -> None: ...

    assert parameters_schema(task)["properties"]["odd"] == {}
    assert "The parameter 'odd'" in caplog.text


def test_a_callable_without_signature_takes_anything():
    schema = parameters_schema(type)
    assert schema["additionalProperties"] is True
    assert schema["x-variadic"] == {}
    assert returns_schema(type) == {}


def test_variadic_arguments_are_described():
    def task(first: int, *rest: str, **named: float) -> None: ...

    schema = parameters_schema(task)
    assert schema["x-positional"] == ["first"]
    assert "x-positional-only" not in schema
    assert schema["x-variadic"] == {"type": "string"}
    assert schema["additionalProperties"] == {"type": "number"}


def test_what_is_taken_by_position_only_is_named():
    def task(first: int, second: int = 2, /, third: int = 3, *, fourth: int = 4) -> None: ...

    schema = parameters_schema(task)
    assert schema["x-positional"] == ["first", "second", "third"]
    assert schema["x-positional-only"] == ["first", "second"]
    assert schema["required"] == ["first"]


def test_keywords_without_annotation_may_be_anything():
    def task(**named) -> None: ...

    assert parameters_schema(task)["additionalProperties"] is True


def test_a_default_is_said_as_json():
    def task(point=Point(1)) -> None: ...  # noqa: B008

    assert parameters_schema(task)["properties"]["point"] == {"default": {"x": 1, "y": 0}}


@pytest.mark.parametrize("default", [object(), float("nan"), print])
def test_a_default_that_json_cannot_say_is_left_out_but_the_parameter_stays_optional(default):
    def task(value=default) -> None: ...

    schema = parameters_schema(task)
    assert schema["properties"]["value"] == {}
    assert schema["required"] == []


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        ("None", {"type": "null"}),
        ("dict[str, int]", {"type": "object", "additionalProperties": {"type": "integer"}}),
        ("list[int]", {"type": "array", "items": {"type": "integer"}}),
        ("Any", {}),
        ("NoReturn", {}),
        ("Fraction", {}),
        (int, {"type": "integer"}),
        (NoReturn, {}),
    ],
)
def test_what_is_returned_is_described_where_the_annotation_says_something(annotation, schema):
    def task(): ...

    assert returns_schema(task) == {}
    task.__annotations__["return"] = annotation
    assert returns_schema(task) == schema


def test_a_returned_model_has_definitions_of_its_own_and_names_its_fields_as_celery_dumps_them():
    def task(note: OtherNote) -> Note: ...

    schema = returns_schema(task)
    assert set(schema["$defs"]) == {"Note", "Author"}
    assert list(resolve(schema, schema["$ref"])["properties"]) == ["author", "tags", "written"]
    dumped = Note(author=Author(name="x")).model_dump(mode="json")
    assert dumped.keys() == resolve(schema, schema["$ref"])["properties"].keys()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters came with Python 3.12")
def test_type_parameters_are_known():
    names: dict[str, Any] = {}
    exec("from __future__ import annotations\ndef task[T](value: list[T]) -> T: ...", names)
    assert parameters_schema(names["task"])["properties"]["value"] == {"type": "array", "items": {}}


class Aliased(BaseModel):
    model_config = {"populate_by_name": True, "extra": "forbid"}

    born: datetime.date = Field(alias="bornOn")
    note: str = Field(default="", validation_alias=AliasChoices("remark", "comment"))
    deep: int = Field(default=0, validation_alias=AliasPath("inner", "deep"))


@pytest.mark.parametrize(
    "given",
    [
        {"bornOn": "2024-05-01"},
        {"born": "2024-05-01"},
        {"bornOn": "2024-05-01", "remark": "x"},
        {"bornOn": "2024-05-01", "comment": "x"},
        {"bornOn": "2024-05-01", "note": "x"},
        {"bornOn": "2024-05-01", "inner": {"deep": 5}},
    ],
    ids=str,
)
def test_what_pydantic_takes_by_name_or_alias_is_named(given):
    def task(value: Aliased) -> None: ...

    Aliased.model_validate(given)
    schema = parameters_schema(task)["$defs"]["Aliased"]
    assert given.keys() <= schema["properties"].keys()
    assert "required" not in schema
    assert schema["allOf"] == [{"anyOf": [{"required": ["bornOn"]}, {"required": ["born"]}]}]


def test_a_field_that_goes_by_its_alias_alone_is_named_so():
    def task(value: Note) -> None: ...

    assert list(parameters_schema(task)["$defs"]["Note"]["properties"]) == ["author", "tags", "writtenOn"]


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (int, {"pattern": "^[+-]?[0-9]+$"}),
        (Annotated[int, Field(ge=1)], {"pattern": "^[+-]?[0-9]+$"}),
        (uuid.UUID, {"format": "uuid"}),
        (datetime.date, {"format": "date"}),
        (Level, {"enum": ["1", "9"]}),
        (Literal["a", 1], {"enum": ["a", "1"]}),
        (Colour, {"$ref": "#/$defs/Colour"}),
        (str, None),
        (Any, None),
        (int | str, None),
    ],
    ids=str,
)
def test_the_keys_of_a_dictionary_are_checked_as_texts(keys, names):
    def task(value) -> None: ...

    task.__annotations__["value"] = dict[keys, str]
    assert parameters_schema(task)["properties"]["value"].get("propertyNames") == names


def test_keys_that_do_not_fit_the_pattern_are_refused():
    def task(value: dict[Annotated[str, Field(pattern="^a")], int]) -> None: ...

    assert parameters_schema(task)["properties"]["value"] == {
        "type": "object",
        "patternProperties": {"^a": {"type": "integer"}},
        "additionalProperties": False,
    }


def test_the_text_of_a_decimal_is_that_of_a_finite_number():
    def function(
        price: decimal.Decimal, most: Annotated[decimal.Decimal, Field(allow_inf_nan=True)]
    ) -> None: ...

    found = parameters_schema(function)["properties"]
    assert {"type": "string", "format": "decimal"} in found["price"]["anyOf"]
    assert not any("format" in each for each in found["most"]["anyOf"])
