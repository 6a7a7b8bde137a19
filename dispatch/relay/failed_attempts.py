"""Keeps each failed attempt with its error, so that a requeue, or a success in the end, leaves its history."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from django.db.models import Count

from dispatch.core.redaction import storable
from dispatch.models import Attempt
from dispatch.models.database import database_now
from dispatch.relay.claims import Claimed

#: Attempts that are kept of a message, the latest; the others go when there are twice as many.
KEPT = 50
#: A claimed message, what went wrong with it ("" for nothing), and whether that counts as an attempt.
Failure = tuple[Claimed, str, bool]


def record(using: str, failures: Iterable[Failure]) -> None:
    """Insert a row for each failure, in the caller's transaction; where there is none, the database is not asked.

    What is not counted is repeated as long as its broker is down: of equal ones only the first is news.
    """
    rows = [
        _attempt(message, error, counted)
        for message, error, counted in failures
        if error and (counted or error != message.last_error)
    ]
    if rows:
        Attempt.objects.using(using).bulk_create(rows, ignore_conflicts=True)
        _forget_oldest(using, {row.message_id for row in rows})


def _attempt(message: Claimed, error: str, counted: bool) -> Attempt:
    return Attempt(
        id=_id(message.pk, message.lease_token),
        message_id=message.pk,
        number=message.attempts + 1 if counted else None,
        at=database_now(),
        broker=message.broker,
        queue=message.queue,
        error=storable(error),
    )


def _id(message: uuid.UUID, lease: uuid.UUID) -> uuid.UUID:
    """Return one id for one message and claim: what is recorded once more is there already."""
    return uuid.UUID(int=message.int ^ lease.int)


def _forget_oldest(using: str, messages: set[uuid.UUID]) -> None:
    attempts = Attempt.objects.using(using)
    counts = (
        attempts.filter(message__in=messages).order_by().values_list("message").annotate(kept=Count("pk"))
    )
    for message in counts.filter(kept__gt=2 * KEPT).values_list("message", flat=True):
        of_message = attempts.filter(message=message)
        latest = list(of_message.order_by("-at", "-number").values_list("pk", flat=True)[:KEPT])
        of_message.exclude(pk__in=latest).delete()
