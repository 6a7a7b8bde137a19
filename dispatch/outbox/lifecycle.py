"""Moves rows that are not on their way, back to pending, or off for good: as many as there are, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator

from dispatch.models import OutboxMessage
from dispatch.models.database import database_now
from dispatch.models.outbox_message import OutboxQuerySet
from dispatch.models.write_transactions import brief_write

Status = OutboxMessage.Status


#: Messages of one step: no statement holds more of them.
STEP = 500


def in_steps(messages: OutboxQuerySet, limit: int | None = None) -> Iterator[OutboxQuerySet]:
    """Yield the messages a few at a time, in the order of their ids; what is done with some may move them away."""
    after, left = None, limit
    while left is None or left > 0:
        rest = messages.order_by("pk") if after is None else messages.order_by("pk").filter(pk__gt=after)
        ids = list(rest.values_list("pk", flat=True)[: STEP if left is None else min(STEP, left)])
        if not ids:
            return
        yield messages.filter(pk__in=ids)
        after, left = ids[-1], None if left is None else left - len(ids)


def requeue(messages: OutboxQuerySet) -> int:
    """Put dead and cancelled messages back to pending, with all attempts before them; return how many.

    What expired is given no new time: it is cancelled again, visibly, when its turn comes. What a trigger could not
    enqueue never was a message (it has no broker), and is left as it is.
    """
    with brief_write(messages.db):
        return requeueable(messages).update(
            status=Status.PENDING, attempts=0, last_error="", available_at=database_now()
        )


def cancel(messages: OutboxQuerySet) -> int:
    """Cancel messages that no relay holds and no broker has; return how many."""
    with brief_write(messages.db):
        return cancellable(messages).update(status=Status.CANCELLED, available_at=database_now())


def requeueable(messages: OutboxQuerySet) -> OutboxQuerySet:
    """Return those that can be requeued."""
    return messages.filter(status__in=OutboxMessage.REQUEUEABLE).exclude(broker="")


def cancellable(messages: OutboxQuerySet) -> OutboxQuerySet:
    """Return those that can be cancelled."""
    return messages.filter(status__in=OutboxMessage.CANCELLABLE)
