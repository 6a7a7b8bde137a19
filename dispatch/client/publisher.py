"""Hands messages to one broker: Celery protocol 2, one private connection, every call bounded in time.

What messages share is written once by kombu, which publishes what goes one by one, with ``retry=False``. Celery's
``before_task_publish`` and ``after_task_publish`` are not sent: they belong to the process that calls Celery,
and a relay is another one.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from traceback import format_exception
from typing import Protocol

from dispatch.client.amqp_confirms import Confirming
from dispatch.client.background_calls import within_timeout
from dispatch.client.broker_connection import Attempt, Fate, Parcel, Session, connect
from dispatch.client.broker_errors import sentence
from dispatch.client.redis_pipeline import Pipelining, repeats
from dispatch.conf import Broker, conf
from dispatch.core.message import Message
from dispatch.core.redaction import redact
from dispatch.core.routing import Destination, RoutingTable
from dispatch.exceptions import BrokerUnavailable, DeliveryUnknown, PublishError, QueueUnavailable

logger = logging.getLogger("dispatch.relay")

__all__ = ["Fate", "Parcel", "Publisher"]

#: About so many bytes are handed over before an answer is waited for. A message that is larger goes alone.
BATCH_BYTES = 1 << 20
#: Bytes of a message beside its arguments, about.
ENVELOPE_BYTES = 1_000


class Way(Protocol):
    """How a kind of broker is given a batch of at most ``limit`` messages."""

    session: Session
    limit: int

    def check(self) -> None:
        """Raise an error if the broker is gone."""

    def publish(self, attempts: Sequence[Attempt], until: float) -> None:
        """Hand the messages over and note what became of each; wait at the latest ``until``."""


class OneByOne:
    """The way of brokers that know no batches: kombu hands each message over and returns."""

    limit = 1

    def __init__(self, session: Session) -> None:
        self.session = session

    def check(self) -> None:
        """Nothing is asked: such a broker is this process, a folder, or a Redis whose client repeats commands."""

    def publish(self, attempts: Sequence[Attempt], until: float) -> None:
        """Publish; after an error the channel may be closed, or an answer still on its way."""
        for attempt in attempts:
            try:
                self.session.put(attempt.parcel)
            except Exception as error:  # noqa: BLE001 - what cannot be encoded must end on its row, not in the relay
                self.session.end([attempt], error)
            else:
                attempt.answer = Fate.TAKEN


class Publisher:
    """Publishes to one broker. Not thread-safe: each relay has its own."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._way: Way | None = None

    def publish(self, message: Message, destination: Destination, table: RoutingTable) -> None:
        """Hand one message over, and return when the broker has it.

        Raises BrokerUnavailable (nothing was handed over), QueueUnavailable (the queue cannot be declared, or is
        full), DeliveryUnknown (the connection broke meanwhile) and MessageRefused.
        """
        [answer] = self.publish_batch([Parcel(message, destination)], table)
        if isinstance(answer, PublishError):
            raise answer

    def publish_batch(
        self,
        parcels: Sequence[Parcel],
        table: RoutingTable,
        *,
        until: float = -math.inf,
        go_on: Callable[[], bool] = lambda: True,
    ) -> list[Fate | PublishError]:
        """Hand messages over in batches, in order, each at most once; return what became of each.

        An error is one that :meth:`publish` raises, and concerns the message at its place. ``go_on`` is asked before
        each batch; after a no, and after the broker failed, the rest is ``Fate.UNTRIED``. Answers are awaited until
        the moment ``until`` of the monotonic clock, or for ``BROKER_TIMEOUT`` where that is later; a broker that is
        silent for ``BROKER_TIMEOUT`` is lost.
        """
        attempts = [Attempt(parcel) for parcel in parcels]
        refusals: dict[Destination, QueueUnavailable] = {}
        while (waiting := [attempt for attempt in attempts if attempt.is_open]) and go_on():
            part = waiting
            try:
                way = self._open()
                way.session.follow(table)
                part = _first(waiting, way.limit)
                part = _declared(way.session, part, refusals)
                way.publish(part, max(until, time.monotonic() + conf.BROKER_TIMEOUT))
            except Exception as error:  # noqa: BLE001 - it must end neither the relay nor what is known of the others
                failure = self._failure(error)
                for attempt in waiting if failure is error else part:
                    attempt.fail(failure)
                self.close()  # an answer may still be on its way
                break
            if way.session.is_over:
                self.close()
            if way.session.is_lost or any(isinstance(attempt.answer, BrokerUnavailable) for attempt in part):
                break
        return [attempt.answer for attempt in attempts]

    def _failure(self, error: Exception) -> PublishError:
        """Return what an error means that ends the hand-over; one that nobody foresaw is told, too."""
        if isinstance(error, BrokerUnavailable):
            return error
        logger.error("Broker %r: %s", self.broker.alias, redact("".join(format_exception(error))).strip())
        what = f"Publishing to broker {self.broker.alias!r} failed: {type(error).__name__}"
        return DeliveryUnknown(sentence(what, error))

    def close(self) -> None:
        """Close the connection; the next publish opens a new one."""
        way, self._way = self._way, None
        if way is not None:
            _let_go(way)

    def _open(self) -> Way:
        """Return the way that is open and alive, or a new one. Raises BrokerUnavailable.

        A connection that broke while nothing was on its way costs no message an attempt.
        """
        way, self._way = self._way, None
        key = ("publisher", self.broker.alias, self.broker.url)
        if way is not None:
            # whatever it is: nothing was handed over, and connecting will tell
            with suppress(Exception):
                self._way = within_timeout(key, partial(_alive, way), discard=_let_go)
        try:
            self._way = self._way or within_timeout(key, partial(_new, self.broker), discard=_let_go)
        except TimeoutError as error:
            raise BrokerUnavailable(
                sentence(f"Broker {self.broker.alias!r} cannot be reached", error)
            ) from None
        return self._way


def _alive(way: Way) -> Way:
    try:
        way.check()
    except Exception:
        _let_go(way)
        raise
    return way


def _let_go(way: Way) -> None:
    way.session.close()


def _new(broker: Broker) -> Way:
    session = connect(broker)
    if broker.has_exchanges:
        return Confirming(session)
    return Pipelining(session) if broker.is_urgent_low and not repeats(session.channel) else OneByOne(session)


def _first(waiting: Sequence[Attempt], limit: int) -> list[Attempt]:
    """Return the first of the messages that wait: as many as go into one batch."""
    part: list[Attempt] = []
    room = BATCH_BYTES
    for attempt in waiting[:limit]:
        room -= _size(attempt.parcel)
        if part and (attempt.parcel.alone or part[0].parcel.alone or room < 0):
            break
        part.append(attempt)
    return part


def _size(parcel: Parcel) -> int:
    message = parcel.message
    copies = max(1, len(parcel.destination.queues))
    return copies * (len(message.args) + len(message.kwargs) + ENVELOPE_BYTES)


def _declared(
    session: Session, part: Sequence[Attempt], refusals: dict[Destination, QueueUnavailable]
) -> list[Attempt]:
    """Return the messages whose destination exists; the others fail. Raises BrokerUnavailable."""
    try:
        for destination in dict.fromkeys(attempt.parcel.destination for attempt in part):
            if destination not in refusals:
                try:
                    session.declare(destination)
                except QueueUnavailable as error:
                    refusals[destination] = error
    finally:
        for attempt in part if refusals else ():
            attempt.answer = refusals.get(attempt.parcel.destination, attempt.answer)
    return [attempt for attempt in part if attempt.is_open]
