"""What a trigger reads of the saved object: conditions compare, and arguments carry, the field's own type."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import F, Value
from django.db.models.functions import Concat
from django.test.utils import isolate_apps
from django_celery_results.models import ChordCounter

from dispatch.models import OutboxMessage, TaskDefinition, TriggerArgument
from dispatch.triggers.event_values import Event
from project.notes.models import Note
from tests.support.registry import make_registry, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def task(no_ttl: None) -> TaskDefinition:
    return make_registry()


def sent() -> list[dict[str, Any]]:
    return [json.loads(row.kwargs) for row in OutboxMessage.objects.order_by("id")]


def make_counter(count: Any) -> ChordCounter:
    return ChordCounter.objects.create(group_id=f"group {count!r}", sub_tasks="[]", count=count)


def test_constants_and_the_event_can_be_arguments(task: TaskDefinition) -> None:
    row = make_trigger(task, "created", "deleted")
    TriggerArgument.objects.filter(trigger=row, parameter="text").update(source="event", value="")
    TriggerArgument.objects.create(trigger=row, parameter="sentences", source="constant", value="3")
    Note.objects.create(title="A").delete()
    assert [(each["text"], each["sentences"]) for each in sent()] == [("created", 3), ("deleted", 3)]


@pytest.mark.parametrize(
    ("condition", "fires"),
    [
        (("kind", "equals", "text"), True),
        (("kind", "not_equals", "text"), False),
        (("kind", "in", "text\nlink"), True),
        (("title", "contains", "lph"), True),
        (("title", "starts_with", "lph"), False),
        (("summarized_at", "is_null", "yes"), True),
        (("summarized_at", "greater", "2020-01-01T00:00:00Z"), False),
        (("created_at", "greater", "2020-01-01T00:00:00Z"), True),
    ],
)
def test_a_condition_on_a_value_decides(
    task: TaskDefinition, condition: tuple[str, str, str], fires: bool
) -> None:
    make_trigger(task, "created", when=condition)
    Note.objects.create(title="Alpha", kind="text")
    assert len(sent()) == int(fires)


@pytest.mark.parametrize("condition", [("equals", "5"), ("in", "4\n5"), ("greater", "3"), ("at_most", "5")])
@pytest.mark.parametrize("assigned", [5, "5"], ids=repr)
def test_a_number_that_was_assigned_as_a_text_is_compared_as_a_number(
    task: TaskDefinition, condition: tuple[str, str], assigned: Any
) -> None:
    row = make_trigger(
        task, "created", model="django_celery_results.chordcounter", when=("count", *condition)
    )
    TriggerArgument.objects.filter(trigger=row, parameter="text").update(value="group_id")
    make_counter(assigned)
    assert [OutboxMessage.objects.count(), OutboxMessage.objects.filter(status="dead").count()] == [1, 0]


def test_a_moment_that_was_assigned_as_a_text_is_compared_as_a_moment(task: TaskDefinition) -> None:
    make_trigger(task, "created", when=("summarized_at", "greater", "2020-01-01T00:00:00Z"))
    Note.objects.create(title="A", summarized_at="2030-01-01T00:00:00Z")
    Note.objects.create(title="B", summarized_at="2010-01-01T00:00:00Z")
    assert OutboxMessage.objects.get().status == "pending"


def test_a_number_reaches_the_task_as_a_number_though_it_was_assigned_as_a_text(task: TaskDefinition) -> None:
    row = make_trigger(task, "created", model="django_celery_results.chordcounter")
    TriggerArgument.objects.filter(trigger=row, parameter="text").update(value="group_id")
    TriggerArgument.objects.create(trigger=row, parameter="sentences", source="field", value="count")
    make_counter("5")
    assert sent()[0]["sentences"] == 5


def test_an_integer_key_fits_a_parameter_that_is_a_text(task: TaskDefinition) -> None:
    row = make_trigger(task, "created", "deleted", model="auth.group")
    TriggerArgument.objects.filter(trigger=row, parameter="text").update(value="name")
    group = Group.objects.create(name="Editors")
    pk = group.pk
    group.delete()
    assert sent() == [{"note_id": str(pk), "text": "Editors"}] * 2


def test_what_the_task_takes_by_position_only_is_handed_over_by_position(task: TaskDefinition) -> None:
    names = {"x-positional": ["note_id", "text"], "x-positional-only": ["note_id"]}
    task.parameters = task.parameters | names
    task.save()
    make_trigger(task, "created")
    note = Note.objects.create(title="A", body="B")
    row = OutboxMessage.objects.get()
    assert (row.status, json.loads(row.args)) == ("pending", [str(note.pk)])
    assert sent() == [{"text": "B"}]


def test_a_moment_without_a_time_zone_is_compared_as_it_is_stored(task: TaskDefinition) -> None:
    make_trigger(task, "created", when=("summarized_at", "greater", "2020-01-01T00:00:00Z"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Django's own, of the naive moment
        Note.objects.create(title="A", summarized_at="2030-01-01 00:00")
    assert OutboxMessage.objects.get().status == "pending"


def test_a_trigger_whose_events_are_no_list_says_so_on_a_dead_message(task: TaskDefinition) -> None:
    row = make_trigger(task, "created")
    type(row).objects.filter(pk=row.pk).update(events="created")
    Note.objects.create(title="A")
    assert "Its events are 'created'" in OutboxMessage.objects.get(status="dead").last_error


@pytest.mark.parametrize("loaded", [lambda note: note, lambda note: Note.objects.only("pk").get()])
def test_of_a_deleted_object_is_told_what_an_expression_had_stored(task: TaskDefinition, loaded: Any) -> None:
    make_trigger(task, "deleted")
    note = Note.objects.create(title="A", body="a")
    note.body = Concat(F("body"), Value("b"))
    note.save()
    loaded(note).delete()
    assert [each["text"] for each in sent()] == ["ab"]


@pytest.mark.skipif(not hasattr(models, "GeneratedField"), reason="of Django 5.0 and later")
@isolate_apps("project.notes")
def test_of_a_deleted_object_a_generated_column_holds_what_was_loaded() -> None:
    class Square(models.Model):
        side = models.IntegerField()
        area = models.GeneratedField(
            expression=F("side") * F("side"), output_field=models.IntegerField(), db_persist=True
        )

        class Meta:
            app_label = "notes"

    square = Square.from_db("default", ["id", "side", "area"], [1, 3, 9])
    assert Event(instance=square, event="deleted", using="default").new("area") == 9


@pytest.mark.skipif(not hasattr(models, "CompositePrimaryKey"), reason="of Django 5.2 and later")
@pytest.mark.parametrize("event", ["created", "deleted"])
@isolate_apps("project.notes")
def test_a_composite_key_is_that_of_the_object(event: str, django_assert_num_queries: Any) -> None:
    class Seat(models.Model):
        pk = models.CompositePrimaryKey("row", "number")
        row = models.IntegerField()
        number = models.IntegerField()

        class Meta:
            app_label = "notes"

    with django_assert_num_queries(0):
        assert Event(instance=Seat(row=2, number=7), event=event, using="default").new("pk") == (2, 7)
