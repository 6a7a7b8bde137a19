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
from typing import Any, NamedTuple

from django.db import connections, models, transaction
from django.db.models import ExpressionWrapper, F, QuerySet

from dispatch.conf import conf
from dispatch.models import OutboxMessage
from dispatch.models.database import UNREADABLE, Epoch, database_now
from dispatch.models.outbox_message import OutboxQuerySet
from dispatch.models.write_transactions import brief_write
from dispatch.relay import odd_ids

Status = OutboxMessage.Status
ORDER = ("available_at", "id")


class Claimed(NamedTuple):
    """What a relay reads of a row: the columns that publishing takes, the JSON ones as their texts.

    ``due`` is the time since when it is due, in seconds since 1970. ``odd`` names the columns that hold a value which
    cannot be read.
    """

    pk: uuid.UUID
    task_name: str
    args: str
    kwargs: str
    options: str
    headers: str
    expires_at: dt.datetime | None
    attempts: int
    last_error: str
    coalesce_key: str
    broker: str
    queue: str
    due: float
    lease_token: uuid.UUID
    odd: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.task_name} {self.pk}"


#: What is read of each column, in that order.
_COLUMNS: dict[str, Any] = {name: name for name in Claimed._fields if name not in ("lease_token", "odd")}
_COLUMNS["due"] = Epoch("available_at")
for _name in ("options", "headers"):  # as they stand there, instead of parsed
    _COLUMNS[_name] = ExpressionWrapper(F(_name), models.TextField())


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """What a claim passes over: paused or failing queues and brokers, paused tasks.

    ``open_queues`` are the registry's other queues. Where ``all_but`` names messages, every other one is passed over.
    """

    queues: Collection[str] = ()
    brokers: Collection[str] = ()
    tasks: Collection[str] = ()
    open_queues: Sequence[str] = ()
    all_but: Sequence[uuid.UUID] | None = None


class OpenClaim:
    """The claim of one relay whose rows are in no batch yet."""

    def __init__(self, using: str) -> None:
        self.using = using
        self._token: uuid.UUID | None = None

    def take(self, limit: int, without: LeftAlone) -> list[Claimed]:
        """Claim up to so many due rows, as :func:`claim` does, until :meth:`close`."""
        self._token = uuid.uuid4()
        return claim(self.using, limit, conf.RELAY_LEASE, without=without, token=self._token)

    def close(self) -> None:
        """Note that its rows are in batches, which tell what becomes of them."""
        self._token = None

    def give_back(self) -> None:
        """Put back to pending what an error left claimed: nobody knows of a commit whose answer was lost."""
        if self._token:
            with brief_write(self.using):
                _release(_taken(self.using, self._token).order_by())
            self.close()


def claim(
    using: str,
    limit: int,
    lease: float,
    *,
    without: LeftAlone = LeftAlone(),
    token: uuid.UUID | None = None,
) -> list[Claimed]:
    """Return up to ``limit`` due rows, oldest first, leased for ``lease`` seconds under this token or a fresh one.

    They are read by status, never by a cursor: a transaction that commits late must not be passed over.
    """
    token = token or uuid.uuid4()
    connection = connections[using]
    if connection.vendor == "postgresql":
        rows: dict[uuid.UUID, Claimed] = {}  # what is read anew after an odd one may have been read before
        for due in _due(using, without):
            taken = _take_at_once(due.order_by(*ORDER)[: limit - len(rows)], token, lease)
            rows |= {row.pk: row for row in taken}
            if len(rows) == limit:
                break
        return [*rows.values()]
    take = _take_locked if connection.features.has_select_for_update_skip_locked else _take_conditionally
    left = limit
    for due in _due(using, without):
        left -= take(due.order_by(*ORDER)[:left], token, lease)
        if not left:
            break
    return _read(using, token) if left < limit else []


def any_due(using: str) -> bool:
    """Tell whether a row is due, be it one that is left alone."""
    connection = connections[using]
    known = connection.__dict__
    if "dispatch_any_due" not in known:  # Django takes longer to write the query than a database to answer it
        known["dispatch_any_due"] = _sql(next(_due(using, LeftAlone())).order_by().values("pk")[:1])
    with connection.cursor() as cursor:
        cursor.execute(*known["dispatch_any_due"])
        return cursor.fetchone() is not None


