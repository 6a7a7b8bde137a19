from __future__ import annotations

import datetime as dt
import decimal
import uuid

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import models
from django.test.utils import isolate_apps
from django.utils import timezone

from dispatch.core import trigger_rules
from dispatch.core.routing import Target
from dispatch.core.trigger_rules import EVENTS
from dispatch.models import Queue, TaskDefinition, Trigger, TriggerArgument, TriggerCondition
from dispatch.models.hookable_columns import find_field, find_model, to_python
from dispatch.models.triggers import OPERATOR_LABELS
from project.notes.models import Note

pytestmark = pytest.mark.django_db


@pytest.fixture
def task():
    return TaskDefinition.objects.create(name="tasks.a")


@pytest.fixture
def trigger(task):
    return Trigger.objects.create(name="t", model="notes.note", events=["created"], task=task)


# -- what full_clean refuses, and how it says so ------------------------------


@pytest.mark.parametrize(
    "events", ["created", {"created": 1}, ["creatd"], ["created", "saved"], [1]], ids=repr
)
def test_events_are_a_list_of_those_that_exist(events, task, refusal):
    refused = refusal(Trigger(name="t", model="notes.note", events=events, task=task))
    assert refused["events"] == f"Choose one or more of: {', '.join(EVENTS)}."


def test_events_in_a_list_of_lists_are_refused_too(task, refusal):
    assert "events" in refusal(Trigger(name="t", model="notes.note", events=[["created"]], task=task))


@pytest.mark.parametrize("label", ["notes", "notes.gone", "gone.note", "a.b.c", "notes."])
def test_a_model_that_does_not_exist_is_refused_with_how_to_write_one(label, task, refusal):
    refused = refusal(Trigger(name="t", model=label, events=["created"], task=task))
    assert refused["model"] == f"There is no model {label}: write app.model, for example notes.note."


def test_a_models_label_is_stored_in_lower_case(task):
    row = Trigger(name="t", model="notes.Note", events=["created"], task=task)
    row.full_clean()
    assert row.model == "notes.note"


@pytest.mark.parametrize(
    ("field", "operator", "value", "complaint"),
    [
        ("gone", "equals", "x", "notes.Note has no column gone: choose one of"),
        ("created_at", "equals", "yesterday", "invalid format"),
        ("id", "in", "1\n2", "is not a valid UUID"),
        ("summarized_at", "is_null", "perhaps", "Write yes or no."),
        ("title", "resembles", "x", "not a valid choice"),
    ],
)
def test_a_condition_that_cannot_be_met_is_refused(field, operator, value, complaint, trigger, refusal):
    row = TriggerCondition(trigger=trigger, field=field, operator=operator, value=value)
    assert complaint in " ".join(refusal(row).values())


def test_an_argument_from_a_field_that_does_not_exist_is_refused(trigger, refusal):
    refused = refusal(TriggerArgument(trigger=trigger, parameter="p", source="field", value="gone"))
    assert "has no column gone" in refused["__all__"]


@pytest.mark.parametrize("value", ["", "de", "{", "'de'"], ids=repr)
def test_a_constant_that_is_no_json_is_refused_with_how_to_write_one(value, trigger, refusal):
    refused = refusal(TriggerArgument(trigger=trigger, parameter="p", source="constant", value=value))
    assert 'a text in quotes ("de")' in refused["value"]


@pytest.mark.parametrize("row", [TriggerCondition(field="title"), TriggerArgument(parameter="p", value="pk")])
def test_a_part_without_its_trigger_is_refused(row, refusal):
    assert "trigger" in refusal(row)


# -- fields ------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "column"), [("pk", "id"), ("title", "title"), ("id", "id")])
def test_a_field_is_found_by_its_name_and_the_primary_key_by_pk(name, column):
    assert find_field(Note, name).attname == column


def test_a_foreign_key_is_found_by_its_field_and_by_its_column():
    for name in ("manifest", "manifest_id"):
        assert find_field(TaskDefinition, name).attname == "manifest_id"


@pytest.mark.parametrize(
    "name", ["groups", "logentry", "is_authenticated", "get_full_name", "groups__name", ""]
)
def test_relations_properties_and_paths_are_no_columns(name):
    with pytest.raises(ValidationError, match="has no column"):
        find_field(User, name)


def test_a_password_never_goes_into_a_message():
    with pytest.raises(ValidationError, match="password is a sensitive field"):
        find_field(User, "password")


@pytest.mark.parametrize("label", ["notes.note.body", "notes.Note.body"])
def test_fields_that_the_settings_call_sensitive_never_go_into_a_message(label, settings):
    settings.DISPATCH = {"SENSITIVE_FIELDS": [label]}
    with pytest.raises(ValidationError, match="body is a sensitive field"):
        find_field(Note, "body")


