"""Lets the messages that wait follow the registry, a few at a time, so that nothing else has to wait for it."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from django.db import connections, models
from django.db.models import Min, Q, Value
from django.db.models.functions import Cast
from django.utils import timezone

from dispatch import outbox
from dispatch.exceptions import SendError, UnreadableMessage
from dispatch.models import OutboxMessage
from dispatch.models.outbox_message import OutboxQuerySet
from dispatch.models.write_transactions import brief_write
from dispatch.registry import Snapshot

Stamp = tuple[str, str]
Place = tuple[Any, uuid.UUID]
#: What a sender may say of the way of a message.
TARGET = ("queue", "exchange", "routing_key")
#: Rows of one step. SQLite before 3.32 takes no more than 999 parameters.
CHUNK = 900
#: Rows whose arguments, which may be long, are held in memory together.
FULL_ROWS = 200
#: PostgreSQL knows times that Python does not, such as -infinity: rows of such times keep the names they wait under.
EARLIEST, LATEST = dt.datetime(1000, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 1, 1, tzinfo=dt.UTC)
#: Seconds of due times that a step looks at, at most, on MariaDB.
LONGEST_SPAN = 30 * 86_400.0


class Kind(NamedTuple):
    """What messages share that go the same way, unless their senders or a router have a say."""

    task_name: str
    broker: str
    queue: str
    pinned: bool


class Walk:
    """One walk over the pending messages, oldest first, that writes their broker and queue anew.

    Each step is a short read and a few short writes, each a transaction of its own. A relay that is killed in the
    middle leaves some messages under their old names; each relay begins with a walk, which puts that right.
    """

    def __init__(self, using: str, snapshot: Snapshot) -> None:
        self.using = using
        self.snapshot = snapshot
        self.moved = 0
        self.seconds = 0.0
        self.done = False
        self._after: Place | None = None
        self._again = False
        self._is_last = True
        self._span = 1.0

    def follow(self, snapshot: Snapshot) -> None:
        """Go on by another registry, and begin again at the end: changes that come fast do not keep it at the start."""
        self.snapshot, self._again = snapshot, True

    def go_on(self, seconds: float) -> None:
        """Take steps until all is done, or the time is over; one step at least, if any is left."""
        began = time.monotonic()
        while not self.done:
            self._step()
            if time.monotonic() - began >= seconds:
                break
        self.seconds += time.monotonic() - began

    def _step(self) -> None:
        found = list(self._next())
        kinds: dict[Kind, list[uuid.UUID]] = defaultdict(list)
        for _, pk, *kind in found:
            kinds[Kind(*kind)].append(pk)
        for (broker, queue), ids in self._moves(kinds).items():
            # asks the status again: another relay may have claimed some
            with brief_write(self.using):
                self.moved += self._pending().filter(pk__in=ids).update(broker=broker, queue=queue)
        self._after = found[-1][:2] if found else self._after
        if len(found) < CHUNK and self._is_last:
            self.done, self._again, self._after = not self._again, False, None

    def _moves(self, kinds: Mapping[Kind, Sequence[uuid.UUID]]) -> dict[Stamp, list[uuid.UUID]]:
        """Return the rows whose stamp is not what it should be, by what it should be."""
        moves: dict[Stamp, list[uuid.UUID]] = defaultdict(list)
        for kind, ids in kinds.items():
            for stamp, pk in self._stamps(kind, ids):
                if stamp != (kind.broker, kind.queue):
                    moves[stamp].append(pk)
        return moves

    def _pending(self) -> OutboxQuerySet:
        return OutboxMessage.objects.using(self.using).filter(status=OutboxMessage.Status.PENDING)

    def _next(self) -> Iterable[tuple[Any, ...]]:
        """Return place and kind of the rows after the last one seen, in the order of the index that claims use."""
        # SQLite has times as texts of differing precision: they are compared as they were read, not as Python has them
        texts = connections[self.using].vendor == "sqlite"
        time_type = models.TextField() if texts else models.DateTimeField()
        rows = self._pending().filter(available_at__lt=LATEST).order_by("available_at", "id")
        if self._after:
            due = Value(self._after[0], time_type)
            later = Q(available_at__gt=due) | Q(available_at=due, id__gt=self._after[1])
            rows = rows.filter(
                later, available_at__gte=due
            )  # the second is implied, and where the index is entered
        else:
            rows = rows.filter(available_at__gt=EARLIEST)
        if connections[self.using].vendor == "mysql":
            rows = rows.filter(available_at__lt=self._horizon())
        found = rows.values_list(Cast("available_at", time_type), "pk", *Kind._fields)[:CHUNK]
        self._span *= 0.5 if len(found) == CHUNK else 2.0
        return found

    def _horizon(self) -> dt.datetime:
        """Return up to when a step looks: MariaDB enters the index in the middle only where a short range is asked for.

        Otherwise each step would read all rows before its own once more.
        """
        later = self._pending().filter(available_at__gt=self._after[0]) if self._after else self._pending()
        soonest: dt.datetime | None = later.aggregate(soonest=Min("available_at"))["soonest"]
        self._is_last = soonest is None
        start = soonest or (self._after[0] if self._after else timezone.now())
        self._span = min(max(self._span, 0.001), LONGEST_SPAN)
        return start + dt.timedelta(seconds=self._span)

    def _stamps(self, kind: Kind, ids: Sequence[uuid.UUID]) -> Iterator[tuple[Stamp, uuid.UUID]]:
        task = kind.task_name
        if task in self.snapshot.paused_tasks:
            stamp: Stamp | None = (kind.broker, outbox.PAUSED_TASK)
        elif task not in self.snapshot.tasks:
            stamp = (kind.broker, "")
        else:
            stamp = None if self._has_a_say(kind) else self._stamp(kind, {})
        if stamp is not None:
            yield from ((stamp, pk) for pk in ids)
        elif self.snapshot.reads_arguments(task):
            yield from self._by_arguments(kind, ids)
        else:
            yield from self._by_options(kind, ids)

    def _has_a_say(self, kind: Kind) -> bool:
        """Tell whether a message's sender, or a router that reads its arguments, may send it another way."""
        if kind.pinned or self.snapshot.reads_arguments(kind.task_name):
            return True
        try:
            return bool(
                self.snapshot.destination(kind.task_name).exchange
            )  # the routing key may be the sender's
        except SendError:
            return True

    def _by_options(self, kind: Kind, ids: Sequence[uuid.UUID]) -> Iterator[tuple[Stamp, uuid.UUID]]:
        known: dict[str, Stamp] = {}
        for pk, options in self._pending().filter(pk__in=ids).values_list("pk", "options"):
            way = _way(options)
            if way not in known:
                known[way] = self._stamp(kind, options)
            yield known[way], pk

    def _by_arguments(self, kind: Kind, ids: Sequence[uuid.UUID]) -> Iterator[tuple[Stamp, uuid.UUID]]:
        for start in range(0, len(ids), FULL_ROWS):
            rows = self._pending().filter(pk__in=ids[start : start + FULL_ROWS])
            for pk, *columns in rows.values_list("pk", "options", "args", "kwargs"):
                yield self._stamp(kind, *columns), pk

    def _stamp(self, kind: Kind, options: dict[str, Any], args: str = "[]", kwargs: str = "{}") -> Stamp:
        message = OutboxMessage(task_name=kind.task_name, options=options, args=args, kwargs=kwargs)
        try:
            destination = outbox.resolve(outbox.call_of(message), options, self.snapshot)
            return outbox.stamp(kind.task_name, destination, self.snapshot)
        except (
            SendError,
            UnreadableMessage,
        ):  # its attempt will say why; until then it waits under no queue's name
            return kind.broker, ""


def _way(options: Any) -> str:
    """Return what a sender says of the way, as a key: the row may have been written by hand, and hold anything."""
    return repr([options.get(key) for key in TARGET]) if isinstance(options, dict) else ""
