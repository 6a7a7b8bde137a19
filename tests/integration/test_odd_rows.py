"""Rows that no call would have made, among others that are fine."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from hypothesis import given, reject
from hypothesis import strategies as st
from kombu.transport import memory

from dispatch.api import Call, message_dead, send_many, send_task
from dispatch.contract.pending_messages import refused
from dispatch.core.schema.parameters import Parameters
from dispatch.models import OutboxMessage, Queue
from dispatch.outbox import requeue
from dispatch.relay import Relay
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
    broker_settings("memory://", brokers=elsewhere, BACKOFF_BASE=0, MAX_ATTEMPTS=2)
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


@pytest.mark.parametrize(("column", "value"), ENDLESS, ids=[column for column, _ in ENDLESS])
def test_a_time_that_python_does_not_know_is_told_on_its_row(column: str, value: str) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL has such times")
    _, odd, _ = three()
    write(odd, column, value)
    told: list[OutboxMessage] = []
    message_dead.connect(lambda message, **_: told.append(message), weak=False, dispatch_uid="test")
    try:
        assert Relay().drain() == 2
    finally:
        message_dead.disconnect(dispatch_uid="test")
    assert state(odd)[0] == Status.DEAD
    assert f"column {column} holds a value that cannot be read" in state(odd)[1]
    assert [message.pk for message in told] == [odd.pk]


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


def test_arguments_as_deep_as_python_reads_are_published() -> None:
    message = send_task(TASK, kwargs=ARGUMENTS)
    write(message, "args", "[" * 900 + "]" * 900)
    Relay().drain()
    assert state(message)[0] in (Status.PUBLISHED, Status.DEAD)  # readers differ in what they take
    first, last = send_many([Call(TASK, kwargs=ARGUMENTS)] * 2)
    assert Relay().drain() == 2
    assert [state(first)[0], state(last)[0]] == [Status.PUBLISHED] * 2


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
