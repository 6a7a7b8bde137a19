"""The relay: from due rows to the brokers, until it is told to stop."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError
from django.utils import timezone

from dispatch import outbox, registry
from dispatch.client.publishing import Publisher
from dispatch.conf import conf
from dispatch.core import backoff
from dispatch.core.call import STORED
from dispatch.core.message import Message, represent
from dispatch.core.routing import Destination
from dispatch.core.wording import redact
from dispatch.exceptions import (
    BrokerUnavailable,
    DeliveryUnknown,
    DispatchError,
    PublishError,
    QueueUnavailable,
)
from dispatch.models import OutboxMessage
from dispatch.models.parts import close_broken_connections
from dispatch.registry import Snapshot
from dispatch.relay.breakers import Breakers
from dispatch.relay.claims import LeftAlone, claim, release_expired
from dispatch.relay.coalescing import coalesced
from dispatch.relay.restamping import Walk
from dispatch.relay.settling import Outcome, settle
from dispatch.signals import message_dead, message_published

logger = logging.getLogger("dispatch.relay")
Status = OutboxMessage.Status

#: The part of a lease after which a relay starts no further publish.
LEASE_USED = 0.7
#: Seconds between two looks for pending messages that a change of routes has missed; ten times as long as a look takes,
#: where that is more.
RESTAMP_EVERY, LOOK_SECONDS = 30.0, 3.0
#: Seconds that the backlog's walk may take before each batch; as many as the last batch took, where that is more.
RESTAMP_SLICE = 0.1


class Relay:
    """Publishes the outbox of one database. Each relay is one thread of one process; run as many as needed."""

    def __init__(self, using: str = DEFAULT_DB_ALIAS) -> None:
        self.using = using
        self.stop = threading.Event()
        self.breakers = Breakers(base=conf.BACKOFF_BASE)
        self._publishers: dict[str, Publisher] = {}
        self._walk: Walk | None = None
        self._walked = 0.0
        self._took = 0.0
        self._swept = 0.0

    def run(self) -> None:
        """Work until :attr:`stop` is set. A database that is away is waited for."""
        failures = 0
        while not self.stop.is_set():
            worked = False
            try:
                worked = bool(self._batch()) or self._is_walking
                failures = 0
            except (DatabaseError, InterfaceError) as error:
                failures += 1
                logger.warning("The database did not answer, trying again: %s", redact(str(error)).strip())
                close_broken_connections()
                self.stop.wait(backoff.delay(failures, 0.1, 5.0))
            if not worked:
                self.stop.wait(conf.RELAY_POLL_INTERVAL)
        self.close()

    def drain(self) -> int:
        """Publish what is due now, once; return how many rows were published."""
        total = 0
        while not self.stop.is_set() and ((outcomes := self._batch()) or self._is_walking):
            total += _published(outcomes)
        self.close()
        return total

    def step(self) -> int:
        """Claim, publish and settle one batch; return how many rows were published."""
        return _published(self._batch())

    def _batch(self) -> list[Outcome]:
        """Claim, publish and settle one batch; return what became of it, nothing where nothing could be claimed."""
        self._sweep()
        snapshot = registry.current()
        self._restamp(snapshot)
        began = time.monotonic()
        deadline = time.monotonic() + conf.RELAY_LEASE * LEASE_USED
        rows = claim(
            self.using,
            conf.RELAY_BATCH_SIZE,
            conf.RELAY_LEASE,
            without=self._left_alone(snapshot),
        )
        outcomes = [self._outcome(row, snapshot, deadline) for row in coalesced(self.using, rows)]
        for outcome in settle(self.using, outcomes) if outcomes else ():
            self._announce(outcome)
        self._took = time.monotonic() - began
        return outcomes + [Outcome(row, row.status, "") for row in rows if row.status == Status.SUPERSEDED]

    def close(self) -> None:
        """Close the connections to the brokers."""
        for publisher in self._publishers.values():
            publisher.close()
        self._publishers.clear()

    @property
    def _is_walking(self) -> bool:
        return self._walk is not None and not self._walk.done

    def _restamp(self, snapshot: Snapshot) -> None:
        """Let the backlog follow the registry where that changed, for as long as publishing took, and then publish.

        While something is paused this is repeated: a transaction that began before the change may commit after it.
        """
        if self._walk is None or (self._walk.done and self._must_walk(self._walk, snapshot)):
            self._walk = Walk(self.using, snapshot)
        elif snapshot is not self._walk.snapshot:
            self._walk.follow(snapshot)
        if not self._walk.done:
            self._walk.go_on(max(self._took, RESTAMP_SLICE))
            self._walked = time.monotonic()

    def _must_walk(self, last: Walk, snapshot: Snapshot) -> bool:
        if snapshot is not last.snapshot:
            return True
        pause = RESTAMP_EVERY * max(1.0, last.seconds / LOOK_SECONDS)
        return bool(snapshot.paused or snapshot.paused_tasks) and time.monotonic() - self._walked > pause

    def _left_alone(self, snapshot: Snapshot) -> LeftAlone:
        """Return what is paused, or fails just now."""
        queues = snapshot.table.queues.values()
        brokers = self.breakers.open("broker")
        closed = snapshot.paused | self.breakers.open("queue")
        return LeftAlone(
            queues=closed | {queue.name for queue in queues if queue.broker in brokers},
            brokers=frozenset(brokers),
            tasks=snapshot.paused_tasks,
            open_queues=tuple(q.name for q in queues if q.name not in closed and q.broker not in brokers),
        )

    def _sweep(self) -> None:
        if time.monotonic() - self._swept < 1.0:
            return
        self._swept = time.monotonic()
        if released := release_expired(self.using):
            logger.warning(
                "%d messages were left by a relay that went silent: they are published again.", released
            )

    def _outcome(self, row: OutboxMessage, snapshot: Snapshot, deadline: float) -> Outcome:
        if self.stop.is_set() or time.monotonic() > deadline:
            return Outcome(row, Status.PENDING, row.last_error)
        if row.expires_at and row.expires_at <= timezone.now():
            return Outcome(
                row, Status.CANCELLED, f"Expired at {row.expires_at.isoformat()}, before it was published."
            )
        try:
            destination = outbox.resolve(row, snapshot)
        except DispatchError as error:
            return _refusal(row, error)
        if self._must_wait(row, destination, snapshot):
            stamp = outbox.stamp(row.task_name, destination, snapshot)  # claims pass over it from now on
            return Outcome(row, Status.PENDING, row.last_error, stamp=stamp)
        try:
            self._publisher(destination.broker).publish(_message(row, snapshot), destination, snapshot.table)
        except PublishError as error:
            return self._failure(row, destination, error)
        self.breakers.reset("broker", destination.broker)
        self.breakers.reset("queue", destination.queue)
        return Outcome(row, Status.PUBLISHED, counted=True, destination=destination)

    def _must_wait(self, row: OutboxMessage, destination: Destination, snapshot: Snapshot) -> bool:
        return (
            row.task_name in snapshot.paused_tasks
            or destination.broker in self.breakers.open("broker")
            or not snapshot.paused.isdisjoint(destination.queues)
            or destination.queue in self.breakers.open("queue")
        )

    def _failure(self, row: OutboxMessage, destination: Destination, error: PublishError) -> Outcome:
        """Decide what a failed publish means.

        A message dies only of what concerns itself. While its broker or its queue is the cause, it waits: a
        broker that is down for a day must not turn a day's messages into dead ones.
        """
        text = redact(str(error))
        if isinstance(error, BrokerUnavailable):
            self.breakers.trip("broker", destination.broker)
            return Outcome(row, Status.PENDING, text)
        if isinstance(error, QueueUnavailable) and destination.queue:
            return Outcome(row, Status.PENDING, text, self.breakers.trip("queue", destination.queue))
        if isinstance(error, DeliveryUnknown):
            self.breakers.trip("broker", destination.broker)
            return Outcome(row, Status.PENDING, text, _wait(row), counted=True)
        return _refusal(row, error)

    def _publisher(self, alias: str) -> Publisher:
        if alias not in self._publishers:
            broker = conf.brokers.get(alias)
            if broker is None:
                raise BrokerUnavailable(
                    f'DISPATCH["BROKERS"] has no broker {alias!r}: add it, or change the queue.'
                )
            self._publishers[alias] = Publisher(broker)
        return self._publishers[alias]

    def _announce(self, outcome: Outcome) -> None:
        is_news = outcome.error and outcome.error != outcome.message.last_error
        outcome.message.status, outcome.message.last_error = outcome.status, outcome.error
        if outcome.status == Status.PUBLISHED:
            message_published.send_robust(
                sender=OutboxMessage,
                message=outcome.message,
                destination=outcome.destination,
                using=self.using,
            )
        elif outcome.status == Status.DEAD:
            logger.error("%s is dead: %s", outcome.message, outcome.error)
            message_dead.send_robust(sender=OutboxMessage, message=outcome.message, using=self.using)
        elif is_news:
            logger.warning("%s waits: %s", outcome.message, outcome.error)


def _published(outcomes: list[Outcome]) -> int:
    return sum(outcome.status == Status.PUBLISHED for outcome in outcomes)


def _wait(row: OutboxMessage) -> float:
    return backoff.delay(row.attempts + 1, conf.BACKOFF_BASE, conf.BACKOFF_MAX)


def _refusal(row: OutboxMessage, error: DispatchError) -> Outcome:
    text = redact(str(error))
    if row.attempts + 1 >= conf.MAX_ATTEMPTS:
        return Outcome(row, Status.DEAD, text, counted=True)
    return Outcome(row, Status.PENDING, text, _wait(row), counted=True)


def _message(row: OutboxMessage, snapshot: Snapshot) -> Message:
    options = row.options
    eta = options.get("eta")
    args, kwargs = snapshot.tasks[row.task_name].masked(row.args, row.kwargs)
    return Message(
        task_id=str(row.pk),
        task=row.task_name,
        args=row.args,
        kwargs=row.kwargs,
        args_repr=represent(tuple(args)),
        kwargs_repr=represent(kwargs),
        eta=dt.datetime.fromisoformat(eta) if eta else None,
        expires=row.expires_at,
        headers=row.headers,
        stamps=options.get("stamps", {}),
        link=options.get("link", ()),
        link_error=options.get("link_error", ()),
        **{name: options.get(name) for name in STORED},
    )
