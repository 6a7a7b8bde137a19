"""Deletes settled messages that are past their retention: never one that was not sent yet.

They are found along the primary key: an index of their own would cost each message that is sent. Task ids are UUIDv7,
in the order of time, so that what is old stands at the beginning. Ids that callers gave themselves stand anywhere, most
of them after those of today. So a walk goes over both ends, and leaves out what is in between.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence

from django.apps import apps
from django.db import IntegrityError, connections
from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef, Q

from dispatch.conf import conf
from dispatch.models import Attempt, OutboxMessage, Resend
from dispatch.models.database import database_now
from dispatch.models.outbox_message import OutboxQuerySet
from dispatch.models.write_transactions import brief_write, write_transaction
from dispatch.outbox.log_fields import stored_log_fields

logger = logging.getLogger("dispatch.outbox")
Status = OutboxMessage.Status
Retention = Mapping[str, dt.timedelta | None]
#: Rows of one step. SQLite before 3.32 takes no more than 999 parameters.
STEP = 500
#: Ids of today's messages may come from a clock that is so much ahead.
CLOCKS = dt.timedelta(days=1)
FIRST, LAST = uuid.UUID(int=0), uuid.UUID(int=(1 << 128) - 1)


class Pruning:
    """One walk over the messages of a database that deletes what is past its retention, a few at a time.

    Each step is a short read, and a short transaction where something is to be deleted. Rows that others hold are left
    to the next walk. Raises Django's errors of the database; the next step goes on behind the rows that raised one.
    """

    def __init__(self, using: str, retention: Retention | None = None) -> None:
        self.using = using
        given = conf.retention if retention is None else retention
        self.retention = {status: kept for status, kept in given.items() if kept is not None}
        self._ranges = self._both_ends() if self.retention else []

    @property
    def done(self) -> bool:
        """Whether the walk is at its end."""
        return not self._ranges

    def step(self) -> int:
        """Look at the next rows, and return how many were deleted."""
        after, end = self._ranges[0]
        is_past = ExpressionWrapper(self._is_past(), output_field=BooleanField())
        rows = self._outbox.filter(pk__gt=after, pk__lt=end).order_by("pk").annotate(is_past=is_past)
        found = list(rows.values_list("pk", "is_past")[:STEP])
        if len(found) < STEP:
            del self._ranges[0]
        else:
            self._ranges[0] = (found[-1][0], end)
        past = [pk for pk, is_past in found if is_past]
        deleted = self._delete(past) if past else 0
        if deleted:
            self._delete_followers(after, found[-1][0])
        return deleted

    def steps(self) -> Iterator[int]:
        """Take all steps, and yield how many rows each deleted."""
        while not self.done:
            yield self.step()

    @property
    def _outbox(self) -> OutboxQuerySet:
        return OutboxMessage.objects.using(self.using)

    def _both_ends(self) -> list[tuple[uuid.UUID, uuid.UUID]]:
        now = dt.datetime.now(dt.UTC)
        return [(FIRST, first_id(now - min(self.retention.values()))), (first_id(now + CLOCKS), LAST)]

    def _is_past(self) -> Q:
        root = self._outbox.filter(pk=OuterRef("root_id"))
        without_root = Q(status=Status.CHAINED) & ~Exists(root)
        return Q(
            without_root, *(_past(status, kept) for status, kept in self.retention.items()), _connector=Q.OR
        )

    def _delete(self, ids: Sequence[uuid.UUID]) -> int:
        """Delete rows, but those that another table refers to: these are found by halves."""
        try:
            return self._delete_at_once(ids)
        except IntegrityError:
            if len(ids) == 1:
                fields = stored_log_fields(self.using, ids)[str(ids[0])]
                logger.info("Message %s is not pruned: another table refers to it.", ids[0], extra=fields)
                return 0
        half = len(ids) // 2
        return self._delete(ids[:half]) + self._delete(ids[half:])

    def _delete_at_once(self, ids: Sequence[uuid.UUID]) -> int:
        """Delete those rows that are still past their retention, and that nobody holds."""
        connection = connections[self.using]
        with write_transaction(self.using):
            past = self._outbox.filter(self._is_past())
            if connection.features.has_select_for_update_skip_locked:
                past = past.select_for_update(skip_locked=True)
            # MariaDB deletes by no subquery of the same table, and a range locks the gaps in which others insert
            if connection.vendor == "mysql" or conf.PRUNE_RESULTS:
                locked = list(past.filter(pk__in=ids).values_list("pk", flat=True))
                self._delete_results(locked)
                doomed = self._outbox.filter(pk__in=locked)
            else:
                doomed = self._outbox.filter(pk__in=past.filter(pk__gte=ids[0], pk__lte=ids[-1]).values("pk"))
            return doomed._raw_delete(self.using) or 0

    def _delete_results(self, ids: Sequence[uuid.UUID]) -> None:
        if conf.PRUNE_RESULTS:
            results = apps.get_model("django_celery_results", "TaskResult")._default_manager.using(self.using)
            results.filter(task_id__in=map(str, ids)).delete()

    def _delete_followers(self, first: uuid.UUID, last: uuid.UUID) -> None:
        """Delete the failed attempts of messages that are gone, whoever deleted them, and what they were copies of."""
        for rows, column in ((Attempt.objects, "message"), (Resend.objects, "copy")):
            message = self._outbox.filter(pk=OuterRef(column))
            followers = rows.using(self.using).filter(**{f"{column}__gte": first, f"{column}__lte": last})
            with brief_write(self.using):
                followers.filter(~Exists(message)).delete()


def _past(status: str, kept: dt.timedelta) -> Q:
    """Return the rows of a status that are past their retention. A result is awaited as long as it is asked for."""
    before = database_now() - kept
    if status != Status.PUBLISHED:
        return Q(status=status, available_at__lt=before)
    horizon = database_now() - dt.timedelta(seconds=conf.RESULTS_HORIZON)
    settled = Q(ignore_result=True) | Q(handled_at__isnull=False) | Q(published_at__lt=horizon)
    return Q(settled, status=status, published_at__lt=before)


def first_id(moment: dt.datetime) -> uuid.UUID:
    """Return the lowest UUIDv7 of a moment."""
    milliseconds = max(int(moment.timestamp() * 1000), 0)
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | 0x2 << 62)
