"""Parents, children, abstract bases, proxies, swapped models: whose triggers fire, and each once."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings as project_settings
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import Model
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from dispatch.api import trigger
from dispatch.exceptions import ConfigurationError
from dispatch.models import OutboxMessage, TaskDefinition, Trigger
from tests.support.registry import make_registry, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)
APP = "tests.support.library"


@pytest.fixture
def library(transactional_db: None) -> Iterator[dict[str, type[Model]]]:
    """The library's models by name, installed, with their tables."""
    installed = [*project_settings.INSTALLED_APPS, APP]
    with override_settings(INSTALLED_APPS=installed, LIBRARY_MEMBER_MODEL="library.Reader"):
        found = list(apps.get_app_config("library").get_models())
        tables = [model for model in found if not model._meta.proxy]
        with connection.schema_editor() as editor:
            for model in tables:
                editor.create_model(model)
        yield {model.__name__: model for model in found}
        with connection.schema_editor() as editor:
            for model in reversed(tables):
                editor.delete_model(model)


@pytest.fixture(autouse=True)
def task(no_ttl: None, library: Any) -> TaskDefinition:
    make_registry()
    TaskDefinition.objects.update(parameters={})
    return TaskDefinition.objects.get()


def hook(task: TaskDefinition, model: str, *events: str, **columns: Any) -> None:
    row = make_trigger(task, *events, model=f"library.{model}", name=model, **columns)
    row.arguments.filter(parameter="text").update(source="event", value="")


def sent() -> list[tuple[str, str]]:
    """The trigger and the event of each message."""
    rows = OutboxMessage.objects.order_by("id").values_list("origin_name", "kwargs")
    return [(name, json.loads(kwargs)["text"]) for name, kwargs in rows]


def keys() -> list[Any]:
    rows = OutboxMessage.objects.order_by("id").values_list("kwargs", flat=True)
    return [json.loads(kwargs)["note_id"] for kwargs in rows]


ALL = ("created", "updated", "deleted")


def test_a_parents_trigger_fires_once_for_each_event_of_a_child(task: TaskDefinition, library: Any) -> None:
    hook(task, "item", *ALL)
    book = library["Book"].objects.create(name="A", pages=1)
    book.save()
    book.delete()
    assert sent() == [("item", "created"), ("item", "updated"), ("item", "deleted")]


def test_triggers_of_every_generation_fire_for_a_grandchild(task: TaskDefinition, library: Any) -> None:
    for model in ("item", "book", "atlas"):
        hook(task, model, *ALL)
    atlas = library["Atlas"].objects.create(name="A")
    atlas.delete()
    assert sorted(sent()) == sorted(
        (model, event) for model in ("item", "book", "atlas") for event in ("created", "deleted")
    )


def test_a_childs_trigger_does_not_fire_for_its_parent(task: TaskDefinition, library: Any) -> None:
    hook(task, "book", *ALL)
    item = library["Item"].objects.create(name="A")
    item.save()
    item.delete()
    assert sent() == []


def test_a_parent_that_is_deleted_takes_its_child_along_and_each_is_told_once(
    task: TaskDefinition, library: Any
) -> None:
    hook(task, "item", "deleted")
    hook(task, "book", "deleted")
    for name in "ab":
        library["Book"].objects.create(name=name)
    library["Item"].objects.filter(name="a").delete()
    library["Item"].objects.get(name="b").delete()
    assert sorted(sent()) == [("book", "deleted")] * 2 + [("item", "deleted")] * 2


def test_a_field_of_the_parent_has_changed_by_a_save_of_the_child(task: TaskDefinition, library: Any) -> None:
    hook(task, "item", "updated", when=("name", "changed", ""))
    hook(task, "book", "updated", when=("name", "changed_to", "B"))
    book = library["Book"].objects.create(name="A")
    book.pages = 2
    book.save()
    book.name = "B"
    book.save(update_fields=["pages"])
    assert sent() == []
    book.save()
    assert sorted(sent()) == [("book", "updated"), ("item", "updated")]


def test_a_rolled_back_save_of_a_child_sends_nothing(task: TaskDefinition, library: Any) -> None:
    hook(task, "item", "created")
    with transaction.atomic():
        library["Book"].objects.create(name="A")
        transaction.set_rollback(True)
    assert sent() == []


def test_a_proxy_of_a_child_fires_for_child_and_parent(task: TaskDefinition, library: Any) -> None:
    hook(task, "item", *ALL)
    hook(task, "book", *ALL)
    library["Novel"].objects.create(name="A").delete()
    assert sorted(sent()) == [
        ("book", "created"),
        ("book", "deleted"),
        ("item", "created"),
        ("item", "deleted"),
    ]


def test_a_trigger_on_a_proxy_fires_for_the_proxy_alone(task: TaskDefinition, library: Any) -> None:
    hook(task, "novel", *ALL)
    library["Book"].objects.create(name="A")
    library["Novel"].objects.create(name="B")
    assert sent() == [("novel", "created")]


