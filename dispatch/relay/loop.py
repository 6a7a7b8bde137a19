"""The relay: from due rows to the brokers, until it is told to stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError

from dispatch import registry
from dispatch.conf import conf
from dispatch.core import backoff
from dispatch.core.redaction import redact
from dispatch.models import OutboxMessage
from dispatch.models.database import close_broken_connections
from dispatch.registry import Snapshot
from dispatch.relay.backlog_rerouting import Walk
from dispatch.relay.circuit_breakers import Breakers
from dispatch.relay.claims import LeftAlone, claim, release_expired
from dispatch.relay.coalescing import coalesced
from dispatch.relay.publishing import Batches
from dispatch.relay.settling import Outcome, Unsettled
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
        self.batches = Batches(self.breakers, self.stop)
        self._unsettled = Unsettled(using)
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
                worked = bool(self._batch()) or self._is_walking or bool(self.batches.busy)
                failures = 0
            except (DatabaseError, InterfaceError) as error:
                failures += 1
                logger.warning("The database did not answer, trying again: %s", redact(str(error)).strip())
                close_broken_connections()
                self.stop.wait(backoff.delay(failures, 0.1, 5.0))
            if not worked:
                self.stop.wait(conf.RELAY_POLL_INTERVAL)
        with suppress(
            DatabaseError, InterfaceError
        ):  # what is not settled is published again: its lease runs out
            self._rest()
        self.close()

    def drain(self) -> int:
        """Publish what is due now, once; return how many rows were published."""
        total = 0
        while not self.stop.is_set() and ((outcomes := self._batch() + self._rest()) or self._is_walking):
            total += _published(outcomes)
        self.close()
        return total

    def step(self) -> int:
        """Claim, publish and settle one batch; return how many rows were published."""
        return _published(self._batch() + self._rest())

    def _batch(self) -> list[Outcome]:
        """Claim a batch and begin to publish it; settle what is over, and return what became of that.

        The brokers are waited for until the first has its part: the others' may be over in a later round.
        """
        self._settle()  # what the database failed to record last time
        self._sweep()
        snapshot = registry.current()
        self._restamp(snapshot)
        began = time.monotonic()
        rows = claim(
            self.using,
            conf.RELAY_BATCH_SIZE,
            conf.RELAY_LEASE,
            without=self._left_alone(snapshot),
        )
        deadline = began + conf.RELAY_LEASE * LEASE_USED
        outcomes = self.batches.begin(coalesced(self.using, rows), snapshot, deadline) if rows else []
        outcomes += self.batches.first(conf.RELAY_POLL_INTERVAL)
        self._settle(outcomes)
        self._took = time.monotonic() - began
        return outcomes + [Outcome(row, row.status, "") for row in rows if row.status == Status.SUPERSEDED]

    def _rest(self) -> list[Outcome]:
        """Wait for what is under way, for as long as it is this relay's, and settle it; return what became of it."""
        outcomes = self.batches.rest(conf.RELAY_LEASE)
        self._settle(outcomes)
        return outcomes

    def _settle(self, outcomes: Sequence[Outcome] = ()) -> None:
        """Record what became of rows, those the database failed to record before included, and tell who listens."""
        self._unsettled.keep(outcomes, conf.RELAY_LEASE)
        try:
            settled = self._unsettled.settle()
        except (
            DatabaseError,
            InterfaceError,
        ):  # a conflict with others, or a lost connection, is over the second time
            close_broken_connections()
            settled = self._unsettled.settle()
        for outcome in settled:
            self._announce(outcome)

    def close(self) -> None:
        """Close the connections to the brokers."""
        self.batches.close()

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
        """Return what is paused, fails just now, or has a batch under way."""
        queues = snapshot.table.queues.values()
        brokers = self.breakers.open("broker") | self.batches.busy
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