@pytest.mark.parametrize("label", ["notes.page.Author", "notes.page.author_id", "notes.chapter.author"])
@isolate_apps("project.notes")
def test_a_sensitive_field_is_known_by_its_column_and_as_its_childs_too(label, settings):
    class Page(models.Model):
        author = models.ForeignKey(Note, models.CASCADE)

        class Meta:
            app_label = "notes"

    class Chapter(Page):
        class Meta:
            app_label = "notes"

    settings.DISPATCH = {"SENSITIVE_FIELDS": [label]}
    for name in ("author", "author_id"):
        with pytest.raises(ValidationError, match="author is a sensitive field"):
            find_field(Chapter, name)


def test_a_model_is_found_by_the_label_that_django_gives_it():
    assert find_model(Note._meta.label) is find_model(Note._meta.label_lower) is Note


# -- conditions as plain data ---------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "operator", "value", "expected"),
    [
        ("title", "equals", "5", "5"),
        ("id", "equals", str(uuid.UUID(int=5)), uuid.UUID(int=5)),
        ("kind", "in", "text\n audio \n\n", ("text", "audio")),
        ("title", "contains", " x ", " x "),
        ("summarized_at", "is_null", "No", False),
        ("summarized_at", "is_null", "", True),
    ],
)
def test_a_value_gets_the_fields_own_type(field, operator, value, expected):
    row = TriggerCondition(field=field, operator=operator, value=value)
    assert row.spec(Note) == trigger_rules.Condition(field, operator, expected)


@pytest.mark.parametrize(
    ("field", "text", "expected"),
    [
        (models.IntegerField(name="f"), "5", 5),
        (models.DecimalField(name="f"), "1.10", decimal.Decimal("1.10")),
        (models.BooleanField(name="f"), "True", True),
        (models.DateField(name="f"), "2024-02-29", dt.date(2024, 2, 29)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_column_reads_its_own_text(field, text, expected):
    assert to_python(field, text) == expected


def test_a_foreign_key_is_compared_by_its_column():
    row = TriggerCondition(field="manifest", operator="equals", value="7")
    assert row.spec(TaskDefinition) == trigger_rules.Condition("manifest_id", "equals", 7)


@pytest.mark.filterwarnings("ignore:DateTimeField")
@pytest.mark.parametrize("value", ["2024-01-01 00:00", "2024-01-01"])
def test_a_moment_without_a_timezone_can_be_compared_with_the_fields_value(value):
    condition = TriggerCondition(field="created_at", operator="greater", value=value).spec(Note)
    assert timezone.now() > condition.value


def test_every_operator_has_a_label():
    assert set(OPERATOR_LABELS) == {*trigger_rules.OPERATORS, *trigger_rules.TRANSITIONS}


# -- triggers as plain data -------------------------------------------------------------


def test_a_trigger_becomes_plain_data(trigger):
    trigger.queue, trigger.priority, trigger.countdown = Queue.objects.create(name="llm"), 0, 2.5
    TriggerCondition.objects.create(trigger=trigger, field="kind", operator="equals", value="text")
    TriggerArgument.objects.create(trigger=trigger, parameter="note_id", source="field", value="pk")
    TriggerArgument.objects.create(trigger=trigger, parameter="lang", source="constant", value='"de"')
    TriggerArgument.objects.create(trigger=trigger, parameter="event", source="event")
    spec = trigger.spec()
    assert (spec.name, spec.model, spec.events, spec.task) == ("t", "notes.note", {"created"}, "tasks.a")
    assert spec.conditions == (trigger_rules.Condition("kind", "equals", "text"),)
    assert spec.arguments == {
        "note_id": trigger_rules.Argument("field", "id"),
        "lang": trigger_rules.Argument("constant", "de"),
        "event": trigger_rules.Argument("event"),
    }
    assert (spec.target, spec.countdown, spec.problem) == (Target("llm", priority=0), 2.5, "")


def test_a_trigger_that_cannot_work_becomes_plain_data_with_its_problem(trigger):
    TriggerArgument.objects.create(trigger=trigger, parameter="p", source="field", value="gone")
    assert "notes.Note has no column gone" in trigger.spec().problem


# -- the database ---------------------------------------------------------------------------


def test_the_database_refuses_a_second_trigger_of_one_name(trigger, task, refused_by_database):
    refused_by_database(Trigger(name="t", model="notes.note", events=["updated"], task=task))


def test_the_database_refuses_a_priority_out_of_range(task, refused_by_database):
    refused_by_database(Trigger(name="t", model="notes.note", events=[], task=task, priority=256))


def test_the_database_refuses_a_parameter_with_two_arguments(trigger, refused_by_database):
    refused_by_database(*(TriggerArgument(trigger=trigger, parameter="p", value="pk") for _ in range(2)))


def test_triggers_and_their_parts_are_found_by_their_natural_keys(trigger):
    condition = TriggerCondition.objects.create(trigger=trigger, field="title", operator="equals", value="x")
    argument = TriggerArgument.objects.create(trigger=trigger, parameter="p", value="pk")
    assert trigger.natural_key() == ("t",)
    assert argument.natural_key() == ("t", "p")
    for row in (trigger, condition, argument):
        assert type(row).objects.get_by_natural_key(*row.natural_key()) == row
