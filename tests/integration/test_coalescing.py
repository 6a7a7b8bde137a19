"""Messages of one object within a window become one, with the latest arguments, when they are claimed."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from dispatch.api import trigger
from dispatch.models import OutboxMessage, TaskDefinition, Trigger
from dispatch.relay import Relay
from dispatch.relay.claims import claim
from dispatch.relay.coalescing import coalesced
from project.notes.models import Note
from tests.integration.conftest import Broker
from tests.support import schemas
from tests.support.brokers import body, read_all
from tests.support.registry import TASK, make_task, make_trigger

Status = OutboxMessage.Status
WINDOW = 60.0


@pytest.fixture
def relay(no_ttl: None) -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


@pytest.fixture
def folding(broker: Broker) -> Trigger:
    return make_trigger(TaskDefinition.objects.get(), "created", "updated", coalesce=WINDOW)


def save(note: Note, *bodies: str) -> None:
    for text in bodies:
        note.body = text
        note.save()


def let_pass(seconds: float) -> None:
    """Make every pending message as much older, as if the time had passed; SQLite's clock counts milliseconds."""
    gone = dt.timedelta(seconds=seconds + 0.01)
    OutboxMessage.objects.filter(status=Status.PENDING).update(
        available_at=F("available_at") - gone, created_at=F("created_at") - gone
    )


def received(broker: Broker) -> list[str]:
    return [body(message)[1]["text"] for message in read_all(broker.url, broker.queue)]


def statuses() -> list[str]:
    return list(OutboxMessage.objects.order_by("created_at", "id").values_list("status", flat=True))


def test_what_was_saved_within_the_window_is_sent_once_with_the_latest_arguments(
    broker: Broker, folding: Trigger, relay: Relay
) -> None:
    note = Note(title="A")
    save(note, "one", "two", "three")
    assert relay.drain() == 0
    let_pass(WINDOW)
    assert relay.drain() == 1
    assert received(broker) == ["three"]
    assert statuses() == [Status.SUPERSEDED, Status.SUPERSEDED, Status.PUBLISHED]
    latest = OutboxMessage.objects.get(status=Status.PUBLISHED)
    assert set(OutboxMessage.objects.exclude(pk=latest.pk).values_list("superseded_by", flat=True)) == {
        latest.pk
    }


def test_the_window_begins_with_the_first_save_however_many_follow(
    broker: Broker, folding: Trigger, relay: Relay
) -> None:
    note = Note(title="A")
    save(note, "one")
    let_pass(WINDOW - 1)
    save(note, "two")
    let_pass(2)
    assert relay.drain() == 1
    assert received(broker) == ["two"]


def test_a_save_after_the_window_is_a_message_of_its_own(
    broker: Broker, folding: Trigger, relay: Relay
) -> None:
    note = Note(title="A")
    save(note, "one")
    let_pass(WINDOW)
    relay.drain()
    save(note, "two")
    let_pass(WINDOW)
    relay.drain()
    assert received(broker) == ["one", "two"]
    assert statuses() == [Status.PUBLISHED, Status.PUBLISHED]


def test_other_objects_other_triggers_and_triggers_without_a_window_are_left_alone(
    broker: Broker, folding: Trigger, relay: Relay
) -> None:
    make_trigger(folding.task, "created", name="at once")
    first, second = Note(title="A"), Note(title="B")
    save(first, "A1", "A2")
    save(second, "B1", "B2")
    assert relay.drain() == 2
    let_pass(WINDOW)
    relay.drain()
    assert sorted(received(broker)) == ["A1", "A2", "B1", "B2"]


def test_a_trigger_in_code_may_have_a_window(broker: Broker, declared: object, relay: Relay) -> None:
    @trigger(Note, on=["created", "updated"], task=TASK, coalesce=WINDOW)
    def arguments(note: Note) -> dict[str, str]:
        return {"note_id": str(note.pk), "text": note.body}

    save(Note(title="A"), "one", "two")
    let_pass(WINDOW)
    relay.drain()
    assert received(broker) == ["two"]


def test_each_task_of_one_function_has_a_window_of_its_own(broker: Broker, declared: object) -> None:
    make_task("worker.tasks.llm.forget")

    @trigger(Note, on="created", task=TASK, coalesce=WINDOW)
    @trigger(Note, on="created", task="worker.tasks.llm.forget", coalesce=WINDOW)
    def arguments(note: Note) -> dict[str, str]:
        return {"note_id": str(note.pk), "text": note.body}

    save(Note(title="A"), "one")
    let_pass(WINDOW)
    claimed = claim("default", 10, 60)
    assert len(claimed) == 2
    assert coalesced("default", claimed) == claimed


def test_one_that_another_relay_holds_supersedes_the_older_ones(
    broker: Broker, folding: Trigger, relay: Relay
) -> None:
    note = Note(title="A")
    save(note, "one", "two")
    let_pass(WINDOW)
    [older, newer] = OutboxMessage.objects.order_by("created_at", "id")
    OutboxMessage.objects.filter(pk=older.pk).update(
        available_at=F("available_at") + dt.timedelta(seconds=3600)
    )
    [held] = claim("default", 10, 60)
    OutboxMessage.objects.filter(pk=older.pk).update(
        available_at=F("available_at") - dt.timedelta(seconds=3600)
    )
    assert held.pk == newer.pk
    assert relay.drain() == 0
    older.refresh_from_db()
    assert (older.status, older.superseded_by) == (Status.SUPERSEDED, newer.pk)


def test_one_that_another_relay_settled_meanwhile_is_left_to_its_fencing_token(
    broker: Broker, folding: Trigger
) -> None:
    save(Note(title="A"), "one")
    let_pass(WINDOW)
    [row] = claim("default", 10, 60)
    OutboxMessage.objects.update(status=Status.DEAD, lease_token=None, lease_expires_at=None)
    assert coalesced("default", [row]) == [row]


def test_a_dead_one_does_not_supersede(broker: Broker, folding: Trigger, relay: Relay) -> None:
    note = Note(title="A")
    save(note, "one", "two")
    OutboxMessage.objects.filter(kwargs__contains="two").update(status=Status.DEAD)
    let_pass(WINDOW)
    relay.drain()
    assert [
        json.loads(row.kwargs)["text"] for row in OutboxMessage.objects.filter(status=Status.PUBLISHED)
    ] == ["one"]


def test_a_hundred_objects_are_looked_up_by_one_query(broker: Broker, folding: Trigger) -> None:
    for number in range(100):
        save(Note(title=str(number)), "one")
    let_pass(WINDOW)
    rows = claim("default", 200, 60)
    with CaptureQueriesContext(connection) as queries:
        assert len(coalesced("default", rows)) == 100
    assert len(queries) == 1
    with CaptureQueriesContext(connection) as queries:
        coalesced("default", [OutboxMessage(), OutboxMessage()])
    assert len(queries) == 0


def test_objects_of_two_schemas_that_share_a_key_are_not_one(
    folding: Trigger, relay: Relay, broker: Broker, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DISPATCH = {**settings.DISPATCH, "SCHEMA_NAME": "tests.support.schemas.name"}
    note = Note(title="A")
    for schema in ("ada", "bob"):
        monkeypatch.setattr(schemas, "current", schema)
        save(note, f"{schema} one", f"{schema} two")
    assert set(OutboxMessage.objects.values_list("object_schema", flat=True)) == {"ada", "bob"}
    let_pass(WINDOW + 1)
    relay.drain()
    assert sorted(received(broker)) == ["ada two", "bob two"]
