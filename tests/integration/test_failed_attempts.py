"""What failed is told afterwards too: each attempt with its number, its moment, its error and its place."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dispatch.api import Call, send_many, send_task
from dispatch.models import Attempt, OutboxMessage
from dispatch.outbox import requeue
from dispatch.relay import failed_attempts
from dispatch.relay.claims import claim
from dispatch.relay.settling import Outcome, settle
from tests.support.registry import ARGUMENTS, TASK, make_registry

pytestmark = pytest.mark.django_db(transaction=True)
Status = OutboxMessage.Status


@pytest.fixture(autouse=True)
def registry(broker_settings: Callable[..., None], transactional_db: None) -> None:
    broker_settings("memory://")
    make_registry()


def fail(error: str, status: str = Status.PENDING, *, counted: bool = True) -> list[Outcome]:
    """Claim what is due, and let it fail."""
    rows = claim("default", 100, 60)
    return settle("default", [Outcome(row, status, error, counted=counted) for row in rows])


def told(message: OutboxMessage) -> list[tuple[Any, ...]]:
    return list(message.failed_attempts.values_list("number", "error", "broker", "queue"))


def test_each_failed_attempt_is_kept_with_its_error_and_a_requeue_forgets_none() -> None:
    message = send_task(TASK, kwargs=ARGUMENTS)
    fail("the first")
    fail("the second", Status.DEAD)
    assert requeue(OutboxMessage.objects.all()) == 1
    fail("after the requeue")
    places = ("default", "llm")
    assert told(message) == [
        (1, "the first", *places),
        (2, "the second", *places),
        (1, "after the requeue", *places),
    ]
    moments = message.failed_attempts.values_list("at", flat=True)
    assert all(abs(timezone.now() - at) < dt.timedelta(seconds=30) for at in moments)


def test_while_a_broker_is_away_only_a_new_error_is_told() -> None:
    message = send_task(TASK, kwargs=ARGUMENTS)
    for error in ("refused", "refused", "timed out", "timed out"):
        fail(error, counted=False)
    assert {entry[:2] for entry in told(message)} == {(None, "refused"), (None, "timed out")}
    assert len(told(message)) == 2


def test_what_is_published_costs_no_query() -> None:
    send_many(Call(TASK, kwargs=ARGUMENTS) for _ in range(3))
    rows = claim("default", 10, 60)
    published = {"status": Status.PUBLISHED, "counted": True}
    with CaptureQueriesContext(connection) as queries:
        OutboxMessage.objects.update(published_at=timezone.now())
        settle("default", [Outcome(row, **published) for row in rows])
    assert not [each for each in queries if Attempt._meta.db_table in each["sql"]]


def test_what_is_recorded_once_more_after_a_lost_commit_is_told_once() -> None:
    message = send_task(TASK, kwargs=ARGUMENTS)
    outcomes = fail("refused")
    settle("default", outcomes)
    assert len(told(message)) == 1


def test_what_a_relay_without_a_lease_says_is_not_told() -> None:
    message = send_task(TASK, kwargs=ARGUMENTS)
    [row] = claim("default", 1, 60)
    row = row._replace(lease_token=uuid.uuid4())
    settle("default", [Outcome(row, Status.DEAD, "refused", counted=True)])
    assert told(message) == []


def test_of_endless_attempts_the_latest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed_attempts, "KEPT", 3)
    message, other = send_many(Call(TASK, kwargs=ARGUMENTS) for _ in range(2))
    for number in range(7):
        fail(f"error {number}")
    assert [error for _, error, *_ in told(message)] == ["error 4", "error 5", "error 6"]
    assert len(told(other)) == 3
