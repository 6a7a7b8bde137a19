"""Heartbeats: every few seconds a relay or collector writes that it lives, and how much it did by the minute."""

from __future__ import annotations

import datetime as dt
import os
import socket
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from django.db import DatabaseError, InterfaceError, connections
from django.db.models import Model, Q

from dispatch import __version__
from dispatch.core.redaction import storable
from dispatch.models import MinuteCount, OutboxMessage, Process
from dispatch.models.database import database_now
from dispatch.models.write_transactions import brief_write, write_transaction
from dispatch.signals import messages_counted

Outcome = MinuteCount.Outcome

#: Seconds between two heartbeats.
EVERY = 5.0
#: Processes and counts are forgotten after so long, counts of so many minutes at a time.
KEPT, STEP = dt.timedelta(days=1), dt.timedelta(minutes=10)
#: An error that did not come again for so many seconds is over; how many are told, each how long.
ERROR_KEPT, MOST_ERRORS, ERROR_LENGTH = 600.0, 20, 1_000
#: Nobody waited for longer: such a time is an odd row's, or an odd clock's.
LONGEST = 366 * 86_400.0


class Tally(NamedTuple):
    """What became of one message, as it is counted; ``error`` says why it was not published.

    ``since`` is the time, in seconds since 1970, from which on is counted how long it took. ``message``, as far as it
    was read, is for those who listen to ``messages_counted``.
    """

    queue: str
    outcome: str
    error: str = ""
    since: float = 0.0
    message: Any = None


@dataclass(slots=True)
class Count:
    """A number of messages, and how long they took together."""

    number: int = 0
    seconds: float = 0.0

    @property
    def mean(self) -> float:
        """How long one took, on average; 0 for none."""
        return self.seconds / self.number if self.number else 0.0

    def __add__(self, other: Count) -> Count:
        return Count(self.number + other.number, self.seconds + other.seconds)


#: By queue and outcome.
Counts: TypeAlias = dict[tuple[str, str], Count]


class Heart:
    """Beats for one relay or collector, from within its loop: one that hangs falls silent."""

    def __init__(self, using: str, kind: Process.Kind) -> None:
        self.using = using
        self.kind = kind
        self.id = uuid.uuid4()
        self._due = 0.0
        self._fresh: defaultdict[tuple[str, str], Count] = defaultdict(Count)
        self._minute: dt.datetime | None = None
        self._totals: Counts = {}
        self._errors: dict[str, tuple[float, str]] = {}

    def count(self, tallies: Iterable[Tally | None]) -> None:
        """Count what became of messages; it is written with the next heartbeat."""
        now, known = time.time(), [*filter(None, tallies)]
        messages_counted.send_robust(sender=OutboxMessage, tallies=known)
        for queue, outcome, error, since, *_ in known:
            count = self._fresh[queue, outcome]
            count.number += 1
            if now - LONGEST < since < now:
                count.seconds += now - since
            if outcome == Outcome.FAILED and error:  # what died, or was cancelled, is no fault of the queue
                self._errors[queue] = time.monotonic(), error
            elif self._errors and outcome == Outcome.PUBLISHED:
                self._errors.pop(queue, None)

    def beat(self) -> None:
        """Tell that the process lives, if it is time to. Raises what the database raises; the counts are kept then."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + EVERY
            self._write()

    def stop(self) -> None:
        """Tell that the process has stopped; where the database does not take that, it will be missed."""
        if self._due:
            self._due = 0.0
            with suppress(DatabaseError, InterfaceError):
                self._write(stopped_at=database_now())

    def _write(self, stopped_at: Any = None) -> None:
        with write_transaction(self.using):
            now = self._tell(stopped_at)
            minute = now.replace(second=0, microsecond=0)
            is_new = minute != self._minute
            before = {} if is_new else self._totals
            fresh = {key: count + before.get(key, Count()) for key, count in self._fresh.items()}
            self._write_counts(minute, fresh)
        is_first = self._minute is None
        self._minute, self._totals = minute, before | fresh
        self._fresh.clear()
        if is_new:
            self._forget(now - KEPT, is_first)

    def _tell(self, stopped_at: Any) -> dt.datetime:
        """Write the row, and return the time by the database's clock."""
        row = Process(
            id=self.id,
            kind=self.kind,
            host=storable(socket.gethostname(), 255),
            pid=os.getpid(),
            version=__version__,
            started_at=database_now(),
            seen_at=database_now(),
            stopped_at=stopped_at,
            errors=self._last_errors(),
        )
        _upsert(self.using, [row], ["id"], ["seen_at", "stopped_at", "errors"])
        now: dt.datetime = Process.objects.using(self.using).values_list("seen_at", flat=True).get(pk=self.id)
        return now

    def _last_errors(self) -> dict[str, str]:
        since = time.monotonic() - ERROR_KEPT
        self._errors = {queue: told for queue, told in self._errors.items() if told[0] >= since}
        newest = sorted(self._errors.items(), key=lambda each: each[1][0])[-MOST_ERRORS:]
        return {queue: storable(error, ERROR_LENGTH) for queue, (_, error) in newest}

    def _write_counts(self, minute: dt.datetime, counts: Counts) -> None:
        rows = [
            MinuteCount(
                minute=minute,
                process=self.id,
                queue=queue,
                outcome=outcome,
                number=count.number,
                milliseconds=round(count.seconds * 1_000),
            )
            for (queue, outcome), count in sorted(counts.items())
        ]
        if rows:
            _upsert(self.using, rows, ["minute", "process", "queue", "outcome"], ["number", "milliseconds"])

    def _forget(self, horizon: dt.datetime, is_first: bool) -> None:
        """Delete what is a day old, and at its start the process that this one takes the place of.

        A process is forgotten by those of its own kind: that the last relay has been gone for a week is to be seen.
        """
        gone = Q(seen_at__lt=horizon)
        if is_first:
            gone |= Q(host=socket.gethostname(), stopped_at__isnull=False) & ~Q(pk=self.id)
        _delete(self.using, Process.objects.using(self.using).filter(gone, kind=self.kind))
        counts = MinuteCount.objects.using(self.using).filter(minute__lt=horizon)
        oldest = counts.order_by("minute").values_list("minute", flat=True).first()
        if oldest is not None:
            _delete(self.using, counts.filter(minute__lt=min(oldest + STEP, horizon)))


def _upsert(using: str, rows: Sequence[Model], key: Sequence[str], columns: Sequence[str]) -> None:
    names_key = connections[using].features.supports_update_conflicts_with_target
    type(rows[0])._default_manager.using(using).bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=key if names_key else None,  # MariaDB takes any unique one
        update_fields=columns,
    )


def _delete(using: str, rows: Any) -> None:
    if rows.exists():  # as a rule there is nothing, and nothing is locked
        with brief_write(using):
            rows.delete()
