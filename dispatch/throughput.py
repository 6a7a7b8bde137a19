"""Throughput: what became of messages by the minute and by the hour, and how long it took.

The outbox is asked only for the ids of what was enqueued lately, which tell when that was: no save pays for a count.
"""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Case, Sum, When
from django.db.models.functions import Floor

from dispatch.heartbeats import Count
from dispatch.models import MinuteCount, OutboxMessage
from dispatch.models.database import Epoch, database_now
from dispatch.outbox.retention import first_id

Outcome = MinuteCount.Outcome

MINUTE, HOUR = 60, 3_600
#: How many of each are told of, the one that has begun among them.
MINUTES, HOURS = 60, 24
#: Ids of messages that are read.
MOST_READ = 20_000


@dataclass(frozen=True, slots=True)
class Series:
    """Counts for equal spans of time, which begin at ``starts``, oldest first; the last span has only begun."""

    starts: tuple[dt.datetime, ...]
    counts: Mapping[str, list[Count]]

    def of(self, *outcomes: str) -> list[Count]:
        """Return the counts of some outcomes together."""
        known = [self.counts[each] for each in outcomes if each in self.counts]
        return [sum(each, Count()) for each in zip([Count()] * len(self.starts), *known, strict=True)]


def of_hour_and_day(using: str) -> tuple[Series, Series]:
    """Return the counts of each of the last minutes, and of each of the last hours."""
    hour_ago, day_ago = (database_now() - dt.timedelta(hours=hours) for hours in (1, HOURS))
    step = Case(When(minute__gte=hour_ago, then=float(MINUTE)), default=float(HOUR))
    # a minute's middle: SQLite is off by some µs
    start = Floor((Epoch("minute") + MINUTE / 2) / step) * step
    rows = MinuteCount.objects.using(using).filter(minute__range=(day_ago, database_now()))
    summed = rows.annotate(start=start).values_list("start", "outcome")
    found = list(summed.annotate(Sum("number"), Sum("milliseconds")))
    # the database's clock may be ahead of ours
    last = max([int(time.time()), *(int(at) for at, *_ in found)])
    return _series(found, MINUTE, MINUTES, last), _series(found, HOUR, HOURS, last)


def enqueued(using: str, minutes: Sequence[dt.datetime]) -> tuple[list[Count], int]:
    """Return how many messages were enqueued in each of these minutes, and in all of them, counted to ``MOST_READ``.

    Of more, the newest are read, and nothing is told of a minute that was read in part.
    """
    until = minutes[-1] + dt.timedelta(seconds=MINUTE)
    rows = OutboxMessage.objects.using(using).filter(pk__gte=first_id(minutes[0]), pk__lt=first_id(until))
    ids = rows.order_by("-pk").values_list("pk", flat=True)[:MOST_READ]
    read = [(pk.int >> 80) // (MINUTE * 1_000) for pk in ids]  # a UUIDv7 begins with its milliseconds
    found = Counter(read if len(read) < MOST_READ else [minute for minute in read if minute > read[-1]])
    return [Count(found[int(minute.timestamp()) // MINUTE]) for minute in minutes], len(read)


def _series(found: Iterable[Sequence[Any]], seconds: int, length: int, last: int) -> Series:
    spans = range(last // seconds - length + 1, last // seconds + 1)
    counts: dict[str, list[Count]] = {}
    for start, outcome, number, milliseconds in found:
        if (span := int(start) // seconds) in spans:
            known = counts.setdefault(outcome, [Count()] * length)
            known[spans.index(span)] += Count(number, milliseconds / 1_000)
    return Series(tuple(dt.datetime.fromtimestamp(at * seconds, tz=dt.UTC) for at in spans), counts)
