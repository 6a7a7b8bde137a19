"""From claimed rows to outcomes: what is published now, on all brokers side by side."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from dispatch import outbox
from dispatch.client.background_calls import SideBySide
from dispatch.client.publisher import Fate, Parcel, Publisher
from dispatch.conf import conf
from dispatch.core.routing import Destination
from dispatch.exceptions import (
    BrokerUnavailable,
    DispatchError,
    PublishError,
    UnreadableMessage,
)
from dispatch.models import OutboxMessage
from dispatch.registry import Snapshot
from dispatch.relay.circuit_breakers import Breakers
from dispatch.relay.claims import Claimed, LeftAlone
from dispatch.relay.failures import Waits, failure, refusal
from dispatch.relay.parcels import Expired, Parcels
from dispatch.relay.settling import Outcome

Status = OutboxMessage.Status


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of a claim that go to one broker, as parcels, and in the end what became of each."""

    parcels: Sequence[tuple[Claimed, Parcel]]
    snapshot: Snapshot
    deadline: float
    answers: Sequence[Fate | PublishError] = ()


class Batches:
    """Publishes the rows of claims over one connection per broker; no broker waits for another.

    Beside the batch that is under way to a broker, one more may be ready for it: so a relay claims and settles while
    its broker works.
    """

    def __init__(self, breakers: Breakers, stop: threading.Event) -> None:
        self.breakers = breakers
        self.stop = stop
        self._parcels: Parcels | None = None
        self._publishers: dict[str, Publisher] = {}
        self._under_way: SideBySide[Batch] = SideBySide()
        self._ready: dict[str, Batch] = {}

    @property
    def busy(self) -> frozenset[str]:
        """The brokers to which a batch is under way."""
        return self._under_way.names

    @property
    def full(self) -> frozenset[str]:
        """The brokers for which another batch is ready, too: they are given no more."""
        return frozenset(self._ready)

    def left_alone(self, snapshot: Snapshot) -> LeftAlone:
        """Return what a claim passes over: what is paused, fails just now, or has enough."""
        queues = snapshot.table.queues.values()
        brokers = self.breakers.open("broker") | self.full
        closed = snapshot.paused | self.breakers.open("queue")
        return LeftAlone(
            queues=closed | {queue.name for queue in queues if queue.broker in brokers},
            brokers=frozenset(brokers),
            tasks=snapshot.paused_tasks,
            open_queues=tuple(q.name for q in queues if q.name not in closed and q.broker not in brokers),
        )

    def begin(self, rows: Sequence[Claimed], snapshot: Snapshot, deadline: float) -> list[Outcome]:
        """Begin to publish what can be published, and return what became of the other rows.

        No publish begins after the moment ``deadline`` of the monotonic clock, nor after ``stop`` is set: what is left
        over is pending again.
        """
        if self._parcels is None or self._parcels.snapshot is not snapshot:
            self._parcels = Parcels(snapshot)
        away = _Away(self.breakers.open("broker") | self.full, self.breakers.open("queue"), snapshot)
        outcomes: list[Outcome] = []
        parcels: dict[str, list[tuple[Claimed, Parcel]]] = defaultdict(list)
        for row in rows:
            found = _sorted(row, self._parcels, away)
            if isinstance(found, Outcome):
                outcomes.append(found)
            else:
                parcels[found.destination.broker].append((row, found))
        for alias, parts in parcels.items():
            self._ready[alias] = Batch(parts, snapshot, deadline)
        self._begin_ready()
        return outcomes

    def first(self, timeout: float) -> list[Outcome]:
        """Return what became of the batches that are over, as soon as one is; nothing after ``timeout`` seconds."""
        outcomes = list(self._outcomes(self._under_way.take_first(timeout).values()))
        self._begin_ready()  # now that the breakers know of what failed
        return outcomes

    def rest(self, timeout: float) -> list[Outcome]:
        """Return what became of the batches under way, or of those that are over after ``timeout`` seconds."""
        return list(self._outcomes(self._under_way.take_all(timeout).values()))

    def withdraw(self) -> list[Outcome]:
        """Return the rows of batches that are ready, untried; they are not begun any more."""
        ready, self._ready = self._ready, {}
        return [
            _put_back(row, parcel.destination, batch.snapshot)
            for batch in ready.values()
            for row, parcel in batch.parcels
        ]

    def close(self) -> None:
        """Close the connections to the brokers, but those over which a batch is still under way."""
        for alias in self._publishers.keys() - self.busy:
            self._publishers.pop(alias).close()

    def _begin_ready(self) -> None:
        for alias in self.full - self.busy:
            self._under_way.begin(alias, partial(self._hand_over, alias, self._ready.pop(alias)))

    def _may_go_on(self, alias: str, deadline: float) -> bool:
        is_over = self.stop.is_set() or time.monotonic() > deadline
        return not is_over and alias not in self.breakers.open("broker")

    def _hand_over(self, alias: str, batch: Batch) -> Batch:
        """Publish a batch, without messages whose queue failed while it was ready; return it with its answers."""
        failed = self.breakers.open("queue")
        tried = {row.pk: parcel for row, parcel in batch.parcels if parcel.destination.queue not in failed}
        try:
            answers: Sequence[Fate | PublishError] = self._publisher(alias).publish_batch(
                [*tried.values()],
                batch.snapshot.table,
                until=batch.deadline,
                go_on=partial(self._may_go_on, alias, batch.deadline),
            )
        except BrokerUnavailable as error:  # it is not in DISPATCH
            answers = [error] * len(tried)
        became = dict(zip(tried, answers, strict=True))
        return replace(batch, answers=[became.get(row.pk, Fate.UNTRIED) for row, _ in batch.parcels])

    def _outcomes(self, batches: Iterable[Batch]) -> Iterator[Outcome]:
        for batch in batches:
            waits = Waits()
            for (row, parcel), answer in zip(batch.parcels, batch.answers, strict=True):
                yield self._outcome(row, parcel.destination, batch.snapshot, answer, waits)

    def _outcome(
        self,
        row: Claimed,
        destination: Destination,
        snapshot: Snapshot,
        answer: Fate | PublishError,
        waits: Waits,
    ) -> Outcome:
        if isinstance(answer, PublishError):
            return failure(row, destination, answer, waits, self.breakers)
        if answer is Fate.UNTRIED:
            return _put_back(row, destination, snapshot)
        if self.breakers.has_failures:
            self.breakers.reset("broker", destination.broker)
            self.breakers.reset("queue", destination.queue)
        return Outcome(row, Status.PUBLISHED, counted=True, destination=destination)

    def _publisher(self, alias: str) -> Publisher:
        if alias not in self._publishers:
            broker = conf.brokers.get(alias)
            if broker is None:
                raise BrokerUnavailable(
                    f'DISPATCH["BROKERS"] has no broker {alias!r}: add it, or change the queue.'
                )
            self._publishers[alias] = Publisher(broker)
        return self._publishers[alias]


