"""Hands messages to one broker: Celery protocol 2, one private connection, every call bounded in time.

A message goes through the public ``Producer.publish`` of kombu with ``retry=False``. Celery's
``before_task_publish`` and ``after_task_publish`` are not sent: they belong to the process that calls Celery,
and a relay is another one.
"""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import redis
from amqp.exceptions import MessageNacked
from kombu import Connection, Exchange, Producer
from kombu.exceptions import KombuError

from dispatch.client import app, encoding, topology
from dispatch.conf import Broker, conf
from dispatch.core.message import Message
from dispatch.core.routing import Destination, RoutingTable
from dispatch.core.wording import redact
from dispatch.exceptions import (
    BrokerUnavailable,
    DeliveryUnknown,
    MessageRefused,
    PublishError,
    QueueUnavailable,
)

#: Redis takes nothing from anyone just now: no reason for a message to die.
REFUSES_ALL = (
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.NoPermissionError,
)
REFUSING_STATES = ("MISCONF", "NOREPLICAS", "CLUSTERDOWN", "LOADING", "READONLY", "OOM")
PERSISTENT = 2  # AMQP's delivery mode


@dataclass(slots=True)
class Session:
    """One open connection, its producer, and the queues that were declared over it."""

    connection: Connection
    channel: Any
    producer: Producer
    table: RoutingTable | None = None
    declared: set[tuple[str, str]] = field(default_factory=set)

    @property
    def lost(self) -> tuple[type[Exception], ...]:
        """The errors that mean the connection is gone."""
        errors = (*self.connection.connection_errors, OSError)
        # kombu counts KeyError among Redis's: it may as well be a codec that is not installed
        return tuple(error for error in errors if not issubclass(KeyError, error))

    @property
    def refused(self) -> tuple[type[Exception], ...]:
        """The errors by which the broker refuses one request."""
        return (*self.connection.channel_errors, KombuError)

    def close(self) -> None:
        """Let go of the connection, whatever its state."""
        with suppress(Exception):  # it is broken already, and there is nothing left to tell
            self.connection.release()


