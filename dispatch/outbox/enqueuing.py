"""Inserts the rows of calls and drafts in the caller's transaction, and tells who listens."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence

import django.dispatch
from django.db import connections, router, transaction
from django.utils import timezone

from dispatch.core.call import Call
from dispatch.exceptions import InvalidOption
from dispatch.models import OutboxMessage
from dispatch.models.insertion import insert_rows
from dispatch.models.parts import is_broken
from dispatch.outbox.drafting import CODE, Draft, Origin, draft
from dispatch.registry import current
from dispatch.signals import message_dead, message_enqueued, messages_inserted

logger = logging.getLogger("dispatch.outbox")


def enqueue(calls: Sequence[Call], *, using: str | None = None, origin: Origin = CODE) -> list[OutboxMessage]:
    """Check every call, then insert a row for each, in the caller's transaction.

    Raises a SendError before anything is stored, and Django's own errors of the INSERT.
    """
    using = using or router.db_for_write(OutboxMessage)
    snapshot, now = current(), timezone.now()
    drafts = [draft(call, origin, snapshot, now) for call in calls]
    _check_ids(calls, using)
    return insert(drafts, using)


def insert(drafts: Sequence[Draft], using: str) -> list[OutboxMessage]:
    """Insert the rows with one statement per thousand, in the caller's transaction, and tell who listens.

    Rows whose due time is a wait are due by the database's clock, by which they are claimed too.
    """
    rows = [each.row for each in drafts]
    insert_rows(rows, [each.lag for each in drafts], using)
    messages_inserted.send(sender=OutboxMessage, messages=rows, using=using)
    if _is_heard(message_enqueued) or _is_heard(message_dead):
        _tell(rows, using)
    return rows


def _is_heard(signal: django.dispatch.Signal) -> bool:
    # Django looks for the receivers of this sender anew each time; mostly there are none at all.
    return bool(signal.receivers) and signal.has_listeners(OutboxMessage)


def _tell(rows: Sequence[OutboxMessage], using: str) -> None:
    """Call who listens. A listener that fails costs neither the rows nor the caller's transaction."""
    if not connections[using].in_atomic_block:
        return _call_listeners(rows, using)
    with transaction.atomic(
        using=using
    ):  # a savepoint: a database error of a listener would break the transaction
        _call_listeners(rows, using)
        if is_broken(using):
            transaction.set_rollback(True, using=using)
            logger.error(
                "A listener of message_enqueued or message_dead broke the transaction, as logged above: what listeners "
                "wrote on %r was undone. The messages stand. Let it use transaction.atomic() around its queries.",
                using,
            )
    return None


def _call_listeners(rows: Sequence[OutboxMessage], using: str) -> None:
    for row in rows:
        message_enqueued.send_robust(sender=OutboxMessage, message=row, using=using)
        if row.status == OutboxMessage.Status.DEAD:
            message_dead.send_robust(sender=OutboxMessage, message=row, using=using)


def _check_ids(calls: Sequence[Call], using: str) -> None:
    chosen = [uuid.UUID(str(call.task_id)) for call in calls if call.task_id]
    if not chosen:
        return
    taken = OutboxMessage.objects.using(using).filter(pk__in=chosen).values_list("pk", flat=True).first()
    if taken or len(set(chosen)) < len(chosen):
        raise InvalidOption(
            f"task_id {taken or chosen[0]} is used already: each message needs its own, or none."
        )
