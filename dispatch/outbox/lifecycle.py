"""Moves rows that are not on their way: back to pending, or off for good."""

from __future__ import annotations

from dispatch.models import OutboxMessage
from dispatch.models.database import database_now
from dispatch.models.outbox_message import OutboxQuerySet

Status = OutboxMessage.Status


def requeue(messages: OutboxQuerySet) -> int:
    """Put dead and cancelled messages back to pending, with all attempts before them; return how many.

    What expired is given no new time: it is cancelled again, visibly, when its turn comes. What a trigger could not
    enqueue never was a message (it has no broker), and is left as it is.
    """
    return (
        messages.filter(status__in=OutboxMessage.REQUEUEABLE)
        .exclude(broker="")
        .update(status=Status.PENDING, attempts=0, last_error="", available_at=database_now())
    )


def cancel(messages: OutboxQuerySet) -> int:
    """Cancel messages that no relay holds and no broker has; return how many."""
    return messages.filter(status__in=(Status.PENDING, Status.DEAD)).update(status=Status.CANCELLED)
