"""Publishes what has just been committed, in the process that did, over connections that are kept."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from django.db import DatabaseError, InterfaceError, connections

from dispatch import registry
from dispatch.conf import conf
from dispatch.core.redaction import redact
from dispatch.models import OutboxMessage
from dispatch.models.database import close_broken_connections, schema_name, stand_in
from dispatch.relay.announcements import announce
from dispatch.relay.circuit_breakers import Breakers
from dispatch.relay.claims import OpenClaim
from dispatch.relay.publishing import Batches
from dispatch.relay.settling import Outcome, Unsettled
from dispatch.signals import messages_counted

logger = logging.getLogger("dispatch.relay")


def publish(ids: Sequence[uuid.UUID], using: str, seconds: float) -> None:
    """Publish these messages, but those that must wait, and wait for all brokers together so many seconds at most.

    What is not begun by then stays pending. A broker's answer that comes later is recorded by a thread. Raises what
    the database raises.
    """
    pool = _Pool.current()
    delivery = pool.take(using)
    try:
        delivery.deliver(ids, seconds)
    finally:
        if delivery.batches.busy:
            threading.Thread(
                target=_finish, args=(pool, delivery), name="dispatch delivery", daemon=True
            ).start()
        else:
            pool.give_back(delivery)


class _Delivery:
    """Claims given rows, publishes and settles them, as a relay does."""

    #: The schema in which an error left something to be given back or recorded: another tenant's has no such rows.
    owes: str | None = None

    def __init__(self, using: str, breakers: Breakers) -> None:
        self.using = using
        self.breakers = breakers
        self.batches = Batches(breakers, threading.Event())
        self._open_claim = OpenClaim(using)
        self._unsettled = Unsettled(using)

    def deliver(self, ids: Sequence[uuid.UUID], seconds: float) -> None:
        """Publish these messages. What an error left claimed is put back at once, or by the schema's next delivery."""
        self.owes = schema_name(self.using)
        try:
            self._open_claim.give_back()
            self._record()
            self._deliver(ids, seconds)
        except Exception as error:
            if isinstance(error, (DatabaseError, InterfaceError)):
                close_broken_connections()
            self._open_claim.give_back()
            raise
        self.owes = self.owes if self.batches.busy else None

    def _deliver(self, ids: Sequence[uuid.UUID], seconds: float) -> None:
        until = time.monotonic() + seconds
        for start in range(0, len(ids), conf.RELAY_BATCH_SIZE):
            if time.monotonic() >= until:
                break
            part = ids[start : start + conf.RELAY_BATCH_SIZE]
            snapshot = registry.current()
            without = replace(self.batches.left_alone(snapshot), all_but=part)
            rows = self._open_claim.take(len(part), without)
            outcomes = self.batches.begin(rows, snapshot, until) if rows else []
            self._open_claim.close()
            outcomes += self.batches.rest(max(0.0, until - time.monotonic()))
            for broker in self.batches.busy:
                self.breakers.trip("broker", broker)  # whoever is next does not wait for it too
            self._record(outcomes)

    def finish(self) -> None:
        """Wait for what is under way, and record what became of it, or leave that to the schema's next delivery.

        A thread's new connection stands in no tenant's schema.
        """
        self._unsettled.keep(self.batches.rest(conf.RELAY_LEASE))
        if stand_in(self.owes or "", self.using):
            self._record()
            self.owes = None

    def _record(self, outcomes: Sequence[Outcome] = ()) -> None:
        settled = self._unsettled.record(outcomes)
        if messages_counted.receivers:
            tallies = [*filter(None, map(Outcome.tally, settled))]
            messages_counted.send_robust(sender=OutboxMessage, tallies=tallies)
        announce(self.using, settled)


class _Pool:
    """The deliveries that nobody uses just now, and what all of them leave alone; other settings make another."""

    _current: _Pool | None = None

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self.breakers = Breakers(base=conf.BACKOFF_BASE)
        self._idle: dict[tuple[str, str | None], list[_Delivery]] = defaultdict(list)

    @classmethod
    def current(cls) -> _Pool:
        """Return the pool, or a new one where the settings changed."""
        settings = conf.brokers, conf.BROKER_TIMEOUT, conf.BACKOFF_BASE
        pool = cls._current
        if pool is None or pool.settings != settings:
            cls.close()
            pool = cls._current = cls(settings)
        return pool

    @classmethod
    def close(cls) -> None:
        """Close the connections that are not in use."""
        pool, cls._current = cls._current, None
        for idle in list(pool._idle.values()) if pool else ():
            with suppress(IndexError):  # taken one by one: another thread may take some
                while True:
                    idle.pop().batches.close()

    def take(self, using: str) -> _Delivery:
        """Return a delivery for the caller alone."""
        for owes in (schema_name(using), None):
            with suppress(IndexError):
                return self._idle[using, owes].pop()
        return _Delivery(using, self.breakers)

    def give_back(self, delivery: _Delivery) -> None:
        """Keep it, and its connections, for whoever is next."""
        if self is type(self)._current:
            self._idle[delivery.using, delivery.owes].append(delivery)
        else:
            delivery.batches.close()


def _finish(pool: _Pool, delivery: _Delivery) -> None:
    try:
        delivery.finish()
    except (DatabaseError, InterfaceError) as error:  # published again when the lease has run out
        logger.warning("What became of messages could not be recorded: %s", redact(str(error)).strip())
    finally:
        connections.close_all()
        pool.give_back(delivery)


def _leave_to_parent() -> None:
    """Forget a pool that another thread made after the fork had begun: its sockets are the parent's."""
    if _Pool._current is not None:
        _inherited.append(_Pool._current)
    _Pool._current = None


#: Kept for ever: what is collected is closed, and some drivers say goodbye to the broker then.
_inherited: list[_Pool] = []
os.register_at_fork(before=_Pool.close, after_in_child=_leave_to_parent)
