"""Tells the log, and the receivers of the signals, what became of messages."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from dispatch import outbox
from dispatch.models import OutboxMessage
from dispatch.relay.settling import Outcome
from dispatch.signals import message_dead, message_published

logger = logging.getLogger("dispatch.relay")
Status = OutboxMessage.Status


def announce(using: str, settled: Iterable[Outcome]) -> None:
    """Tell of outcomes that are recorded."""
    published = bool(message_published.receivers)
    news = []
    for outcome in settled:
        if outcome.status == Status.PUBLISHED:
            if published:
                message, destination = _message(using, outcome), outcome.destination
                message_published.send_robust(
                    sender=OutboxMessage, message=message, destination=destination, using=using
                )
        elif outcome.status == Status.DEAD or outcome.error not in ("", outcome.message.last_error):
            news.append(outcome)
    if news:
        _tell(using, news)


def _tell(using: str, news: Sequence[Outcome]) -> None:
    fields = outbox.stored_log_fields(using, [outcome.message.pk for outcome in news])
    for outcome in news:
        extra = fields[str(outcome.message.pk)]
        if outcome.status == Status.DEAD:
            logger.error("%s is dead: %s", outcome.message, outcome.error, extra=extra)
            message_dead.send_robust(sender=OutboxMessage, message=_message(using, outcome), using=using)
        else:
            logger.warning("%s waits: %s", outcome.message, outcome.error, extra=extra)


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
