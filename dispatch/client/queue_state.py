"""What a broker holds of a queue: its messages, its consumers, and where it differs from the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import kombu
from amqp.exceptions import AccessRefused, NotFound, PreconditionFailed
from kombu.exceptions import OperationalError

from dispatch.client import celery_apps, kombu_topology
from dispatch.client.background_calls import within_timeout
from dispatch.client.broker_errors import sentence
from dispatch.conf import Broker
from dispatch.core.redaction import redact
from dispatch.core.routing import Queue, RoutingTable
from dispatch.exceptions import BrokerUnavailable, PublishError, QueueUnavailable

P = ParamSpec("P")
R = TypeVar("R")
LASTING = "A queue cannot be changed on the broker."
REMEDY = (
    "Correct the registry; or empty the queue, then `manage.py dispatch queues delete {name}` and "
    "`manage.py dispatch queues declare {name}`."
)


@dataclass(frozen=True, slots=True)
class Link:
    """An open connection to one broker, to be asked and told about its queues."""

    broker: Broker
    connection: kombu.Connection

    @property
    def has_exchanges(self) -> bool:
        """Tell whether the broker is an AMQP one."""
        return self.broker.has_exchanges

    @property
    def kind(self) -> str:
        """The broker's kind, as kombu names it: amqp, redis, filesystem…"""
        return str(self.connection.transport.driver_type)

    def channel(self) -> Any:
        """Return a new channel, a context manager: one per question, since a refusal closes it (kombu types none)."""
        return self.connection.channel()


@dataclass(frozen=True, slots=True)
class State:
    """A queue as its broker has it; ``consumers`` is None where the broker does not count them.

    ``drift`` says in a sentence how the broker's queue, or an exchange it is bound to, differs from the registry's.
    """

    ready: int
    consumers: int | None = None
    exists: bool = True
    drift: str = ""


@contextmanager
def opened(broker: Broker) -> Iterator[Link]:
    """Yield an open link, every call over which is bounded by ``BROKER_TIMEOUT``.

    Raises BrokerUnavailable.
    """
    connection = celery_apps.connection(broker)
    key = ("link", broker.alias, broker.url)
    try:
        within_timeout(key, lambda: celery_apps.open_up(connection), discard=lambda _: connection.release())
    except Exception as error:  # noqa: BLE001 - drivers raise their own kinds; each means "not reached"
        raise BrokerUnavailable(sentence(f"Broker {broker.alias!r} cannot be reached", error)) from None
    try:
        yield Link(broker, connection)
    finally:
        with suppress(Exception):  # it may be broken already
            connection.release()


@contextmanager
def _translated(link: Link) -> Iterator[None]:
    where = f"Broker {link.broker.alias!r}"
    try:
        yield
    except PublishError:
        raise
    except link.connection.channel_errors as error:
        raise QueueUnavailable(sentence(f"{where} refuses", error)) from None
    except _lost(link) as error:
        raise BrokerUnavailable(sentence(f"{where} was lost", error)) from None
    except Exception as error:  # noqa: BLE001 - drivers raise their own kinds, for a URL or an option even here
        raise BrokerUnavailable(sentence(f"{where} cannot be asked", error)) from None


def _lost(link: Link) -> tuple[type[Exception], ...]:
    return (*link.connection.connection_errors, OperationalError, OSError)


def guarded(
    function: Callable[Concatenate[Link, P], R],
) -> Callable[Concatenate[Link, P], R]:
    """Let a function over a link raise BrokerUnavailable and QueueUnavailable in place of a driver's own errors."""

    @wraps(function)
    def call(link: Link, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with _translated(link):
            return function(link, *args, **kwargs)

    return call


@guarded
def state(link: Link, table: RoutingTable, queue: Queue) -> State:
    """Return what the broker holds of a queue; nothing is created by asking."""
    found = counted(link, queue.name)
    if not link.has_exchanges or not found.exists:
        return found
    return State(found.ready, found.consumers, drift=_drift(link, table, queue))


@guarded
def counted(link: Link, name: str) -> State:
    """Return messages and consumers of a queue, which the registry may not know."""
    with link.channel() as channel:
        if not link.has_exchanges:
            # not by a passive declaration: kombu's looks for Redis keys without the global_keyprefix
            return State(channel._size(name))
        try:
            answer = channel.queue_declare(name, passive=True)
        except NotFound:
            return State(0, 0, exists=False)
        return State(answer.message_count, answer.consumer_count)


def _drift(link: Link, table: RoutingTable, queue: Queue) -> str:
    """Ask by declaring what exists already: the broker then compares, and changes nothing."""
    entities = kombu_topology.declarable(table, queue)
    remedy = f"{LASTING} {REMEDY.format(name=queue.name)}"
    for entity in entities if queue.bindings else ():
        if complaint := _exchange_drift(link, entity.exchange, queue.name):
            return complaint
    with link.channel() as channel:
        try:
            entities[0].bind(channel).queue_declare()
        except PreconditionFailed as error:
            return f"{redact(str(error.reply_text))}. {remedy}"
        except AccessRefused:
            return ""  # who may not declare cannot have it compared
    return ""


def _exchange_drift(link: Link, exchange: kombu.Exchange, queue: str) -> str:
    try:
        with link.channel() as channel:
            exchange.bind(channel).declare(passive=True)
            exchange.bind(channel).declare()
    except NotFound:
        return f"Exchange {exchange.name!r} is not on the broker. Run `manage.py dispatch queues declare {queue}`."
    except AccessRefused:
        return ""
    except PreconditionFailed as error:
        return (
            f"{redact(str(error.reply_text))}. An exchange cannot be changed on the broker. Correct the registry; or "
            f"delete it (`celery amqp exchange.delete {exchange.name}`) and run "
            f"`manage.py dispatch queues declare {queue}`."
        )
    return ""