class _Away(NamedTuple):
    """The brokers and queues that are given nothing just now, beside what the registry pauses."""

    brokers: Set[str]
    queues: Set[str]
    snapshot: Snapshot

    def holds(self, task_name: str, destination: Destination) -> bool:
        return (
            task_name in self.snapshot.paused_tasks
            or destination.broker in self.brokers
            or destination.queue in self.queues
            or not self.snapshot.paused.isdisjoint(destination.queues)
        )


def _sorted(row: Claimed, parcels: Parcels, away: _Away) -> Parcel | Outcome:
    """Return the row as a parcel, or what became of it without one."""
    try:
        parcel = parcels.of(row)
    except Expired as told:
        return Outcome(row, Status.CANCELLED, str(told))
    except UnreadableMessage as error:
        return Outcome(row, Status.DEAD, str(error))
    except DispatchError as error:
        return refusal(row, error, Waits())
    if away.holds(row.task_name, parcel.destination):
        return _put_back(row, parcel.destination, parcels.snapshot)
    return parcel


def _put_back(row: Claimed, destination: Destination, snapshot: Snapshot) -> Outcome:
    stamp = outbox.stamp(row.task_name, destination, snapshot)  # by which claims pass over what must wait
    return Outcome(row, Status.PENDING, row.last_error, stamp=stamp)
