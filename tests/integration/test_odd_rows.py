"""Rows that no call would have made, among others that are fine."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, connection, models, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import example, given, reject
from hypothesis import strategies as st
from kombu.transport import memory

from dispatch.api import Call, InvalidArguments, send_many, send_task
from dispatch.contract.pending_messages import refused
from dispatch.core.json_values import DEPTH
from dispatch.core.schema.parameters import Parameters
from dispatch.models import OutboxMessage, Queue, TaskDefinition
from dispatch.models.database import MomentField
from dispatch.outbox import requeue
from dispatch.relay import Relay, odd_ids
from dispatch.relay.claims import LeftAlone, claim
from tests.support.odd_values import DEEP, JSON, ODD_ROWS, TEXTS, write
from tests.support.registry import ARGUMENTS, PARAMETERS, TASK, make_registry

Status = OutboxMessage.Status

pytestmark = pytest.mark.django_db(transaction=True)

#: What PostgreSQL takes, and Python does not know.
ENDLESS = [
    ("expires_at", "infinity"),
    ("created_at", "-infinity"),
    ("available_at", "-infinity"),
    ("published_at", "20000-01-01"),
]


@pytest.fixture(autouse=True)
def memory_broker(broker_settings: Callable[..., None]) -> None:
    memory.Channel.queues.clear()
    elsewhere = {"elsewhere": {"URL": "memory://"}}
    broker_settings("memory://", brokers=elsewhere, BACKOFF_MAX=0, MAX_ATTEMPTS=2)
    make_registry()


def three() -> list[OutboxMessage]:
    return send_many([Call(TASK, kwargs=ARGUMENTS)] * 3)


def state(message: OutboxMessage) -> tuple[str, str]:
    """Read without the odd column."""
    return OutboxMessage.objects.values_list("status", "last_error").get(pk=message.pk)


@pytest.mark.parametrize(("column", "value"), ODD_ROWS.values(), ids=ODD_ROWS)
def test_an_odd_row_is_dead_with_the_reason_and_its_neighbours_arrive(column: str, value: str) -> None:
    first, odd, last = three()
    write(odd, column, value)
    assert Relay().drain() == 2
    status, reason = state(odd)
    assert status == Status.DEAD
    assert reason.startswith("The stored message cannot be read: ")
    assert [state(message) for message in (first, last)] == [(Status.PUBLISHED, "")] * 2


@pytest.mark.parametrize(
    "odd_id", ["abc", b"\xff", 7, "0190F3A2000070008000000000000000", str(uuid.UUID(int=7))]
)
@pytest.mark.parametrize("is_walked_over", [True, False])
def test_an_id_that_sqlite_takes_and_django_does_not_find_costs_its_own_row(
    odd_id: Any, is_walked_over: bool
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("other databases take UUIDs alone")
    relay = Relay()
    if not is_walked_over:  # rows are walked over when a relay begins
        relay.step()
    first, odd, last = three()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dispatch_outboxmessage SET id = %s WHERE id = %s", [odd_id, odd.pk.hex])
    relay.drain()
    assert [state(message) for message in (first, last)] == [(Status.PUBLISHED, "")] * 2
    OutboxMessage.objects.filter(status=Status.CLAIMED).update(lease_expires_at="2025-01-01 00:00Z")
    relay._swept = 0.0
    assert relay.drain() == 0
    [buried] = OutboxMessage.objects.filter(status=Status.DEAD)
    assert buried.last_error.startswith("Its id was ")


@pytest.mark.one_database
def test_what_was_published_under_an_odd_id_stays_published() -> None:
    gone, _waits, odd = three()
    rows = OutboxMessage.objects.filter(pk=gone.pk)
    rows.update(status="published", published_at=timezone.now())
    for message in (gone, odd):
        write(message, "id", str(message.pk))
    assert odd_ids.mend("default") == 2
    assert sorted(OutboxMessage.objects.values_list("status", flat=True)) == ["dead", "pending", "published"]
    assert odd_ids.mend("default") == 0


@pytest.mark.parametrize(("column", "value"), ENDLESS, ids=[column for column, _ in ENDLESS])
def test_a_time_that_python_does_not_know_is_the_last_or_the_first_that_it_knows(
    column: str, value: str
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL has such times")
    _, odd, _ = three()
    write(odd, column, value)
    odd.refresh_from_db()
    assert getattr(odd, column).year == (1 if value.startswith("-") else 9999)
    assert OutboxMessage.objects.values_list(column, flat=True).get(pk=odd.pk) == getattr(odd, column)
    assert Relay().drain() == 3


def test_a_row_that_cannot_be_read_lets_a_claim_hold_no_other_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL claims queue by queue and reads what it claims at once")
    monkeypatch.setattr(MomentField, "select_format", models.DateTimeField.select_format)
    messages = three()
    for message, queue in zip(messages, ("llm", "tts", "tts"), strict=True):
        OutboxMessage.objects.filter(pk=message.pk).update(queue=queue)
        write(message, "expires_at", "infinity")
    claimed = claim("default", 10, 60.0, without=LeftAlone(queues=["paused"], open_queues=["llm", "tts"]))
    assert sorted(row.pk for row in claimed) == sorted(message.pk for message in messages)


def test_what_cannot_be_recorded_is_dead_and_its_neighbours_are_published_once() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite counts on in another kind of number")
    most = {"postgresql": 2**31 - 1, "mysql": 2**32 - 1}[connection.vendor]
    first, odd, last = three()
    write(odd, "attempts", most)
    relay = Relay()
    relay.drain()
    assert relay.drain() == 0
    status, reason = state(odd)
    assert status == Status.DEAD
    assert reason.startswith("It is published, which cannot be recorded: ")
    assert [state(message) for message in (first, last)] == [(Status.PUBLISHED, "")] * 2


def test_what_is_never_due_stops_nobody() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL has such times")
    _, odd, _ = three()
    write(odd, "available_at", "infinity")
    relay = Relay()
    assert relay.drain() == 2
    Queue.objects.update(paused=True)  # the walk over the backlog looks at every row again
    assert relay.drain() == 0
    assert state(odd) == (Status.PENDING, "")


def test_a_pinned_odd_row_does_not_stop_the_walk_over_the_backlog() -> None:
    odd = send_task(TASK, kwargs=ARGUMENTS, queue="llm")
    fine = send_task(TASK, kwargs=ARGUMENTS, queue="llm")
    write(odd, "options", '{"queue": ["llm"]}')
    Queue.objects.filter(name="llm").update(broker="elsewhere")
    assert Relay().drain() == 1
    assert (state(odd)[0], state(fine)[0]) == (Status.DEAD, Status.PUBLISHED)
    assert OutboxMessage.objects.values_list("broker", flat=True).get(pk=fine.pk) == "elsewhere"


@pytest.mark.parametrize(("column", "outside"), [("args", "[]"), ("kwargs", '{"a":}')])
def test_arguments_are_as_deep_in_a_row_as_send_task_takes_them(column: str, outside: str) -> None:
    def nested(levels: int) -> str:
        """As many levels as that, the outermost included."""
        return f"{outside[:-1]}{'[' * (levels - 1)}{']' * (levels - 1)}{outside[-1]}"

    TaskDefinition.objects.update(parameters={})
    fits, too_deep = send_many([Call(TASK), Call(TASK)])
    write(fits, column, nested(DEPTH))
    write(too_deep, column, nested(DEPTH + 1))
    assert Relay().drain() == 1
    assert state(fits)[0] == Status.PUBLISHED
    assert state(too_deep)[0] == Status.DEAD
    assert f"is nested more than {DEPTH} levels deep" in state(too_deep)[1]
    with pytest.raises(InvalidArguments, match=f"is nested more than {DEPTH} levels deep"):
        send_task(TASK, **{column: json.loads(nested(DEPTH + 1))})


def test_an_odd_row_that_was_corrected_is_published_after_a_requeue() -> None:
    message = send_task(TASK, kwargs=ARGUMENTS)
    write(message, "kwargs", "[]")
    relay = Relay()
    assert relay.drain() == 0
    write(message, "kwargs", json.dumps(ARGUMENTS))
    assert requeue(OutboxMessage.objects.filter(pk=message.pk)) == 1
    assert relay.drain() == 1


@pytest.mark.parametrize("args", ["[", "{}", "5", DEEP])
def test_an_odd_row_is_counted_where_waiting_messages_are_tried_against_new_parameters(args: str) -> None:
    _, odd, _ = three()
    write(odd, "args", args)
    found = refused("default", TASK, Parameters(PARAMETERS), ())
    assert found is not None
    assert (found.number, found.examples) == (1, (str(odd.pk),))
    assert "cannot be read" in found.reason


COLUMNS = sorted(field.attname for field in OutboxMessage._meta.concrete_fields if not field.primary_key)
OPTIONS = [
    "eta",
    "queue",
    "exchange",
    "routing_key",
    "priority",
    "link",
    "link_error",
    "stamps",
    "serializer",
]
OPTIONS += [
    "compression",
    "time_limit",
    "soft_time_limit",
    "ignore_result",
    "shadow",
    "reply_to",
    "delivery_mode",
]
VALUES = st.one_of(
    TEXTS,
    st.tuples(st.sampled_from(OPTIONS), JSON).map(lambda pair: json.dumps(dict([pair]))),
    st.none(),
    st.integers(),
    st.binary(max_size=8),
    st.sampled_from(["infinity", "-infinity", "2026-99-99", "20000-01-01", "pending", "dead"]),
)


@given(column=st.sampled_from(COLUMNS), value=VALUES)
@example(column="task_name", value=b"")
def test_whatever_stands_in_a_row_its_neighbours_arrive(column: str, value: Any) -> None:
    OutboxMessage.objects.all().delete()
    first, odd, last = three()
    try:
        with transaction.atomic():
            write(odd, column, value)
    except (DatabaseError, ValueError, OverflowError):  # not even the database takes it
        reject()
    Relay().drain()
    assert [state(message) for message in (first, last)] == [(Status.PUBLISHED, "")] * 2
    status, reason = state(odd)
    assert status != Status.CLAIMED
    assert reason or status != Status.DEAD or column in ("status", "last_error")


@pytest.mark.parametrize("value", ["infinity", "-infinity"])
@pytest.mark.parametrize("column", ["available_at", "created_at", "expires_at", "published_at"])
def test_the_log_shows_a_message_of_a_time_without_end(admin_client: Client, column: str, value: str) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL has such times")
    message = send_task(TASK, kwargs=ARGUMENTS)
    write(message, column, value)
    assert admin_client.get(reverse("admin:dispatch_outboxmessage_changelist")).status_code == 200
    assert (
        admin_client.get(reverse("admin:dispatch_outboxmessage_change", args=[message.pk])).status_code == 200
    )
