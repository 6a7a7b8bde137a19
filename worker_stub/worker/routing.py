"""Reads routing.json: the queues that this worker declares, and where its own messages go.

The file is written by the web project (`manage.py dispatch routes export`); nobody edits it by hand, which
its checksum makes sure of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from celery_manifest import checksum
from kombu import Exchange, Queue, binding
from kombu.common import Broadcast
from pydantic import BaseModel, Field, ValidationError, model_validator

#: Seconds after which a broker may forget a worker's own queue that nobody consumes: the worker was killed,
#: or did not come back after a restart of the broker.
OWN_QUEUE_EXPIRES = 60
REMEDY = "Export it again with `manage.py dispatch routes export FILE` and set ROUTING_FILE to that FILE."


class RoutingError(ValueError):
    """The routing file is missing, damaged or contradicts itself."""


@dataclass(frozen=True)
class Router:
    """Says where a message of this worker goes: one of Celery's `task_routes`."""

    routes: Mapping[str, Mapping[str, str]]
    exchanges: Mapping[str, Exchange]

    def __call__(
        self, name: str, args: Any, kwargs: Any, options: Mapping[str, Any], task: Any = None
    ) -> dict[str, Any] | None:
        """Return the destination of a task by name, None where the queue is already chosen.

        It is chosen when a task retries that was sent straight to a queue. Celery would merge the exchange of
        the route into that, and send the retry to every queue bound there.
        """
        if options.get("queue"):
            return None
        route = dict(self.routes.get(name, {}))
        exchange = self.exchanges.get(options.get("exchange") or route.get("exchange", ""))
        if exchange is None:
            return route
        # A broker without exchanges (Redis) leaves their types to each process: one that has not declared a
        # topic exchange takes it for a direct one, finds no queue and drops the message without an error.
        # Celery likewise takes an exchange for a direct one if it gets no routing key with it, and no type.
        return route | {"declare": [exchange], "exchange_type": exchange.type}


@dataclass(frozen=True)
class Routing:
    """What the routing file says, in the terms of Celery and kombu.

    `broadcasts` are queues of this process alone, one for each exchange that is one: see `worker.broadcasts`.
    """

    default_queue: str
    queues: tuple[Queue, ...]
    router: Router
    broadcasts: tuple[Broadcast, ...] = ()


class ExchangeEntry(BaseModel):
    name: str = Field(min_length=1)
    broker: str = "default"
    type: Literal["direct", "topic", "fanout", "headers"] = "direct"
    durable: bool = True
    arguments: dict[str, Any] = {}
    broadcast: bool = True


class BindingEntry(BaseModel):
    exchange: str = Field(min_length=1)
    routing_key: str = ""
    arguments: dict[str, Any] = {}


class QueueEntry(BaseModel):
    name: str = Field(min_length=1)
    broker: str = "default"
    durable: bool = True
    arguments: dict[str, Any] = {}
    bindings: list[BindingEntry] = []


class RouteEntry(BaseModel):
    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None


class Document(BaseModel):
    routing: Literal[1]
    default_queue: str
    exchanges: list[ExchangeEntry] = []
    queues: list[QueueEntry]
    tasks: dict[str, RouteEntry] = {}

    def kombu_exchanges(self) -> dict[str, Exchange]:
        """Return the exchanges by name: those listed, and the own one of each queue without bindings."""
        implied = {queue.name: ExchangeEntry(name=queue.name) for queue in self.queues if not queue.bindings}
        listed = {entry.name: entry for entry in self.exchanges}
        return {name: _exchange(entry) for name, entry in (implied | listed).items()}

    @model_validator(mode="after")
    def names_only_what_it_lists(self) -> Document:
        queues = {queue.name for queue in self.queues}
        exchanges = self.kombu_exchanges().keys()
        _require(self.default_queue, queues, "default_queue names the queue")
        for queue in self.queues:
            for entry in queue.bindings:
                _require(
                    entry.exchange, exchanges, f"a binding of the queue {queue.name!r} names the exchange"
                )
        for task, route in self.tasks.items():
            if route.queue:
                _require(route.queue, queues, f"the route of {task} names the queue")
            if route.exchange:
                _require(route.exchange, exchanges, f"the route of {task} names the exchange")
        return self


