from __future__ import annotations

import datetime
import enum
import json
import logging
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from celery import Celery
from pydantic import BaseModel, Field, SecretStr

from worker.app import app as worker_app
from worker.checksum import checksum
from worker.manifest.document import ManifestError, build, encode
from worker.manifest.parameters import parameters_schema


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Author(BaseModel):
    name: str
    friends: list[Author] = []


class Note(BaseModel):
    author: Author
    tags: frozenset[str] = frozenset()


def another_note() -> type[BaseModel]:
    class Note(BaseModel):
        pages: int

    return Note


OtherNote = another_note()


@dataclass
class Point:
    x: int
    y: int = 0


@pytest.fixture
def app():
    return Celery("sample", broker="memory://", set_as_current=False)


@pytest.fixture
def described(app):
    """Return the manifest entry of the task `t` that a test defines on its app."""

    def describe() -> dict[str, Any]:
        (entry,) = (task for task in build(app, "1.0")["tasks"] if task["name"] == "t")
        return entry

    return describe


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


def test_the_manifest_of_this_worker_is_as_agreed():
    document = build(worker_app, "0.1.0")
    assert list(document) == ["manifest", "worker", "version", "queues", "tasks", "checksum"]
    assert document["queues"] == ["default", "link", "llm", "stt"]
    by_name = {task["name"]: task for task in document["tasks"]}
    assert list(by_name) == sorted(by_name)
    summarize = by_name["worker.tasks.llm.summarize_note"]
    assert summarize["description"] == "Summarise a note by its most telling sentences."
    parameters = summarize["parameters"]
    assert parameters["properties"]["note_id"] == {"type": "string"}
    assert (
        parameters["properties"]["sentences"].items()
        >= {"type": "integer", "default": 2, "minimum": 1}.items()
    )
    assert parameters["required"] == ["note_id", "text"]
    assert parameters["additionalProperties"] is False
    assert parameters["x-positional"] == ["note_id", "text", "sentences"]


def test_the_checksum_covers_the_whole_document():
    document = json.loads(encode(build(worker_app, "0.1.0")))
    assert document["checksum"] == checksum(document)
    document["tasks"][0]["description"] += "!"
    assert document["checksum"] != checksum(document)


def test_tasks_of_celery_itself_are_left_out(app):
    names = [task["name"] for task in build(app, "1.0")["tasks"]]
    assert "celery.backend_cleanup" in app.tasks
    assert [name for name in names if name.startswith("celery.")] == []


def test_queues_are_those_of_the_app(app):
    app.conf.task_queues = {"b": {}, "a": {}}
    assert build(app, "1.0")["queues"] == ["a", "b"]


def test_bound_autoretry_and_pydantic_tasks_show_the_parameters_a_sender_gives(app, described):
    @app.task(shared=False, name="t", bind=True, autoretry_for=(OSError,), pydantic=True)
    def task(self, note: Note, colour: Colour = Colour.RED) -> None: ...

    parameters = described()["parameters"]
    assert parameters["x-positional"] == ["note", "colour"]
    assert parameters["required"] == ["note"]
    assert parameters["properties"]["colour"]["default"] == "red"


def test_class_based_tasks_show_the_parameters_of_run(app, described):
    class Resize(app.Task):
        """Resize a picture.

        And more.
        """

        name = "t"

        def run(self, width: int, *, crop: bool = False) -> None: ...

    app.register_task(Resize())
    entry = described()
    assert entry["description"] == "Resize a picture."
    assert list(entry["parameters"]["properties"]) == ["width", "crop"]
    assert entry["parameters"]["x-positional"] == ["width"]


def test_description_is_the_first_paragraph_on_one_line(app, described):
    @app.task(shared=False, name="t")
    def task() -> None:
        """Do this
        and that.

        Details.
        """

    assert described()["description"] == "Do this and that."


def test_a_task_without_docstring_has_no_description(app, described):
    class Silent(app.Task):
        name = "t"

        def run(self) -> None: ...

    app.register_task(Silent())
    assert described()["description"] == ""


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
    assert set(mine["properties"]) == {"author", "tags"}
    assert set(other["properties"]) == {"pages"}


