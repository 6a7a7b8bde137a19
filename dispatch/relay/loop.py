"""The relay: from due rows to the brokers, until it is told to stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError

from dispatch import registry
from dispatch.conf import conf
from dispatch.core import backoff
from dispatch.core.redaction import redact
from dispatch.heartbeats import Heart
from dispatch.models import OutboxMessage, Process
from dispatch.models.database import UNREADABLE, close_broken_connections
from dispatch.registry import Snapshot
from dispatch.relay import odd_ids
from dispatch.relay.announcements import announce
from dispatch.relay.backlog_rerouting import Walk
from dispatch.relay.circuit_breakers import Breakers
from dispatch.relay.claims import Claimed, OpenClaim, any_due, release_expired
from dispatch.relay.coalescing import coalesced
from dispatch.relay.pruning import Pruner
from dispatch.relay.publishing import Batches
from dispatch.relay.settling import Outcome, Unsettled
from dispatch.relay.waking_up import Pauses

logger = logging.getLogger("dispatch.relay")
Status = OutboxMessage.Status

#: Seconds for which a round waits for the first broker, at most: a notice may come meanwhile.
PATIENCE = 0.1
#: The part of a lease after which a relay starts no further publish.
LEASE_USED = 0.7
#: Seconds between two looks for messages that a silent relay has left.
SWEEP_EVERY = 1.0
#: Rows of the first claim: more only when these were small. Characters of arguments after which a claim takes fewer.
FIRST, LARGE = 50, 1 << 24
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
        self.heart = Heart(using, Process.Kind.RELAY)
        self.pauses = Pauses(using, self.stop)
        self._unsettled = Unsettled(using)
        self._pruner = Pruner(using)
        self._open_claim = OpenClaim(using)
        self._walk: Walk | None = None
        self._walked = 0.0
        self._took = 0.0
        self._swept = 0.0
        self._is_idle = False
        self._limit = FIRST

    def run(self) -> None:
        """Work until :attr:`stop` is set. A database that is away is waited for."""
        failures = 0
        with self._ended():
            while not self.stop.is_set():
                worked = False
                try:
                    worked = self._has_work() and (bool(self._batch()) or self._is_busy)
                    failures = 0
                except (DatabaseError, InterfaceError) as error:
                    failures += 1
                    logger.warning(
                        "The database did not answer, trying again: %s", redact(str(error)).strip()
                    )
                    close_broken_connections()
                    self.stop.wait(backoff.delay(failures, 0.1, 5.0))
                if worked:
                    self.pauses.end()
                else:
                    self._pause()

    def _has_work(self) -> bool:
        """Tell whether a round is due: while there is no message, one a second, for a look costs less.

        What is old is deleted as fast as beside messages: each step of that is a round.
        """
        is_swept = time.monotonic() - self._swept < SWEEP_EVERY
        if self._is_idle and is_swept and not self._is_busy and not self._pruner.is_due:
            self._is_idle = not any_due(self.using)
            return not self._is_idle
        return True

    def _pause(self) -> None:
        try:
            self.pauses.wait()
        except (DatabaseError, InterfaceError):  # the next look says so
            close_broken_connections()

    def drain(self) -> int:
        """Publish what is due now, once; return how many rows were published."""
        total = 0
        with self._ended():
            while not self.stop.is_set() and ((outcomes := self._batch() + self._rest()) or self._is_walking):
                total += _published(outcomes)
        return total

    @contextmanager
    def _ended(self) -> Iterator[None]:
        """Whatever ends the block: give back what is not begun, record the rest, and close."""
        try:
            yield
        except (DatabaseError, InterfaceError):
            close_broken_connections()
            raise
        finally:
            # what is not settled is published again: its lease runs out
            with suppress(DatabaseError, InterfaceError):
                self._record(self.batches.withdraw())
                self._open_claim.give_back()
                self._rest()
            self.close()

    def step(self) -> int:
        """Claim, publish and settle one batch; return how many rows were published."""
        return _published(self._batch() + self._rest())

    def _batch(self) -> list[Outcome]:
        """Work for a round; where an id cannot be read, mend it and begin the round again."""
        try:
            return self._round()
        except UNREADABLE:
            if not odd_ids.mend(self.using):
                raise
            return self._round()

    def _round(self) -> list[Outcome]:
        """Claim a batch and begin to publish it; settle what is over, and return what became of that.

        The brokers are not waited for while there is more to claim: one has a batch ready, then, beside the one that
        is under way.
        """
        self._record()  # what the database failed to record last time
        self._open_claim.give_back()
        self.heart.beat()
        self._sweep()
        self._pruner.go_on()
        snapshot = registry.current()
        self._restamp(snapshot)
        began = time.monotonic()
        rows = self._claim(snapshot)
        deadline = began + conf.RELAY_LEASE * LEASE_USED
        latest = coalesced(self.using, rows)
        outcomes = self.batches.begin(latest, snapshot, deadline) if latest else []
        self._open_claim.close()
        if self.batches.full or not rows:
            outcomes += self.batches.first(min(conf.RELAY_POLL_INTERVAL, PATIENCE))
        self._record(outcomes)
        self._took = time.monotonic() - began
        gone = {*rows}.difference(latest) if len(latest) < len(rows) else ()
        superseded = [Outcome(row, Status.SUPERSEDED) for row in gone]
        self.heart.count(map(Outcome.tally, superseded))
        return outcomes + superseded

    def _claim(self, snapshot: Snapshot) -> list[Claimed]:
        if self._is_idle and not any_due(self.using):  # a look that costs less than a claim
            return []
        limit = min(self._limit, conf.RELAY_BATCH_SIZE)
        rows = self._open_claim.take(limit, self.batches.left_alone(snapshot))
        self._is_idle = not rows
        self._follow_sizes(rows)
        return rows

    def _follow_sizes(self, rows: Sequence[Claimed]) -> None:
        """Let the next claim be larger after a full one that was small, and as small as it takes after a large one."""
        size = sum(len(row.args or "") + len(row.kwargs or "") for row in rows)
        if size > LARGE:
            self._limit = max(1, len(rows) * LARGE // size)
        elif len(rows) >= self._limit and 2 * size <= LARGE:
            self._limit = min(2 * self._limit, conf.RELAY_BATCH_SIZE)

    def _rest(self) -> list[Outcome]:
        """Wait for what is under way, for as long as it is this relay's, and settle it; return what became of it."""
        outcomes = self.batches.rest(conf.RELAY_LEASE)
        self._record(outcomes)
        return outcomes

    def _record(self, outcomes: Sequence[Outcome] = ()) -> None:
        """Record what became of rows, count it for the heartbeats, and tell who listens."""
        settled = self._unsettled.record(outcomes)
        self.heart.count(map(Outcome.tally, settled))
        announce(self.using, settled)

    def close(self) -> None:
        """Close the connections to the brokers, and tell that this relay has stopped."""
        self.batches.close()
        self.heart.stop()

    @property
    def _is_busy(self) -> bool:
        return self._is_walking or bool(self.batches.busy)

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

    def _sweep(self) -> None:
        if time.monotonic() - self._swept < SWEEP_EVERY:
            return
        self._swept = time.monotonic()
        if released := release_expired(self.using):
            logger.warning(
                "%d messages were left by a relay that went silent: they are published again.", released
            )
            odd_ids.mend(self.using)  # whose publish could not be recorded either


def _published(outcomes: list[Outcome]) -> int:
    return sum(outcome.status == Status.PUBLISHED for outcome in outcomes)
