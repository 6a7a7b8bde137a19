"""What happened to a message, in the order in which it happened."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from django.utils import timezone

from dispatch.models import OutboxMessage
from dispatch.outbox.history import events

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]


def test_an_attempt_stands_before_the_death_that_was_written_a_moment_earlier() -> None:
    died = timezone.now().replace(microsecond=0)
    message = OutboxMessage.objects.create(
        task_name="a.task", status="dead", created_at=died - dt.timedelta(minutes=1), available_at=died
    )
    message.failed_attempts.create(
        id=uuid.uuid4(), number=1, at=died + dt.timedelta(microseconds=900), error="Refused."
    )
    assert [event.kind for event in events(message)] == ["enqueued", "failed", "dead"]


def test_what_the_worker_did_stands_between_publishing_and_handling() -> None:
    now = timezone.now()
    message = OutboxMessage.objects.create(
        task_name="a.task",
        status="published",
        published_at=now,
        handled_at=now + dt.timedelta(seconds=9),
    )
    found = events(message, now + dt.timedelta(seconds=5), now + dt.timedelta(seconds=3))
    assert [event.kind for event in found] == ["enqueued", "published", "started", "finished", "handled"]


def test_a_claim_began_as_long_before_its_lease_ends_as_leases_last(settings) -> None:
    settings.DISPATCH = {**settings.DISPATCH, "RELAY_LEASE": 30}
    ends = timezone.now() + dt.timedelta(seconds=20)
    message = OutboxMessage.objects.create(
        task_name="a.task",
        status="claimed",
        lease_token=uuid.uuid4(),
        lease_expires_at=ends,
        created_at=ends - dt.timedelta(seconds=90),
        available_at=ends - dt.timedelta(seconds=90),
    )
    told = [(event.kind, event.at) for event in events(message)]
    assert told[1:] == [("claimed", ends - dt.timedelta(seconds=30)), ("lease ends", ends)]
