"""Whatever is wrong with the registry, a trigger or a listener: the saves of everybody else go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test.utils import CaptureQueriesContext

from dispatch.api import InvalidArguments, TaskDisabled, message_dead, message_enqueued, send_task, trigger
from dispatch.models import Binding, Exchange, OutboxMessage, Queue, TaskDefinition, Trigger
from dispatch.registry import cache
from project.notes.models import Note
from tests.support.registry import ARGUMENTS, TASK, make_registry, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def task(no_ttl: None) -> TaskDefinition:
    return make_registry()


@pytest.fixture
def column_missing(task: TaskDefinition) -> Iterator[None]:
    """The code is newer than the registry's tables, and this process knows no snapshot yet."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE dispatch_queue RENAME COLUMN paused TO paused_one_day")
    cache.clear()
    yield
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE dispatch_queue RENAME COLUMN paused_one_day TO paused")
    cache.clear()


def work_of_a_migration() -> None:
    """Save and delete what is in no installed app."""
    recorder = MigrationRecorder(connection)
    recorder.record_applied("elsewhere", "0001_initial")
    recorder.record_unapplied("elsewhere", "0001_initial")
    historical = MigrationLoader(connection).project_state().apps.get_model("notes", "Note")
    historical.objects.create(title="A").delete()
    historical.objects.create(title="B")
    historical.objects.all().delete()


# -- models that are in no installed app ----------------------------------------------------------


def test_models_of_no_installed_app_never_ask_the_registry(task: TaskDefinition) -> None:
    make_trigger(task, "created", "deleted")
    cache.clear()
    with CaptureQueriesContext(connection) as queries:
        work_of_a_migration()
    assert [query["sql"] for query in queries if "dispatch_" in query["sql"]] == []


def test_models_of_no_installed_app_are_saved_while_a_column_of_the_registry_is_missing(
    column_missing: None,
) -> None:
    work_of_a_migration()
    assert not Note.objects.exists()


def test_the_checks_keep_nobody_from_migrating_while_a_column_of_the_registry_is_missing(
    column_missing: None,
) -> None:
    found = run_checks(databases=["default"])
    assert [message for message in found if (message.id or "").startswith("dispatch.W")] == []
    call_command("migrate", verbosity=0, interactive=False)


# -- malformed rows -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "columns",
    [{"parameters": []}, {"parameters": 5}, {"parameters": {"properties": 5}}, {"sensitive_parameters": 5}],
    ids=json.dumps,
)
def test_a_malformed_task_stops_only_itself(task: TaskDefinition, columns: dict[str, Any]) -> None:
    TaskDefinition.objects.create(name="malformed", **columns)
    make_trigger(task, "created", "deleted")
    Group.objects.create(name="unhooked").delete()
    Note.objects.create(title="A").delete()
    assert list(OutboxMessage.objects.values_list("status", flat=True)) == ["pending"] * 2
    with pytest.raises(TaskDisabled, match=r"'malformed' cannot be sent\. Its definition"):
        send_task("malformed")


@pytest.mark.parametrize("events", [5, None, [["created"]]], ids=repr)
def test_a_malformed_trigger_stops_only_itself_with_a_reason(task: TaskDefinition, events: Any) -> None:
    make_trigger(task, "created", "deleted", name="fine")
    Trigger.objects.create(name="malformed", model="notes.note", events=[], task=task)
    with connection.cursor() as cursor:
        text = json.dumps(events)
        cursor.execute("UPDATE dispatch_trigger SET events = %s WHERE name = 'malformed'", [text])
    cache.clear()
    Group.objects.create(name="unhooked").delete()
    Note.objects.create(title="A").delete()
    assert OutboxMessage.objects.filter(status="pending").count() == 2
    dead = OutboxMessage.objects.filter(status="dead").values_list("last_error", flat=True)
    assert len(dead) == 2
    assert all("'malformed' could not enqueue" in error and "Correct the trigger" in error for error in dead)


@pytest.mark.parametrize("table", ["queue", "exchange", "binding"])
@pytest.mark.parametrize("value", ["5", "[]", "null"])
def test_malformed_arguments_of_a_queue_an_exchange_or_a_binding_stop_no_save(
    task: TaskDefinition, table: str, value: str
) -> None:
    make_trigger(task, "created")
    exchange = Exchange.objects.create(name="media", type="topic")
    other = Queue.objects.create(name="other")
    Binding.objects.create(queue=other, exchange=exchange, routing_key="#")
    with connection.cursor() as cursor:
        where = "name = 'other'" if table == "queue" else "1 = 1"
        cursor.execute(f"UPDATE dispatch_{table} SET arguments = %s WHERE {where}", [value])
    cache.clear()
    Group.objects.create(name="unhooked").delete()
    Note.objects.create(title="A")
    assert OutboxMessage.objects.get().status == "pending"


