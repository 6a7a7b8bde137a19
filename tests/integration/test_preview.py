"""What a trigger would send is told by the code that sends it, and nothing is sent or changed."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from dispatch.api import send_task, trigger
from dispatch.core import trigger_rules
from dispatch.exceptions import ConfigurationError
from dispatch.models import OutboxMessage, TaskDefinition, Trigger, TriggerArgument, TriggerCondition
from dispatch.triggers.preview import Candidate, Preview, candidates, load, preview
from project.notes.models import Note, Tag
from tests.support.registry import TASK, make_registry, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def task(no_ttl: None) -> TaskDefinition:
    return make_registry()


@pytest.fixture
def note(task: TaskDefinition) -> Note:
    return Note.objects.create(title="A", body="one", kind="text")


def ask(row: Trigger, note: Note, event: str = "updated", **changes: str) -> Preview:
    [found] = candidates(row.name)
    return preview(found, load(found.trigger, str(note.pk)), event, changes)


def kwargs(answer: Preview) -> dict[str, Any]:
    assert answer.body is not None
    return answer.body.kwargs


def hints(answer: Preview) -> list[str]:
    return [check.hint for check in answer.checks if not check.holds]


# -- would it fire ------------------------------------------------------------------------


def test_a_trigger_that_fires_shows_body_and_destination(task: TaskDefinition, note: Note) -> None:
    answer = ask(make_trigger(task, "updated", when=("kind", "equals", "text")), note)
    assert answer.fires
    assert not answer.problems
    assert kwargs(answer) == {"note_id": str(note.pk), "text": "one"}
    assert answer.destination.destination is not None
    assert answer.destination.destination.queue == "llm"
    assert "worker.tasks.llm.*" in answer.destination.decided_by["queue"]
    assert [(check.what, check.value, check.expected, check.holds) for check in answer.checks] == [
        ("event", "updated", "updated", True),
        ("kind equals", "'text'", "'text'", True),
    ]


def test_a_condition_that_does_not_hold_is_told_beside_those_that_do(
    task: TaskDefinition, note: Note
) -> None:
    row = make_trigger(task, "updated", when=("kind", "equals", "audio"))
    row.conditions.create(field="body", operator="contains", value="on")
    answer = ask(row, note)
    assert not answer.fires
    assert [(check.what, check.holds) for check in answer.checks[1:]] == [
        ("kind equals", False),
        ("body contains", True),
    ]
    assert kwargs(answer)["text"] == "one", "what it would send is shown all the same"


def test_another_event_than_its_own_is_told(task: TaskDefinition, note: Note) -> None:
    answer = ask(make_trigger(task, "created"), note, "deleted")
    assert not answer.fires
    assert (answer.checks[0].value, answer.checks[0].expected) == ("deleted", "created")


@pytest.mark.parametrize(
    ("operator", "value", "hint"),
    [
        ("changed", "", "A save would have to change it from 'one'."),
        ("changed_from", "one", "A save would have to change it from 'one'."),
        ("changed_from", "two", "It holds 'one' now: only a save after the value has been 'two' counts."),
        ("changed_to", "two", "A save would have to change it from 'one' to 'two'."),
        ("changed_to", "one", "It holds 'one' already: it would have to become another value first."),
        ("changed_from_to", "one\ntwo", "A save would have to change it from 'one' to 'two'."),
        (
            "changed_from_to",
            "two\none",
            "It holds 'one' now: only a save after the value has been 'two' counts.",
        ),
    ],
)
def test_of_a_transition_it_is_told_what_would_have_to_change(
    task: TaskDefinition, note: Note, operator: str, value: str, hint: str
) -> None:
    answer = ask(make_trigger(task, "updated", when=("body", operator, value)), note)
    assert not answer.fires
    assert hints(answer) == [hint]
    assert answer.checks[-1].value == "'one', unchanged"


def test_a_change_can_be_tried(task: TaskDefinition, note: Note) -> None:
    row = make_trigger(task, "updated", when=("body", "changed_from_to", "one\ntwo"), watched=["body"])
    TriggerArgument.objects.filter(trigger=row, parameter="text").update(source="old", value="body")
    assert hints(ask(row, note))[0] == "A save would have to change one of them."
    answer = ask(row, note, body="two")
    assert answer.fires
    assert answer.checks[-1].value == "'one' → 'two'"
    assert kwargs(answer)["text"] == "one"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"gone": "1"}, "no column gone"),
        ({"created_at": "soon"}, "created_at: .*invalid format"),
    ],
)
def test_a_change_that_cannot_be_is_refused(
    task: TaskDefinition, note: Note, changes: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        ask(make_trigger(task, "updated"), note, **changes)


def test_related_objects_are_those_that_are_there(task: TaskDefinition, note: Note) -> None:
    tag = Tag.objects.create(name="red")
    note.tags.add(tag)
    row = make_trigger(task, "m2m_added", watched=["tags"])
    TaskDefinition.objects.update(parameters={})
    TriggerArgument.objects.filter(trigger=row, parameter="text").update(source="related", value="")
    answer = ask(row, note, "m2m_added")
    assert answer.fires
    assert kwargs(answer)["text"] == [tag.pk]


def test_a_trigger_that_is_off_says_so(task: TaskDefinition, note: Note) -> None:
    answer = ask(make_trigger(task, "updated", enabled=False), note)
    assert not answer.fires
    assert hints(answer) == ["Enable it."]


def test_the_window_of_a_coalescing_trigger_is_told(task: TaskDefinition, note: Note) -> None:
    answer = ask(make_trigger(task, "updated", coalesce=30.0), note)
    assert answer.body is not None
    assert (answer.body.coalesce, round(answer.body.due_in)) == (30, 30)


values = st.sampled_from(["", "one", "two"])
conditions = st.one_of(
    st.tuples(st.sampled_from(["equals", "not_equals", "contains", "starts_with"]), values),
    st.tuples(st.sampled_from(["changed", "changed_from", "changed_to"]), values),
    st.tuples(st.just("changed_from_to"), st.tuples(values, values).map("\n".join)),
)


@given(condition=conditions, before=values, after=values)
def test_the_preview_says_what_the_save_then_does(
    task: TaskDefinition, condition: tuple[str, str], before: str, after: str
) -> None:
    Trigger.objects.all().delete()
    note = Note.objects.create(title="A", body=before)
    OutboxMessage.objects.all().delete()
    operator, value = condition
    if operator == "changed_from_to" and len(value.splitlines()) != 2:
        return  # refused by the form
    row = make_trigger(task, "updated", when=("body", operator, value))
    answer = ask(row, note, body=after)
    assert not OutboxMessage.objects.exists()
    note.body = after
    note.save()
    assert OutboxMessage.objects.exists() is answer.fires is all(check.holds for check in answer.checks)
    for message in OutboxMessage.objects.all():
        assert json.loads(message.kwargs) == kwargs(answer)


# -- problems -----------------------------------------------------------------------------


def test_what_would_become_a_dead_message_is_told(task: TaskDefinition, note: Note) -> None:
    row = make_trigger(task, "updated")
    TriggerArgument.objects.filter(trigger=row, parameter="text").update(source="constant", value="3.5e0")
    TriggerArgument.objects.create(trigger=row, parameter="sentences", source="constant", value="0")
    answer = ask(row, note)
    assert answer.fires
    assert "InvalidArguments: 0 is less than the minimum of 1" in answer.problems[0]
    assert kwargs(answer)["sentences"] == 0


def test_a_stored_row_that_does_not_fit_is_a_problem(task: TaskDefinition, note: Note) -> None:
    row = make_trigger(task, "updated")
    TriggerCondition.objects.create(trigger=row, field="created_at", operator="contains", value="2024")
    answer = ask(row, note)
    assert not answer.fires
    assert "“contains” does not fit created_at, a DateTimeField" in answer.problems[0]


def test_sensitive_arguments_are_masked(task: TaskDefinition, note: Note) -> None:
    TaskDefinition.objects.update(sensitive_parameters=["text"])
    answer = ask(make_trigger(task, "updated"), note)
    assert kwargs(answer) == {"note_id": str(note.pk), "text": "***"}
    assert "'one'" not in repr(answer)


def test_a_task_without_a_destination_is_a_problem(task: TaskDefinition, note: Note) -> None:
    from dispatch.models import Queue, Route

    row = make_trigger(task, "updated")
    Route.objects.all().delete()
    Queue.objects.all().delete()
    answer = ask(row, note)
    assert answer.destination.destination is None
    assert "NoDestination" in answer.problems[0]


# -- nothing is sent ------------------------------------------------------------------------


@pytest.mark.parametrize("event", trigger_rules.EVENTS)
def test_nothing_is_written(task: TaskDefinition, note: Note, event: str) -> None:
    row = make_trigger(task, *trigger_rules.EVENTS)
    before = Note.objects.filter(pk=note.pk).values().get()
    with CaptureQueriesContext(connection) as queries:
        ask(row, note, event, **({"body": "two"} if event == "updated" else {}))
    written = [
        each["sql"]
        for each in queries
        if each["sql"].lstrip().split(" ")[0] in ("INSERT", "UPDATE", "DELETE")
    ]
    assert written == []
    assert Note.objects.filter(pk=note.pk).values().get() == before
    assert not OutboxMessage.objects.exists()


def test_what_a_function_in_code_writes_is_undone(note: Note, declared: dict[Any, Any]) -> None:
    @trigger(Note, on="updated", task=TASK)
    def careless(note: Note) -> dict[str, Any]:
        Note.objects.create(title="written by a trigger")
        send_task(TASK, kwargs={"note_id": "1", "text": "sent by a trigger"})
        return {"note_id": str(note.pk), "text": note.body}

    [found] = candidates(next(iter(declared.values())).name)
    answer = preview(found, note, "updated")
    assert answer.fires
    assert kwargs(answer)["text"] == "one"
    assert Note.objects.count() == 1
    assert not OutboxMessage.objects.exists()


# -- triggers in code -----------------------------------------------------------------------


def in_code(declared: dict[Any, Any]) -> Candidate:
    [found] = declared.values()
    return Candidate(found)


def test_a_trigger_in_code_is_asked_too(note: Note, declared: dict[Any, Any]) -> None:
    @trigger(Note, on="updated", task=TASK, watch=["body"], when=lambda note, seen: seen.old("body") == "one")
    def arguments(note: Note) -> dict[str, Any]:
        return {"note_id": str(note.pk), "text": note.body}

    answer = preview(in_code(declared), note, "updated", {"body": "two"})
    assert answer.fires
    assert kwargs(answer)["text"] == "two"
    note.refresh_from_db()
    answer = preview(in_code(declared), note, "updated")
    assert not answer.fires
    assert answer.body is None, "its function is asked only when it fires"


def test_an_error_of_a_function_in_code_is_told(note: Note, declared: dict[Any, Any]) -> None:
    @trigger(Note, on="updated", task=TASK)
    def arguments(note: Note) -> dict[str, Any]:
        Note.objects.create(pk=note.pk, title="a database error", created_at=None)
        raise AssertionError

    answer = preview(in_code(declared), note, "updated")
    assert "IntegrityError" in answer.problems[0]
    assert Note.objects.count() == 1


# -- the command ----------------------------------------------------------------------------


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("dispatch", "triggers", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_prints_conditions_and_body(task: TaskDefinition, note: Note) -> None:
    make_trigger(task, "updated", name="Changed", when=("body", "changed", ""))
    printed = run("preview", "Changed", str(note.pk))
    assert "does not fire" in printed
    assert "A save would have to change it from 'one'." in printed
    assert "Nothing was sent." in printed
    printed = run("preview", "Changed", str(note.pk), "--set", "body=two", "--event", "updated")
    assert f"Sends {TASK} to queue llm:" in printed
    assert "text = 'two'" in printed
    assert not OutboxMessage.objects.exists()


def test_the_command_writes_json_for_machines(task: TaskDefinition, note: Note) -> None:
    make_trigger(task, "updated", name="Changed")
    found = json.loads(run("preview", "Changed", str(note.pk), "--format", "json"))
    assert (found["fires"], found["event"], found["problems"]) == (True, "updated", [])
    assert found["body"]["kwargs"] == {"note_id": str(note.pk), "text": "one"}
    assert found["destination"]["destination"]["queue"] == "llm"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["Chagned", "1"], "no such trigger 'Chagned' .did you mean 'Changed'"),
        (["Changed", "1"], "no notes.note with the primary key '1'"),
        (["Changed", "1", "--set", "body"], "--set body: write FIELD=VALUE"),
    ],
)
def test_the_command_says_what_is_wrong(
    task: TaskDefinition, note: Note, arguments: list[str], complaint: str
) -> None:
    make_trigger(task, "updated", name="Changed")
    with pytest.raises(CommandError, match=complaint):
        run(
            "preview", *[str(note.pk) if "--set" in arguments and each == "1" else each for each in arguments]
        )


def test_functions_that_share_a_name_are_told_apart(note: Note, declared: dict[Any, Any]) -> None:
    def arguments(each: Any) -> dict[str, Any]:
        return {"note_id": str(each.pk), "text": "x"}

    for model in (Note, Tag):
        trigger(model, on="updated", task=TASK)(arguments)
    name = next(iter(declared.values())).name
    with pytest.raises(CommandError, match="2 triggers are named"):
        run("preview", name, str(note.pk))
    assert "fires" in run("preview", name, str(note.pk), "--model", "notes.note")


def test_the_command_lists_triggers_of_both_kinds(task: TaskDefinition, declared: dict[Any, Any]) -> None:
    make_trigger(task, "updated", name="Rows", when=("kind", "in", "text\naudio"), watched=["body"])

    @trigger(Note, on="created", task="worker.tasks.llm.gone")
    @trigger(Note, on="deleted", task=TASK, queue="default")
    def arguments(note: Note) -> dict[str, Any]:
        return {}

    rows = json.loads(run("list", "--format", "json"))
    assert [row["made in"] for row in rows] == ["admin", "code", "code"]
    assert rows[0]["if"] == "kind is one of text, audio"
    assert (rows[0]["watched"], rows[0]["destination"]) == ("body", "llm")
    assert rows[1]["destination"] == "default", "what the trigger itself says of the queue counts"
    assert "No task 'worker.tasks.llm.gone'" in rows[2]["problem"]


def test_without_triggers_the_list_says_how_to_make_one(declared: dict[Any, Any]) -> None:
    declared.clear()
    assert "add one in the admin" in run("list")


def test_a_function_in_code_is_not_asked_about_events_that_are_not_its_own(
    note: Note, declared: dict[Any, Any]
) -> None:
    def fails(note: Note) -> bool:
        raise AssertionError

    @trigger(Note, on="deleted", task=TASK, when=fails)
    def arguments(note: Note) -> dict[str, Any]:
        return {}

    answer = preview(in_code(declared), note, "updated")
    assert (answer.fires, answer.problems) == (False, ())
    assert "AssertionError" in preview(in_code(declared), note, "deleted").problems[0]


def test_what_is_wrong_with_a_row_is_told_of_every_event(task: TaskDefinition, note: Note) -> None:
    row = make_trigger(task, "updated", when=("gone", "equals", "1"))
    for event in ("updated", "deleted"):
        [problem] = ask(row, note, event).problems
        assert "no column gone" in problem
