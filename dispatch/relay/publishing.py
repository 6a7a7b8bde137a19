"""From claimed rows to outcomes: what is published now, on all brokers side by side."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from django.utils import timezone

from dispatch import outbox
from dispatch.client.background_calls import SideBySide
from dispatch.client.publisher import Fate, Parcel, Publisher
from dispatch.conf import conf
from dispatch.core.call import STORED, Call, signatures
from dispatch.core.message import Message, represent
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
from dispatch.relay.failures import Waits, failure, refusal
from dispatch.relay.settling import Outcome

Status = OutboxMessage.Status


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of a claim that go to one broker, as parcels, and in the end what became of each."""

    parcels: Sequence[tuple[OutboxMessage, Parcel]]
    snapshot: Snapshot
    answers: Sequence[Fate | PublishError] = ()


class Batches:
    """Publishes the rows of claims over one connection per broker; no broker waits for another."""

    def __init__(self, breakers: Breakers, stop: threading.Event) -> None:
        self.breakers = breakers
        self.stop = stop
        self._publishers: dict[str, Publisher] = {}
        self._under_way: SideBySide[Batch] = SideBySide()

    @property
    def busy(self) -> frozenset[str]:
        """The brokers to which a batch is under way: they are given no other."""
        return self._under_way.names

    def begin(self, rows: Sequence[OutboxMessage], snapshot: Snapshot, deadline: float) -> list[Outcome]:
        """Begin to publish what can be published, and return what became of the other rows.

        No publish begins after the moment ``deadline`` of the monotonic clock, nor after ``stop`` is set: what is left
        over is pending again.
        """
        outcomes: list[Outcome] = []
        parcels: dict[str, list[tuple[OutboxMessage, Parcel]]] = defaultdict(list)
        for row in rows:
            found = self._sort(row, snapshot)
            if isinstance(found, Outcome):
                outcomes.append(found)
            else:
                parcels[found.destination.broker].append((row, found))
        for alias, parts in parcels.items():
            self._under_way.begin(alias, partial(self._hand_over, alias, Batch(parts, snapshot), deadline))
        return outcomes

    def first(self, timeout: float) -> list[Outcome]:
        """Return what became of the batches that are over, as soon as one is; nothing after ``timeout`` seconds."""
        return list(self._outcomes(self._under_way.take_first(timeout).values()))

    def rest(self, timeout: float) -> list[Outcome]:
        """Return what became of all batches, or of those that are over after ``timeout`` seconds."""
        return list(self._outcomes(self._under_way.take_all(timeout).values()))

    def close(self) -> None:
        """Close the connections to the brokers, but those over which a batch is still under way."""
        for alias in self._publishers.keys() - self.busy:
            self._publishers.pop(alias).close()

    def _sort(self, row: OutboxMessage, snapshot: Snapshot) -> Parcel | Outcome:
        """Return the row as a parcel, or what became of it without one."""
        try:
            call = outbox.call_of(row)
            if row.expires_at and row.expires_at <= timezone.now():
                told = f"Expired at {row.expires_at.isoformat()}, before it was published."
                return Outcome(row, Status.CANCELLED, told)
            destination = outbox.resolve(call, row.options, snapshot)
        except UnreadableMessage as error:
            return Outcome(row, Status.DEAD, str(error))
        except DispatchError as error:
            return refusal(row, error, Waits())
        if self._must_wait(row, destination, snapshot):
            return _put_back(row, destination, snapshot)
        # what failed once might break a batch again, and leave the fate of the others unknown
        return Parcel(_message(row, call, snapshot), destination, alone=row.attempts > 0)

    def _must_wait(self, row: OutboxMessage, destination: Destination, snapshot: Snapshot) -> bool:
        return (
            row.task_name in snapshot.paused_tasks
            or destination.broker in self.breakers.open("broker") | self.busy
            or not snapshot.paused.isdisjoint(destination.queues)
            or destination.queue in self.breakers.open("queue")
        )

    def _hand_over(self, alias: str, batch: Batch, deadline: float) -> Batch:
        try:
            answers: Sequence[Fate | PublishError] = self._publisher(alias).publish_batch(
                [parcel for _, parcel in batch.parcels],
                batch.snapshot.table,
                until=deadline,
                go_on=lambda: not self.stop.is_set() and time.monotonic() <= deadline,
            )
        except BrokerUnavailable as error:
            answers = [error] * len(batch.parcels)
        return replace(batch, answers=answers)

    def _outcomes(self, batches: Iterable[Batch]) -> Iterator[Outcome]:
        for batch in batches:
            waits = Waits()
            for (row, parcel), answer in zip(batch.parcels, batch.answers, strict=True):
                yield self._outcome(row, parcel.destination, batch.snapshot, answer, waits)

    def _outcome(
        self,
        row: OutboxMessage,
        destination: Destination,
        snapshot: Snapshot,
        answer: Fate | PublishError,
        waits: Waits,
    ) -> Outcome:
        if isinstance(answer, PublishError):
            return failure(row, destination, answer, waits, self.breakers)
        if answer is Fate.UNTRIED:
            return _put_back(row, destination, snapshot)
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


def _put_back(row: OutboxMessage, destination: Destination, snapshot: Snapshot) -> Outcome:
    stamp = outbox.stamp(row.task_name, destination, snapshot)  # by which claims pass over what must wait
    return Outcome(row, Status.PENDING, row.last_error, stamp=stamp)


def _message(row: OutboxMessage, call: Call, snapshot: Snapshot) -> Message:
    args, kwargs = snapshot.tasks[call.name].mask(call.args or (), call.kwargs or {})
    return Message(
        task_id=str(row.pk),
        task=call.name,
        args=row.args,
        kwargs=row.kwargs,
        args_repr=represent(tuple(args)),
        kwargs_repr=represent(kwargs),
        eta=call.eta,
        expires=row.expires_at,
        headers=call.headers or {},
        stamps=call.stamps or {},
        link=signatures(call.link),
        link_error=signatures(call.link_error),
        **{name: getattr(call, name) for name in STORED},
    )