def _due(using: str, without: LeftAlone) -> Iterator[OutboxQuerySet]:
    """Yield the querysets that hold the due rows.

    One is enough while nothing is left alone. Otherwise the open queues are asked one by one, in random order: a scan
    by time would have to step over everything that waits, which may be a million rows. For the same reason messages of
    paused tasks wait under no queue's name; what is not stamped so yet is left out by the task's name.
    """
    due = OutboxMessage.objects.using(using).filter(status=Status.PENDING, available_at__lte=database_now())
    if without.tasks:
        due = due.exclude(task_name__in=without.tasks)
    if without.all_but is not None:
        due = due.filter(pk__in=without.all_but)
        yield due.exclude(queue__in=without.queues).exclude(broker__in=without.brokers)
        return
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
        return _release(expired)


def _release(rows: OutboxQuerySet) -> int:
    return rows.update(status=Status.PENDING, lease_token=None, lease_expires_at=None)


def _take_at_once(due: OutboxQuerySet, token: uuid.UUID, lease: float) -> list[Claimed]:
    """Claim by one statement, of which what is claimed is the result."""
    connection = connections[due.db]
    sought, sought_parameters = _sql(due.values("pk"))
    read, read_parameters = _sql(
        OutboxMessage.objects.using(due.db).order_by(*ORDER).values_list(*_COLUMNS.values())
    )
    table = connection.ops.quote_name(OutboxMessage._meta.db_table)
    # The rows that the UPDATE returns are read under the table's name. FOR UPDATE is Django's within transactions only.
    # No flush to the disk is waited for: rows whose claim a crash of the server takes back are pending, as before it.
    claiming = (  # names of this model only
        f"UPDATE {table} SET status = %s, lease_token = %s, lease_expires_at = CLOCK_TIMESTAMP() + %s "  # noqa: S608
        f"WHERE status = %s AND id = ANY(ARRAY({sought} FOR UPDATE SKIP LOCKED)) "
        "AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off' RETURNING *"
    )
    given: list[Any] = [Status.CLAIMED, token, dt.timedelta(seconds=lease), Status.PENDING]
    with connection.cursor() as cursor:
        cursor.execute(f"WITH {table} AS ({claiming}) {read}", [*given, *sought_parameters, *read_parameters])
        try:
            return [Claimed._make((*row, token, ())) for row in cursor.fetchall()]
        except UNREADABLE:
            return _read(due.db, token)


def _take_locked(due: OutboxQuerySet, token: uuid.UUID, lease: float) -> int:
    with transaction.atomic(using=due.db):
        ids = [*due.select_for_update(skip_locked=True).values_list("pk", flat=True)]
        return _lease(OutboxMessage.objects.using(due.db).filter(pk__in=ids), token, lease) if ids else 0


def _take_conditionally(due: OutboxQuerySet, token: uuid.UUID, lease: float) -> int:
    if not due.exists():  # an UPDATE takes the write lock even where it finds no row
        return 0
    with brief_write(due.db):
        return _lease(OutboxMessage.objects.using(due.db).filter(pk__in=due.values("pk")), token, lease)


def _lease(rows: OutboxQuerySet, token: uuid.UUID, lease: float) -> int:
    expires = database_now() + dt.timedelta(seconds=lease)
    return rows.filter(status=Status.PENDING).update(
        status=Status.CLAIMED, lease_token=token, lease_expires_at=expires
    )


def _taken(using: str, token: uuid.UUID) -> OutboxQuerySet:
    return (
        OutboxMessage.objects.using(using).filter(status=Status.CLAIMED, lease_token=token).order_by(*ORDER)
    )


def _sql(rows: QuerySet[Any, Any]) -> tuple[str, Sequence[Any]]:
    found: tuple[str, Sequence[Any]] = rows.query.get_compiler(using=rows.db).as_sql()
    return found


def _read(using: str, token: uuid.UUID) -> list[Claimed]:
    """Return the rows, of an odd one without the columns that Python cannot hold: who reads it says so."""
    rows = _taken(using, token)
    try:
        return [Claimed._make((*row, token, ())) for row in rows.values_list(*_COLUMNS.values())]
    except UNREADABLE:
        odd_ids.mend(using)
        return [row for pk in rows.values_list("pk", flat=True) for row in _readable(using, pk, token)]


def _readable(using: str, pk: uuid.UUID, token: uuid.UUID) -> list[Claimed]:
    """Return the row; nothing, if it was deleted meanwhile."""
    row = OutboxMessage.objects.using(using).filter(pk=pk)
    found = {name: _values(row.values_list(column, flat=True)) for name, column in _COLUMNS.items()}
    values: dict[str, Any] = {name: next(iter(column), None) for name, column in found.items()}
    odd = tuple(name for name, column in found.items() if not column)
    return [Claimed(**values, lease_token=token, odd=odd)] if found["pk"] else []


def _values(column: Iterable[Any]) -> list[Any]:
    try:
        return list(column)
    except UNREADABLE:
        return []
