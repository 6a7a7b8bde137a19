"""Tells the log, and the receivers of the signals, what became of messages."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from dispatch.models import OutboxMessage
from dispatch.relay.settling import Outcome
from dispatch.signals import message_dead, message_published

logger = logging.getLogger("dispatch.relay")
Status = OutboxMessage.Status


def announce(using: str, settled: Iterable[Outcome]) -> None:
    """Tell of outcomes that are recorded."""
    published = bool(message_published.receivers)
    for outcome in settled:
        if outcome.status == Status.PUBLISHED:
            if published:
                message, destination = _message(using, outcome), outcome.destination
                message_published.send_robust(
                    sender=OutboxMessage, message=message, destination=destination, using=using
                )
        elif outcome.status == Status.DEAD:
            logger.error("%s is dead: %s", outcome.message, outcome.error)
            message_dead.send_robust(sender=OutboxMessage, message=_message(using, outcome), using=using)
        elif outcome.error and outcome.error != outcome.message.last_error:
            logger.warning("%s waits: %s", outcome.message, outcome.error)


def _message(using: str, outcome: Outcome) -> OutboxMessage:
    """Return the row as a model's instance; Django loads a column that the relay did not read when it is asked for."""
    row = outcome.message
    columns = {
        "id": row.pk,
        "task_name": row.task_name,
        "args": row.args,
        "kwargs": row.kwargs,
        "expires_at": row.expires_at,
        "coalesce_key": row.coalesce_key,
        "status": outcome.status,
        "last_error": outcome.error,
    }
    order = [
        field.attname for field in OutboxMessage._meta.concrete_fields
    ]  # in which Django hands the values out
    known = {name: columns[name] for name in order if name in columns and name not in row.odd}
    return OutboxMessage.from_db(using, [*known], [*known.values()])