def _require(name: str, known: Set[str], where: str) -> None:
    if name not in known:
        raise ValueError(f"{where} {name!r}, which the file does not list")


def load(path: Path, broker: str = "default", *, has_exchanges: bool = True) -> Routing:
    """Read a routing file and keep the queues of one broker alias.

    `has_exchanges` says whether that broker routes by itself (AMQP), or kombu imitates it (Redis and others).
    Raises RoutingError, which names the cause and the remedy.
    """
    try:
        document = _checked(_read(path))
        exchanges = document.kombu_exchanges()
        queues = tuple(
            _queue(entry, exchanges, has_exchanges) for entry in document.queues if entry.broker == broker
        )
        if not queues:
            raise RoutingError(f"no queue belongs to the broker {broker!r} (BROKER_ALIAS)")
    except RoutingError as error:
        raise RoutingError(f"The routing file {str(path)!r} cannot be used: {error}. {REMEDY}") from None
    routes = {name: route.model_dump(exclude_none=True) for name, route in document.tasks.items()}
    broadcasts = tuple(
        _own_queue(exchanges[entry.name], has_exchanges)
        for entry in document.exchanges
        if entry.type == "fanout" and entry.broadcast and entry.broker == broker
    )
    return Routing(document.default_queue, queues, Router(routes, exchanges), broadcasts)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise RoutingError(f"it cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise RoutingError(f"it is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise RoutingError("it is not a JSON object")
    return content


def _checked(content: Mapping[str, Any]) -> Document:
    try:
        document = Document.model_validate(content)
        expected = checksum(content)
    except ValidationError as error:
        raise RoutingError(_first(error)) from None
    except UnicodeEncodeError:
        raise RoutingError("it holds a lone surrogate, which is no text") from None
    if content.get("checksum") != expected:
        raise RoutingError(f"its checksum is {content.get('checksum')!r}, its content gives {expected!r}")
    return document


def _first(error: ValidationError) -> str:
    detail = error.errors(include_url=False)[0]
    where = "/".join(str(part) for part in detail["loc"])
    return f"at {where}: {detail['msg']}" if where else detail["msg"]


def _exchange(entry: ExchangeEntry) -> Exchange:
    return Exchange(entry.name, type=entry.type, durable=entry.durable, arguments=entry.arguments or None)


def _queue(entry: QueueEntry, exchanges: Mapping[str, Exchange], has_exchanges: bool) -> Queue:
    options: dict[str, Any] = {"durable": entry.durable, "queue_arguments": entry.arguments or None}
    # What is bound to a fanout exchange on Redis listens to a channel, and its own list is read no more. The
    # web project puts such messages into that list itself.
    used = [item for item in entry.bindings if has_exchanges or exchanges[item.exchange].type != "fanout"]
    if used:
        return Queue(entry.name, bindings=[_binding(item, exchanges) for item in used], **options)
    if entry.bindings:
        return Queue(entry.name, routing_key=entry.name, **options)
    # As Celery does for a queue that says nothing: the exchange of the same name.
    return Queue(entry.name, exchanges[entry.name], routing_key=entry.name, **options)


def _own_queue(exchange: Exchange, has_exchanges: bool) -> Broadcast:
    """Return a queue of a random name, which goes with its consumer.

    On Redis nothing is acknowledged: kombu would give back what a worker left undone to the lists of all such
    queues, which nobody reads.
    """
    return Broadcast(exchange=exchange, expires=OWN_QUEUE_EXPIRES, no_ack=not has_exchanges)


def _binding(entry: BindingEntry, exchanges: Mapping[str, Exchange]) -> binding:
    return binding(exchanges[entry.exchange], entry.routing_key, arguments=entry.arguments or None)
