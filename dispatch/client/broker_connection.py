"""One open connection to a broker: its channels, and what was declared over it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import kombu
from amqp.exceptions import AccessRefused, NotFound
from kombu import Connection, Exchange, Producer

from dispatch.client import celery_apps, kombu_topology
from dispatch.client.broker_errors import BrokerErrors, sentence
from dispatch.client.message_protocol import Envelope, Envelopes, own_headers, seconds_left
from dispatch.conf import Broker, conf
from dispatch.core.message import Message
from dispatch.core.routing import Destination, RoutingTable
from dispatch.exceptions import (
    BrokerUnavailable,
    PublishError,
    QueueUnavailable,
)

#: The most messages that are handed over before an answer is waited for.
BATCH_SIZE = 500
MAY_NOT_DECLARE = (
    ". It is not there, and this account may not declare it: run `manage.py dispatch queues declare` with one that has "
    "the permission to configure."
)


class Fate(Enum):
    """What became of a message that did not fail."""

    TAKEN = "the broker has it"
    UNTRIED = "nothing was tried"


class Parcel(NamedTuple):
    """A message and where it goes; ``alone`` if it must not share a batch with others."""

    message: Message
    destination: Destination
    alone: bool = False

    @property
    def where(self) -> str:
        """The queue or the exchange, for texts."""
        return self.destination.queue or self.destination.exchange


@dataclass(slots=True, eq=False)
class Attempt:
    """One parcel in hand, and what became of it so far."""

    parcel: Parcel
    answer: Fate | PublishError = Fate.UNTRIED

    @property
    def is_open(self) -> bool:
        """Whether nothing has become of it yet."""
        return self.answer is Fate.UNTRIED

    def fail(self, error: PublishError) -> None:
        """Note a failure, unless its fate is known."""
        if self.is_open:
            self.answer = error


@dataclass(slots=True)
class Session:
    """One open connection, its producer, and the queues that were declared over it.

    ``channel`` publishes; ``declaring`` declares, since a broker that refuses a declaration closes its channel.
    ``is_over`` once nothing more may go over it; ``is_lost`` if the broker itself is gone.
    """

    broker: Broker
    connection: Connection
    channel: Any
    declaring: Any
    producer: Producer
    envelopes: Envelopes
    table: RoutingTable | None = None
    declared: set[tuple[str, str]] = field(default_factory=set)
    is_over: bool = False
    is_lost: bool = False

    @property
    def errors(self) -> BrokerErrors:
        """What errors on this connection mean."""
        return BrokerErrors(self.broker.alias, self.connection)

    def close(self) -> None:
        """Let go of the connection, whatever its state."""
        with suppress(Exception):  # it is broken already, and there is nothing left to tell
            self.connection.release()

    def follow(self, table: RoutingTable) -> None:
        """Declare by this table from now on: a binding may be new on a queue that was declared before."""
        if self.table is not table:
            self.table, self.declared = table, set()

    def declare(self, destination: Destination) -> None:
        """Make sure that a destination exists. Raises QueueUnavailable, and BrokerUnavailable."""
        wanted = {("queue", name) for name in destination.queues}
        wanted |= {("exchange", destination.exchange)} if destination.exchange else set()
        missing = wanted - self.declared
        if not missing or self.table is None or not self.broker.has_exchanges:
            return
        try:
            for entity in kombu_topology.entities(self.table, destination):
                self._declare(entity)
        except self.errors.lost as error:
            raise self.errors.unavailable("was lost", error) from None
        except Exception as error:  # noqa: BLE001 - amqp's channel errors have no base in common with kombu's
            names = ", ".join(" ".join(entity) for entity in sorted(missing))
            what = f"Broker {self.broker.alias!r} does not accept {names} as the registry has it"
            remedy = MAY_NOT_DECLARE if isinstance(error, AccessRefused) else ""
            raise QueueUnavailable(sentence(what, error) + remedy) from None
        self.declared |= missing

    def _declare(self, entity: kombu.Queue | Exchange) -> None:
        """Declare a queue or an exchange; where the account may not, what is there must do, as it is."""
        bound = entity.bind(self.declaring)
        try:
            bound.declare()
        except AccessRefused as refusal:
            ask = bound.queue_declare if isinstance(bound, kombu.Queue) else bound.declare
            try:
                ask(passive=True)
            except NotFound:
                raise refusal from None

    def put(self, parcel: Parcel) -> None:
        """Let kombu's producer publish a parcel."""
        message = parcel.message
        envelope = self.envelopes.of(message)
        self.publish(
            parcel.destination, envelope, envelope.body(message), own_headers(message), seconds_left(message)
        )

    def publish(
        self,
        destination: Destination,
        envelope: Envelope,
        body: bytes,
        own: Mapping[str, Any],
        expiration: float | None,
    ) -> None:
        """Let kombu's producer publish a body with the headers that are its ``own``."""
        options: dict[str, Any] = {
            **envelope.properties,
            "content_type": envelope.content_type,
            "content_encoding": envelope.content_encoding,
            "headers": {**envelope.headers, **own},
            "correlation_id": own["id"],
            "expiration": expiration,
            "retry": False,
        }
        priority = kombu_topology.number_on(self.broker, destination.priority)
        if priority is not None:
            options["priority"] = priority
        if destination.is_broadcast:
            options["declare"] = [Exchange(destination.exchange, "fanout")]
        default_key = self.table.default.queue if self.table else None
        for exchange, routing_key in kombu_topology.addresses(self.broker, destination, default_key):
            self.producer.publish(body, exchange=exchange, routing_key=routing_key, **options)

    def end(self, attempts: list[Attempt], error: Exception) -> None:
        """Nothing more will be heard of these messages, which were handed over.

        The broker may mean any one of several; of one alone the fate is known.
        """
        self.is_over = True
        self.is_lost = self.errors.is_loss(error)
        for attempt in attempts:
            where = attempt.parcel.where
            attempt.answer = (
                self.errors.judge(error, where) if len(attempts) == 1 else self.errors.unknown(error)
            )


def connect(broker: Broker) -> Session:
    """Open a session. Raises BrokerUnavailable."""
    connection = celery_apps.connection(broker)  # raises BrokerUnavailable too
    if broker.has_exchanges:  # py-amqp would wait for each confirmation by itself
        connection.transport_options = {**(connection.transport_options or {}), "confirm_publish": False}
    try:
        celery_apps.open_up(connection)
        if broker.has_exchanges:
            _bound(connection.connection)
        channel = connection.channel()
        declaring = connection.channel() if broker.has_exchanges else channel
        producer = Producer(channel, auto_declare=False)
        return Session(broker, connection, channel, declaring, producer, Envelopes(broker))
    except Exception as error:  # noqa: BLE001 - drivers raise their own kinds; each means "not reached"
        with suppress(Exception):
            connection.release()
        raise BrokerUnavailable(sentence(f"Broker {broker.alias!r} cannot be reached", error)) from None


def _bound(connection: Any) -> None:
    """Give each read and write of py-amqp an end: its own timeouts do not hold in the middle of a frame.

    Nor does it look for news before each publish, which would read on for ever there: answers are read afterwards.
    """
    connection.transport.sock.settimeout(conf.BROKER_TIMEOUT)
    connection.client_properties.setdefault("capabilities", {})["connection.blocked"] = False
