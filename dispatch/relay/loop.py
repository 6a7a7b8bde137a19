"""The relay: from due rows to the brokers, until it is told to stop."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections
from django.utils import timezone

from dispatch import registry
from dispatch.client.publishing import Publisher
from dispatch.conf import conf
from dispatch.core import backoff
from dispatch.core.call import STORED
from dispatch.core.message import Message, represent
from dispatch.core.routing import Destination, Target
from dispatch.core.wording import redact
from dispatch.exceptions import (
    BrokerUnavailable,
    DeliveryUnknown,
    DispatchError,
    PublishError,
    QueueUnavailable,
)
from dispatch.models import OutboxMessage
from dispatch.registry import Snapshot
from dispatch.relay.breakers import Breakers
from dispatch.relay.claims import claim, release_expired
from dispatch.relay.settling import Outcome, settle
from dispatch.signals import message_dead, message_published

logger = logging.getLogger("dispatch.relay")
Status = OutboxMessage.Status

#: The part of a lease after which a relay starts no further publish.
LEASE_USED = 0.7


class Relay:
    """Publishes the outbox of one database. Each relay is one thread of one process; run as many as needed."""

    def __init__(self, using: str = DEFAULT_DB_ALIAS) -> None:
        self.using = using
        self.stop = threading.Event()
        self.breakers = Breakers(base=conf.BACKOFF_BASE)
        self._publishers: dict[str, Publisher] = {}
        self._swept = 0.0

    def run(self) -> None:
        """Work until :attr:`stop` is set. A database that is away is waited for."""
        failures = 0
        while not self.stop.is_set():
            try:
                worked = self.step()
                failures = 0
            except (DatabaseError, InterfaceError) as error:
                failures += 1
                worked = 0
                logger.warning("The database did not answer, trying again: %s", redact(str(error)).strip())
                connections[self.using].close_if_unusable_or_obsolete()
                self.stop.wait(backoff.delay(failures, 0.1, 5.0))
            if not worked:
                self.stop.wait(conf.RELAY_POLL_INTERVAL)
        self.close()

    def drain(self) -> int:
        """Publish what is due now, once; return how many rows were published."""
        total = 0
        while not self.stop.is_set() and (published := self.step()):
            total += published
        self.close()
        return total

    def step(self) -> int:
        """Claim, publish and settle one batch; return how many rows were published."""
        self._sweep()
        snapshot = registry.current()
        deadline = time.monotonic() + conf.RELAY_LEASE * LEASE_USED
        rows = claim(
            self.using,
            conf.RELAY_BATCH_SIZE,
            conf.RELAY_LEASE,
            skip_queues=snapshot.paused | self.breakers.open("queue"),
            skip_brokers=self.breakers.open("broker"),
        )
        if not rows:
            return 0
        outcomes = [self._outcome(row, snapshot, deadline) for row in rows]
        settled = settle(self.using, outcomes)
        for outcome in settled:
            self._announce(outcome)
        return sum(outcome.status == Status.PUBLISHED for outcome in settled)

    def close(self) -> None:
        """Close the connections to the brokers."""
        for publisher in self._publishers.values():
            publisher.close()
        self._publishers.clear()

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
            destination = snapshot.destination(row.task_name, Target(**row.explicit_target))
        except DispatchError as error:
            return _refusal(row, error)
        if self._must_wait(destination, snapshot):
            return Outcome(row, Status.PENDING, row.last_error, destination=destination)
        try:
            self._publisher(destination.broker).publish(_message(row, snapshot), destination, snapshot.table)
        except PublishError as error:
            return self._failure(row, destination, error)
        self.breakers.reset("broker", destination.broker)
        self.breakers.reset("queue", destination.queue)
        return Outcome(row, Status.PUBLISHED, counted=True, destination=destination)

    def _must_wait(self, destination: Destination, snapshot: Snapshot) -> bool:
        return (
            destination.broker in self.breakers.open("broker")
            or destination.queue in snapshot.paused
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
        if isinstance(error, QueueUnavailable):
            wait = self.breakers.trip("queue", destination.queue) if destination.queue else _wait(row)
            return Outcome(row, Status.PENDING, text, wait)
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
        **{name: options.get(name) for name in STORED},
    )