def test_annotations_mean_what_json_can_hold():
    def task(
        when: datetime.datetime,
        mode: Literal["a", "b"],
        count: Annotated[int, Field(ge=1, le=9)],
        point: Point,
        anything,
    ) -> None: ...

    properties = parameters_schema(task)["properties"]
    assert properties["when"] == {"type": "string", "format": "date-time"}
    assert properties["mode"]["enum"] == ["a", "b"]
    assert properties["count"] == {"type": "integer", "minimum": 1, "maximum": 9}
    assert properties["point"] == {"$ref": "#/$defs/Point"}
    assert properties["anything"] == {}


class Opaque:
    pass


def test_an_odd_annotation_opens_its_own_parameter_only(caplog):
    def task(
        good: int,
        opaque: Opaque,
        missing: NoSuchName = None,  # noqa: F821
        number: 3 = 3,
        last: str = "x",
    ) -> None: ...

    with caplog.at_level(logging.WARNING):
        schema = parameters_schema(task)
    assert schema["properties"] == {
        "good": {"type": "integer"},
        "opaque": {},
        "missing": {"default": None},
        "number": {"default": 3},
        "last": {"type": "string", "default": "x"},
    }
    assert schema["required"] == ["good", "opaque"]
    assert [record.args[0] for record in caplog.records] == ["opaque", "missing", "number"]
    assert "name 'NoSuchName' is not defined" in caplog.text


def test_a_callable_without_signature_takes_anything():
    schema = parameters_schema(type)
    assert schema["additionalProperties"] is True
    assert schema["x-variadic"] == {}


def test_variadic_arguments_are_described():
    def task(first: int, /, *rest: str, **named: float) -> None: ...

    schema = parameters_schema(task)
    assert schema["x-positional"] == ["first"]
    assert schema["x-variadic"] == {"type": "string"}
    assert schema["additionalProperties"] == {"type": "number"}


def test_keywords_without_annotation_may_be_anything():
    def task(**named) -> None: ...

    assert parameters_schema(task)["additionalProperties"] is True


@pytest.mark.parametrize(
    ("default", "said"),
    [
        (None, None),
        ((1, 2), [1, 2]),
        (frozenset("cab"), ["a", "b", "c"]),
        (datetime.date(2024, 5, 1), "2024-05-01"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (
            Note(author=Author(name="x"), tags=frozenset("ba")),
            {"author": {"name": "x", "friends": []}, "tags": ["a", "b"]},
        ),
        (Point(1), {"x": 1, "y": 0}),
    ],
)
def test_defaults_are_said_as_the_json_they_become(default, said):
    def task(value=default) -> None: ...

    assert parameters_schema(task)["properties"]["value"] == {"default": said}


@pytest.mark.parametrize("default", [object(), float("nan"), {1, "a"}, print])
def test_a_default_that_json_cannot_say_is_left_out_but_the_parameter_stays_optional(default):
    def task(value=default) -> None: ...

    schema = parameters_schema(task)
    assert schema["properties"]["value"] == {}
    assert schema["required"] == []


def test_only_options_that_the_task_sets_itself_are_named(app, described):
    app.conf.update(task_ignore_result=True, task_time_limit=300)

    @app.task(
        shared=False,
        name="t",
        ignore_result=False,
        compression="gzip",
        soft_time_limit=20,
        expires=datetime.timedelta(days=1),
    )
    def task() -> None: ...

    assert described()["options"] == {"ignore_result": False, "compression": "gzip", "soft_time_limit": 20}


def test_secrets_are_sensitive_and_so_is_what_the_task_names(app, described):
    @app.task(shared=False, name="t", sensitive=["pin"])
    def task(token: SecretStr, pin: str, spare: SecretStr | None = None, note: str = "") -> None: ...

    assert described()["sensitive"] == ["pin", "spare", "token"]


def test_a_misspelt_sensitive_parameter_is_refused(app, described):
    @app.task(shared=False, name="t", sensitive=["pinn"])
    def task(pin: str) -> None: ...

    with pytest.raises(ManifestError, match=r"calls \['pinn'\] sensitive .* its parameters are \['pin'\]"):
        described()