def test_models_of_one_abstract_base_have_triggers_of_their_own(task: TaskDefinition, library: Any) -> None:
    hook(task, "shelf", *ALL)
    library["Shelf"].objects.create(name="A").delete()
    library["Item"].objects.create(name="A").delete()
    assert sent() == [("shelf", "created"), ("shelf", "deleted")]


def test_a_model_in_the_place_of_a_swapped_one_fires(task: TaskDefinition, library: Any) -> None:
    hook(task, "reader", *ALL)
    library["Reader"].objects.create(name="A").delete()
    assert sent() == [("reader", "created"), ("reader", "deleted")]


def test_a_trigger_on_a_model_that_is_swapped_out_is_refused_wherever_it_is_written(
    task: TaskDefinition, library: Any
) -> None:
    member = apps.get_model("library.member")
    with pytest.raises(ConfigurationError, match=r"library\.Member is swapped out.*use library\.Reader"):
        trigger(member, on="created", task=task.name)
    row = Trigger(name="swapped", model="library.member", events=["created"], task=task)
    with pytest.raises(ValidationError, match=r"library\.member is swapped out.*choose library\.Reader"):
        row.full_clean()
    row.save()
    assert "library.Reader" in row.spec().problem


# -- keys of several columns --------------------------------------------------------------------------


def seats(library: Any) -> Any:
    return library["Seat"].objects.order_by("number")


def test_a_bulk_update_fires_for_each_row_whose_key_is_made_of_two_columns(
    task: TaskDefinition, library: Any
) -> None:
    made = [seats(library).create(row="a", number=number) for number in (1, 2)]
    hook(task, "seat", "updated", watched=["taken"])
    seats(library).update(taken=True)
    assert keys() == [["a", 1], ["a", 2]]
    made[0].taken, made[1].taken = False, True
    seats(library).bulk_update(made, ["taken"])
    assert keys() == [["a", 1], ["a", 2], ["a", 1]]


def test_an_update_locks_rows_whose_key_is_made_of_two_columns_though_nothing_is_compared(
    task: TaskDefinition, library: Any
) -> None:
    seats(library).create(row="a", number=1)
    hook(task, "seat", "updated")
    assert seats(library).filter(taken=False).distinct().update(taken=True) == 1
    assert keys() == [["a", 1]]


def test_a_preview_finds_an_object_by_its_key_of_two_columns_as_a_json_list(
    task: TaskDefinition, library: Any
) -> None:
    seats(library).create(row="a", number=1)
    hook(task, "seat", "updated")
    output = io.StringIO()
    call_command("dispatch", "triggers", "preview", "seat", '["a", 1]', "--format", "json", stdout=output)
    assert json.loads(output.getvalue())["body"]["kwargs"]["note_id"] == ["a", 1]


@pytest.mark.parametrize("text", ["a", "1", '["a"]', "a,1", '{"a": 1, "b": 2}'])
def test_a_key_of_two_columns_that_is_written_otherwise_is_refused_with_its_columns(
    task: TaskDefinition, library: Any, text: str
) -> None:
    hook(task, "seat", "updated")
    with pytest.raises(CommandError, match="made of row, number: write these as a JSON list"):
        call_command("dispatch", "triggers", "preview", "seat", text)


@pytest.mark.parametrize("text", ['["b", 1]', '["a", "x"]', '["a", [1]]', '["a", null]'])
def test_a_key_of_two_columns_that_no_object_has_is_told(
    task: TaskDefinition, library: Any, text: str
) -> None:
    seats(library).create(row="a", number=1)
    hook(task, "seat", "updated")
    with pytest.raises(CommandError, match=r"There is no library\.seat with the primary key"):
        call_command("dispatch", "triggers", "preview", "seat", text)


def test_a_model_of_the_same_abstract_base_without_trigger_is_still_deleted_by_one_query(
    task: TaskDefinition, library: Any
) -> None:
    def queries() -> int:
        library["Visitor"].objects.bulk_create(library["Visitor"](name=str(n)) for n in range(20))
        with CaptureQueriesContext(connection) as seen:
            library["Visitor"].objects.all().delete()
        return len([query for query in seen if "library_" in query["sql"]])

    before = queries()
    hook(task, "item", "deleted")
    assert (before, queries()) == (1, 1)


def test_a_relation_that_is_never_hooked_is_changed_by_djangos_own_fast_queries(
    task: TaskDefinition, library: Any
) -> None:
    hook(task, "shelf", *ALL)
    make_trigger(task, "m2m_added", model="auth.user")
    guest, shelf = (library[name].objects.create(name="A") for name in ("Guest", "Shelf"))
    with CaptureQueriesContext(connection) as seen:
        guest.shelves.add(shelf)
        guest.shelves.clear()
    assert len([query for query in seen if "library_" in query["sql"]]) == 2