class Publisher:
    """Publishes to one broker. Not thread-safe: each relay has its own."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._session: Session | None = None

    def publish(self, message: Message, destination: Destination, table: RoutingTable) -> None:
        """Hand the message over, and return when the broker has it.

        Raises BrokerUnavailable (nothing was handed over), QueueUnavailable (the queue cannot be declared, or is
        full), DeliveryUnknown (the connection broke meanwhile) and MessageRefused.
        """
        session = self._session = self._session or self._connect()
        try:
            self._declare(session, table, destination)
            self._send(session, message, destination)
        except PublishError:
            self.close()  # after an error the channel may be closed, or an answer still on its way
            raise

    def close(self) -> None:
        """Close the connection; the next publish opens a new one."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _connect(self) -> Session:
        connection = app.connection(self.broker)  # raises BrokerUnavailable too
        try:
            # once per host of the URL, without kombu's pauses of two seconds: the relay does the waiting
            connection.ensure_connection(max_retries=max(len(connection.alt) - 1, 0), interval_start=0)
            channel = connection.channel()
            return Session(connection, channel, Producer(channel, auto_declare=False))
        except Exception as error:  # noqa: BLE001 - drivers raise their own kinds; each means "not reached"
            with suppress(Exception):
                connection.release()
            raise BrokerUnavailable(
                _sentence(f"Broker {self.broker.alias!r} cannot be reached", error)
            ) from None

    def _declare(self, session: Session, table: RoutingTable, destination: Destination) -> None:
        if session.table is not table:  # a binding may be new on a queue that was declared before
            session.table, session.declared = table, set()
        wanted = {("queue", name) for name in destination.queues}
        wanted |= {("exchange", destination.exchange)} if destination.exchange else set()
        missing = wanted - session.declared
        if not missing or not topology.has_exchanges(session.connection):
            return
        alias, names = self.broker.alias, ", ".join(" ".join(entity) for entity in sorted(missing))
        try:
            for entity in topology.entities(table, destination):
                entity.bind(session.channel).declare()
        except session.lost as error:
            raise BrokerUnavailable(_sentence(f"Broker {alias!r} was lost", error)) from None
        except Exception as error:  # noqa: BLE001 - amqp's channel errors have no base in common with kombu's
            what = f"Broker {alias!r} does not accept {names} as the registry has it"
            raise QueueUnavailable(_sentence(what, error)) from None
        session.declared |= missing

    def _send(self, session: Session, message: Message, destination: Destination) -> None:
        alias, where = self.broker.alias, destination.queue or destination.exchange
        try:
            self._publish(session, message, destination)
        except MessageNacked:
            raise QueueUnavailable(
                f"Broker {alias!r} takes no more messages for {where!r}: is it full?"
            ) from None
        except REFUSES_ALL as error:
            raise BrokerUnavailable(_sentence(f"Broker {alias!r} takes no messages", error)) from None
        except redis.ResponseError as error:
            kind = BrokerUnavailable if str(error).startswith(REFUSING_STATES) else MessageRefused
            raise kind(_sentence(f"Broker {alias!r} refused the message for {where!r}", error)) from None
        except session.lost as error:
            raise DeliveryUnknown(
                _sentence(f"Broker {alias!r} was lost while it took the message", error)
            ) from None
        except session.refused as error:
            raise MessageRefused(
                _sentence(f"Broker {alias!r} refused the message for {where!r}", error)
            ) from None
        except MessageRefused:
            raise
        except Exception as error:  # noqa: BLE001 - what cannot be encoded must end on its row, not in the relay
            raise MessageRefused(_sentence("The message cannot be encoded", error)) from None

    def _publish(self, session: Session, message: Message, destination: Destination) -> None:
        headers, properties = _headers(app.sender(self.broker.alias, self.broker.url), message)
        body, written = encoding.body(message, self._serializer(message))
        options: dict[str, Any] = {
            **properties,
            **written,
            "headers": headers,
            "compression": message.compression or self.broker.compression,
            "retry": False,
            "expiration": _seconds_left(message.expires),
            "delivery_mode": message.delivery_mode or PERSISTENT,
        }
        priority = topology.broker_priority(session.connection, destination.priority)
        if priority is not None:
            options["priority"] = priority
        if topology.has_exchanges(session.connection):
            options["mandatory"] = not destination.is_broadcast  # its receivers come and go
        elif destination.is_broadcast:
            options["declare"] = [Exchange(destination.exchange, "fanout")]
        default_key = session.table.default.queue if session.table else None
        for exchange, routing_key in topology.addresses(session.connection, destination, default_key):
            session.producer.publish(body, exchange=exchange, routing_key=routing_key, **options)

    def _serializer(self, message: Message) -> str:
        serializer = message.serializer or self.broker.serializer
        if serializer not in conf.SERIALIZERS:
            raise MessageRefused(f'Serializer {serializer!r} is not one of DISPATCH["SERIALIZERS"].')
        return serializer


def _headers(celery: Any, message: Message) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return headers and properties of a message of protocol 2, as Celery writes them."""
    headers, properties, _, _ = celery.amqp.as_task_v2(
        message.task_id,
        message.task,
        eta=message.eta,
        expires=message.expires,
        reply_to=message.reply_to,
        time_limit=message.time_limit,
        soft_time_limit=message.soft_time_limit,
        shadow=message.shadow,
        ignore_result=message.ignore_result,
        argsrepr=message.args_repr,
        kwargsrepr=message.kwargs_repr,
        stamped_headers=list(message.stamps) or None,
        **message.stamps,
    )
    headers.update(message.headers)
    return headers, properties


def _seconds_left(expires: dt.datetime | None) -> float | None:
    if expires is None:
        return None
    return max(0.0, (expires - dt.datetime.now(dt.UTC)).total_seconds())


def _sentence(what: str, error: BaseException) -> str:
    return f"{what}: {redact(str(error)) or type(error).__name__}"
