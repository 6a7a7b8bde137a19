"""Which of the messages that await a result are asked for now: young ones at each sweep, old ones rarely.

They are found by their age, in the database, at each sweep anew. So one that appears late, because its relay's
transaction took long or it was requeued, is asked for as any other of its age.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

from django.db import connections

from dispatch.conf import conf
from dispatch.models import OutboxMessage
from dispatch.models.database import database_now
from dispatch.models.outbox_message import OutboxQuerySet

T = TypeVar("T")
Compiled: TypeAlias = tuple[str, Any]

#: How many task ids are asked for at once.
CHUNK = 500
#: How many are read at once.
PAGE = 5_000
#: Messages younger than so many seconds are asked for at each sweep. Each further band is so many times as old.
YOUNG, GROWTH = 4.0, 4
#: Those of an older band are asked for again after this part of their age, or after so many seconds.
PART, SELDOM = 1 / 8, 300.0
#: Asking for an id takes about 10 µs of CPU: so many seconds of rest for each that was not handled make that 1 % of a
#: core. But FREE ids at a time are asked for without rest, and PAID more for each that was handled.
REST, FREE, PAID = 0.001, 100, 20


@dataclass(frozen=True, slots=True)
class Band:
    """The ages, in seconds since the publish, of messages that are asked for together."""

    youngest: float
    oldest: float

    @property
    def pause(self) -> float:
        """Seconds after which they are asked for again, where that costs little."""
        return min(self.youngest * PART, SELDOM)


@lru_cache(maxsize=8)
def bands(horizon: float) -> tuple[Band, ...]:
    """Return the bands of all ages up to ``horizon``, the youngest first."""
    found, oldest = [Band(0.0, min(YOUNG, horizon))], YOUNG
    while oldest < horizon:
        found.append(Band(oldest, min(oldest * GROWTH, horizon)))
        oldest *= GROWTH
    return tuple(found)


class Schedule:
    """When each band of one broker's messages was asked for."""

    def __init__(self, using: str, broker: str) -> None:
        self._using = using
        self._broker = broker
        #: How many results were handled, as the collector counts them.
        self.handled = 0
        self._due: dict[float, float] = {}
        # What is asked many times a second: the ORM takes longer to write it than the database to answer.
        self._known: dict[Band, Compiled] = {}

    def chunks(self, now: Sequence[UUID] = ()) -> Iterator[list[str]]:
        """Yield the task ids that are due, some at once; those of ``now`` first, if they await a result."""
        for ids in pieces(now, CHUNK):
            if awaited := self._awaiting().filter(pk__in=ids).values_list("pk", flat=True):
                yield [*map(str, awaited)]
        for band in bands(conf.RESULTS_HORIZON):
            if time.monotonic() >= self._due.get(band.youngest, 0.0):
                yield from self._band(band)

    def _band(self, band: Band) -> Iterator[list[str]]:
        asked, before = 0, self.handled
        ids = self._page(band, 0)
        while ids:
            yield from pieces(ids, CHUNK)
            asked += len(ids)
            ids = self._page(band, asked - (self.handled - before)) if len(ids) == PAGE else []
        handled = self.handled - before
        rest = REST * (asked - handled - PAID * handled - FREE)
        self._due[band.youngest] = time.monotonic() + max(band.pause, rest)

    def _page(self, band: Band, start: int) -> list[str]:
        """Return the ids of a band's messages from the ``start``-th on, the oldest first."""
        if start:
            return self._read(self._compiled(band, start))
        if band not in self._known:
            self._known[band] = self._compiled(band, 0)
        return self._read(self._known[band])

    def _compiled(self, band: Band, start: int) -> Compiled:
        rows = self._awaiting().filter(published_at__gte=database_now() - dt.timedelta(seconds=band.oldest))
        if band.youngest:
            rows = rows.filter(published_at__lt=database_now() - dt.timedelta(seconds=band.youngest))
        ids = rows.order_by("published_at").values_list("pk", flat=True)[start : start + PAGE]
        compiled: Compiled = ids.query.get_compiler(self._using).as_sql()
        return compiled

    def _read(self, compiled: Compiled) -> list[str]:
        with connections[self._using].cursor() as cursor:
            cursor.execute(*compiled)
            return [str(pk if isinstance(pk, UUID) else UUID(pk)) for (pk,) in cursor.fetchall()]

    def _awaiting(self) -> OutboxQuerySet:
        return OutboxMessage.objects.using(self._using).awaiting_result().filter(broker=self._broker)


def pieces(whole: Sequence[T], size: int) -> Iterator[list[T]]:
    """Yield ``whole`` in pieces of ``size``."""
    return ([*whole[start : start + size]] for start in range(0, len(whole), size))