# -- listeners ------------------------------------------------------------------------------------


@pytest.fixture
def broken_listener() -> Iterator[list[Any]]:
    """Someone counts messages, and the counter is down."""
    calls: list[Any] = []

    def count(*, message: OutboxMessage, **_: Any) -> None:
        calls.append(message.status)
        raise RuntimeError("metrics are down")

    for signal in (message_enqueued, message_dead):
        signal.connect(count, dispatch_uid="test")
    yield calls
    for signal in (message_enqueued, message_dead):
        signal.disconnect(dispatch_uid="test")


def test_a_listener_that_fails_breaks_neither_a_save_nor_a_send(
    task: TaskDefinition, broken_listener: list[Any]
) -> None:
    make_trigger(task, "created")
    Note.objects.create(title="A")
    send_task(TASK, kwargs=ARGUMENTS)
    assert broken_listener == ["pending", "pending"]
    assert (Note.objects.count(), OutboxMessage.objects.count()) == (1, 2)


def test_a_listener_that_fails_on_a_dead_message_does_not_break_the_save(
    task: TaskDefinition, broken_listener: list[Any]
) -> None:
    make_trigger(task, "created")
    TaskDefinition.objects.update(enabled=False)
    Note.objects.create(title="A")
    assert broken_listener == ["dead", "dead"]  # enqueued as dead, and dead
    assert OutboxMessage.objects.get().status == "dead"


# -- what no database stores ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "kept"),
    [("bad \x00 byte", "bad � byte"), ("half \ud800 pair", "half � pair"), ("x" * 70_000, "xxx")],
    ids=["NUL", "surrogate", "long"],
)
def test_an_error_of_any_characters_is_kept_on_the_dead_message(
    declared: object, reason: str, kept: str
) -> None:
    @trigger(Note, on="created", task=TASK)
    def fail(note: Note) -> dict[str, Any]:
        raise ValueError(reason)

    Note.objects.create(title="A")
    assert kept in OutboxMessage.objects.get(status="dead").last_error


@pytest.mark.parametrize(
    "name", ["worker." + "x" * 300, "worker.\x00", "worker.\ud800"], ids=["long", "NUL", "half"]
)
def test_a_task_name_that_no_column_holds_does_not_break_the_save(declared: object, name: str) -> None:
    @trigger(Note, on="created", task=name)
    def arguments(note: Note) -> dict[str, Any]:
        return {}

    Note.objects.create(title="A")
    dead = OutboxMessage.objects.get()
    assert (dead.status, dead.task_name[:7]) == ("dead", "worker.")


def test_a_trigger_whose_own_name_is_too_long_works(declared: object) -> None:
    def arguments(note: Note) -> dict[str, Any]:
        return {"note_id": str(note.pk), "text": note.body}

    arguments.__qualname__ = "x" * 300
    trigger(Note, on="created", task=TASK)(arguments)
    Note.objects.create(title="A")
    assert OutboxMessage.objects.get().origin_name.endswith("xxx")


@pytest.mark.parametrize("value", [{"text": "\x00"}, {"te\ud800xt": "a"}], ids=["NUL", "surrogate"])
def test_arguments_that_no_database_stores_make_a_dead_message(
    declared: object, value: dict[str, Any]
) -> None:
    @trigger(Note, on="created", task=TASK)
    def arguments(note: Note) -> dict[str, Any]:
        return {"note_id": str(note.pk), **value}

    Note.objects.create(title="A")
    assert "which no JSON reader accepts" in OutboxMessage.objects.get(status="dead").last_error


# -- arguments that are too long ------------------------------------------------------------------


def test_arguments_that_are_too_long_are_refused_where_code_sends_and_a_dead_message_where_a_trigger_does(
    task: TaskDefinition, settings: Any
) -> None:
    settings.DISPATCH = {**settings.DISPATCH, "MAX_ARGUMENTS_SIZE": 50}
    with pytest.raises(
        InvalidArguments, match="MAX_ARGUMENTS_SIZE"
    ):  # before a schema that would refuse it too
        send_task(TASK, kwargs={"note_id": 5, "text": ["x"] * 100})
    with pytest.raises(InvalidArguments, match=r"MAX_ARGUMENTS_SIZE.* /kwargs/text \(102 bytes\)"):
        send_task(TASK, kwargs={"note_id": "1", "text": "x" * 100})
    assert not OutboxMessage.objects.exists()

    make_trigger(task, "created")
    note = Note.objects.create(title="A", body="x" * 100)
    [message] = OutboxMessage.objects.all()
    assert (message.status, message.object_pk) == (OutboxMessage.Status.DEAD, str(note.pk))
    assert "MAX_ARGUMENTS_SIZE" in message.last_error
