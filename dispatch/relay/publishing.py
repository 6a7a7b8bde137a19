"""From claimed rows to outcomes: what is published now, broker by broker."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Sequence

from django.utils import timezone

from dispatch import outbox
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


class Batches:
    """Publishes the rows of a claim, over one connection per broker."""

    def __init__(self, breakers: Breakers, stop: threading.Event) -> None:
        self.breakers = breakers
        self.stop = stop
        self._publishers: dict[str, Publisher] = {}

    def publish(self, rows: Sequence[OutboxMessage], snapshot: Snapshot, deadline: float) -> list[Outcome]:
        """Publish what can be published, and return what became of each row, in order.

        No publish begins after the moment ``deadline`` of the monotonic clock, nor after ``stop`` is set: what is left
        over is pending again.
        """
        outcomes: dict[int, Outcome] = {}
        parcels: dict[str, dict[int, Parcel]] = defaultdict(dict)
        for place, row in enumerate(rows):
            found = self._sort(row, snapshot)
            if isinstance(found, Outcome):
                outcomes[place] = found
            else:
                parcels[found.destination.broker][place] = found
        for alias, parts in parcels.items():
            answers = self._hand_over(alias, list(parts.values()), snapshot, deadline)
            waits = Waits()
            for (place, parcel), answer in zip(parts.items(), answers, strict=True):
                outcomes[place] = self._outcome(rows[place], parcel.destination, snapshot, answer, waits)
        return [outcomes[place] for place in range(len(rows))]

    def close(self) -> None:
        """Close the connections to the brokers."""
        for publisher in self._publishers.values():
            publisher.close()
        self._publishers.clear()

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
            or destination.broker in self.breakers.open("broker")
            or not snapshot.paused.isdisjoint(destination.queues)
            or destination.queue in self.breakers.open("queue")
        )

    def _hand_over(
        self, alias: str, parcels: Sequence[Parcel], snapshot: Snapshot, deadline: float
    ) -> Sequence[Fate | PublishError]:
        try:
            publisher = self._publisher(alias)
        except BrokerUnavailable as error:
            return [error] * len(parcels)
        return publisher.publish_batch(
            parcels,
            snapshot.table,
            until=deadline,
            go_on=lambda: not self.stop.is_set() and time.monotonic() <= deadline,
        )

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
