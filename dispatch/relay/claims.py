"""Takes due rows for one relay alone, by what each database does well.

Leases are timed by the database's clock. The outer UPDATE checks the status again: without that, and without
SKIP LOCKED, two relays take the same rows.
"""

from __future__ import annotations

import datetime as dt
import random
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import DataError, connections, transaction

from dispatch.models import OutboxMessage
from dispatch.models.database import database_now
from dispatch.models.outbox_message import OutboxQuerySet
from dispatch.models.write_transactions import brief_write

Status = OutboxMessage.Status
#: What a driver or a field raises for a value that Python cannot hold, such as PostgreSQL's infinite date.
UNREADABLE = (DataError, ValueError, TypeError, OverflowError)


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """What a claim passes over: paused or failing queues and brokers, paused tasks.

    ``open_queues`` are the registry's other queues.
    """

    queues: Collection[str] = ()
    brokers: Collection[str] = ()
    tasks: Collection[str] = ()
    open_queues: Sequence[str] = ()


def claim(using: str, limit: int, lease: float, *, without: LeftAlone = LeftAlone()) -> list[OutboxMessage]:
    """Return up to ``limit`` due rows, oldest first, leased for ``lease`` seconds under one fresh token.

    They are read by status, never by a cursor: a transaction that commits late must not be passed over.
    """
    take = (
        _claim_locked
        if connections[using].features.has_select_for_update_skip_locked
        else _claim_conditionally
    )
    leased = {
        "status": Status.CLAIMED,
        "lease_token": uuid.uuid4(),
        "lease_expires_at": database_now() + dt.timedelta(seconds=lease),
    }
    rows: list[OutboxMessage] = []
    for due in _due(using, without):
        taken = {row.pk for row in rows}  # where rows are read back by the token, these come again
        found = take(using, due.order_by("available_at", "id")[: limit - len(rows)], leased)
        rows += [row for row in found if row.pk not in taken]
        if len(rows) == limit:
            break
    return rows


def _due(using: str, without: LeftAlone) -> Iterator[OutboxQuerySet]:
    """Yield the querysets that hold the due rows.

    One is enough while nothing is left alone. Otherwise the open queues are asked one by one, in random order: a scan
    by time would have to step over everything that waits, which may be a million rows. For the same reason messages of
    paused tasks wait under no queue's name; what is not stamped so yet is left out by the task's name.
    """
    due = OutboxMessage.objects.using(using).filter(status=Status.PENDING, available_at__lte=database_now())
    if without.tasks:
        due = due.exclude(task_name__in=without.tasks)
    if not (without.queues or without.brokers or without.tasks):
        yield due
        return
    yield due.filter(queue="").exclude(broker__in=without.brokers)
    for queue in random.sample(without.open_queues, len(without.open_queues)):
        yield due.filter(queue=queue)


def release_expired(using: str) -> int:
    """Put rows whose relay went silent back to pending; return how many."""
    expired = OutboxMessage.objects.using(using).filter(
        status=Status.CLAIMED, lease_expires_at__lt=database_now()
    )
    if not expired.exists():  # as a rule: then nothing is locked
        return 0
    with brief_write(using):
        return expired.update(status=Status.PENDING, lease_token=None, lease_expires_at=None)


def _claim_locked(using: str, due: OutboxQuerySet, leased: dict[str, Any]) -> list[OutboxMessage]:
    with transaction.atomic(using=using):
        rows = _read(due.select_for_update(skip_locked=True))
        if rows:
            ids = [row.pk for row in rows]
            OutboxMessage.objects.using(using).filter(pk__in=ids, status=Status.PENDING).update(**leased)
    for row in rows:
        row.status, row.lease_token = leased["status"], leased["lease_token"]
    return rows


def _claim_conditionally(using: str, due: OutboxQuerySet, leased: dict[str, Any]) -> list[OutboxMessage]:
    if not due.exists():  # an UPDATE takes the write lock even where it finds no row
        return []
    rows = OutboxMessage.objects.using(using)
    with brief_write(using):
        rows.filter(status=Status.PENDING, pk__in=due.values("pk")).update(**leased)
    mine = rows.filter(status=Status.CLAIMED, lease_token=leased["lease_token"])
    return _read(mine.order_by("available_at", "id"))


def _read(rows: OutboxQuerySet) -> list[OutboxMessage]:
    """Return the rows, of an odd one without the columns that Python cannot hold: who reads it says so."""
    try:
        return list(rows)
    except UNREADABLE:
        return [_readable(rows.db, pk) for pk in rows.values_list("pk", flat=True)]


def _readable(using: str, pk: uuid.UUID) -> OutboxMessage:
    row = OutboxMessage.objects.using(using).filter(pk=pk)
    names = [field.attname for field in OutboxMessage._meta.concrete_fields]
    return row.defer(*(name for name in names if not _can_read(row.values_list(name)))).get()


def _can_read(column: Iterable[Any]) -> bool:
    try:
        list(column)
    except UNREADABLE:
        return False
    return True
