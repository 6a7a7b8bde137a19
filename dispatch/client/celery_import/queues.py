"""The queues, exchanges and bindings that a Celery app declares."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import kombu
from celery import Celery
from kombu.common import Broadcast
from kombu.transport.base import (  # type: ignore[attr-defined]  # left out of the stubs
    RABBITMQ_QUEUE_ARGUMENTS,
    to_rabbitmq_queue_arguments,
)

from dispatch.client.celery_import.unsupported import Leftovers, told
from dispatch.conf import Broker
from dispatch.core.binding_match import key_matches
from dispatch.core.json_values import plain
from dispatch.core.message import represent
from dispatch.core.priority_order import number_on_redis
from dispatch.core.routing import HIGHEST_PRIORITY
from dispatch.exceptions import ConfigurationError, InvalidArguments

TYPES = ("direct", "topic", "fanout", "headers")
QUORUM = "quorum"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: Attributes of a kombu queue or exchange that rows do not have.
UNKNOWN_OF_QUEUE = ("exclusive", "auto_delete", "no_ack", "no_declare", "consumer_arguments", "alias")
UNKNOWN_OF_EXCHANGE = ("auto_delete", "passive", "no_declare", "delivery_mode")

Bound = tuple[str, str, dict[str, Any]]


class Topology:
    """What ``app.amqp.queues`` holds, and what routes add to it."""

    def __init__(self, app: Celery, broker: Broker, leftovers: Leftovers) -> None:
        self.broker = broker
        self.leftovers = leftovers
        self.queues = _declared(app)
        self.default_exchange: kombu.Exchange = app.amqp.default_exchange
        self.default_routing_key: str = app.conf.task_default_routing_key
        self.default_priority = self.priority(app.conf.task_default_priority, "setting task_default_priority")
        self.exchanges: dict[str, kombu.Exchange] = {}
        for queue in self.queues.values():
            self._know(queue)
        self.default_queue = self._default(app.conf.task_default_queue)

    def queue(self, queue: Any) -> kombu.Queue | None:
        """Return a queue that a route names, created as Celery would; None where Celery would refuse."""
        if not isinstance(queue, kombu.Queue):
            if not isinstance(queue, str):
                raise ConfigurationError(f"a queue is given by its name, not as {represent(queue)[:80]}")
            try:
                queue = self.queues[queue]
            except KeyError:
                return None
        elif queue.name not in self.queues:
            # as it is: Celery completes only those of task_queues
            dict.__setitem__(self.queues, queue.name, queue)
        self._know(queue)
        found: kombu.Queue = queue
        return found

    def exchange(self, exchange: Any, type_: str | None) -> str:
        """Return the name of an exchange that a route names, and know it from now on."""
        if not isinstance(exchange, kombu.Exchange):
            exchange = kombu.Exchange(str(exchange), type=type_ or self.type_of(str(exchange)))
        self._know_exchange(exchange)
        return str(exchange.name)

    def type_of(self, exchange: str) -> str:
        """Return the type an exchange is declared with, direct where nothing is known."""
        known = self.exchanges.get(exchange)
        return str(known.type) if known else "direct"

    def is_reached(self, exchange: str, routing_key: str) -> bool:
        """Tell whether any queue is bound to the exchange with a key that matches; each worker binds to a broadcast."""
        type_ = self.type_of(exchange)
        return type_ == "fanout" or any(
            name == exchange and key_matches(type_, key, routing_key)
            for queue in self.queues.values()
            for name, key, _ in _bindings(queue)
        )

    def priority(self, value: Any, whose: str) -> int | None:
        """Return Celery's number as one of the registry's, the more urgent the higher on every broker."""
        if value is None:
            return None
        try:
            number = max(0, min(int(value), HIGHEST_PRIORITY))
        except (TypeError, ValueError):
            raise ConfigurationError(
                f"{whose}: a priority is a number, not {represent(value)[:80]}"
            ) from None
        if self.broker.is_urgent_low:  # where kombu cuts by itself
            return number_on_redis(number)
        if number != int(value):
            self.leftovers.note(f"{whose}: priority {value} becomes {number}, AMQP's go from 0 to 255.")
        return number

    def rows(self, used: set[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the rows of queues and of exchanges; ``used`` are the exchanges that routes publish to."""
        needed = set(used)
        queues = []
        for queue in self._brought(needed):
            with self.leftovers.unless_read(f"queue {queue.name!r} cannot be read"):
                queues.append(self._row(queue, needed))
        exchanges = [
            self._exchange_row(self.exchanges[name]) for name in sorted(needed & self.exchanges.keys())
        ]
        return sorted(queues, key=lambda row: str(row["name"])), exchanges

    def _default(self, name: str) -> kombu.Queue | None:
        queue = self.queue(name)
        if queue is None:
            self.leftovers.add(
                f"setting task_default_queue: {name!r} is not in task_queues, and Celery refuses it too: mark another "
                f"queue as default."
            )
        return queue

    def _know(self, queue: kombu.Queue) -> None:
        for exchange in [queue.exchange, *(binding.exchange for binding in queue.bindings)]:
            if exchange is not None and exchange.name:
                self._know_exchange(exchange)

    def _know_exchange(self, exchange: kombu.Exchange) -> None:
        known = self.exchanges.setdefault(exchange.name, exchange)
        if known.type != exchange.type:
            self.leftovers.note(
                f"exchange {exchange.name!r} is declared as {known.type} and as {exchange.type}: it is brought as "
                f"{known.type}; no broker takes both."
            )

    def _brought(self, needed: set[str]) -> Iterator[kombu.Queue]:
        for queue in self.queues.values():
            if is_each_workers_own(queue):
                needed.add(queue.exchange.name)
            elif queue.name:
                yield queue
            else:
                self.leftovers.add("a queue without a name: the broker names it, so nobody can send to it.")

    def _row(self, queue: kombu.Queue, needed: set[str]) -> dict[str, Any]:
        whose = f"queue {queue.name!r}"
        self._tell_unknown(queue, UNKNOWN_OF_QUEUE, whose)
        arguments = self._arguments(queue, whose)
        is_quorum = arguments.get("x-queue-type") == QUORUM
        queue_type = arguments.pop("x-queue-type") if is_quorum else "classic"
        given = {} if self.default_priority is None else {"default_priority": self.default_priority}
        return {
            "name": queue.name,
            "broker": self.broker.alias,
            "durable": bool(queue.durable),
            "queue_type": queue_type,
            "max_priority": self._max_priority(arguments, queue_type, whose),
            "arguments": arguments,
            "is_default": queue is self.default_queue,
            **given,
            "bindings": self._binding_rows(queue, needed),
        }

    def _arguments(self, queue: kombu.Queue, whose: str) -> dict[str, Any]:
        options = {name: getattr(queue, name) for name in RABBITMQ_QUEUE_ARGUMENTS}
        arguments = to_rabbitmq_queue_arguments(dict(queue.queue_arguments or {}), **options)
        return self._plain(arguments, whose)

    def _plain(self, arguments: Any, whose: str) -> dict[str, Any]:
        found = {}
        for name, value in dict(arguments or {}).items():
            try:
                found[str(name)] = plain(value)
            except InvalidArguments as error:
                self.leftovers.add(f"{whose}: argument {name} is no JSON: {error}")
            else:
                self._keep_type(found, str(name), value, whose)
        return found

    def _keep_type(self, found: dict[str, Any], name: str, value: Any, whose: str) -> None:
        """AMQP's arguments have types: none goes as the text that JSON makes of it, a whole Decimal as a number."""
        if isinstance(value, Decimal) and value == value.to_integral_value():
            found[name] = int(value)
        elif not _is_json(value):
            del found[name]
            self.leftovers.add(f"{whose}: argument {name} is a {type(value).__name__}, which is no JSON.")

    def _max_priority(self, arguments: dict[str, Any], queue_type: str, whose: str) -> int | None:
        """Take the highest priority out of the arguments, where the column can hold it."""
        highest = arguments.get("x-max-priority")
        if queue_type == QUORUM and highest is not None:
            del arguments["x-max-priority"]
            self.leftovers.add(f"{whose}: x-max-priority is left out, RabbitMQ refuses it on a quorum queue.")
            return None
        if isinstance(highest, int) and 0 <= highest <= HIGHEST_PRIORITY:
            return int(arguments.pop("x-max-priority"))
        if highest is not None:
            self.leftovers.note(f"{whose} keeps x-max-priority {highest}, but priorities go from 0 to 255.")
        return None

    def _binding_rows(self, queue: kombu.Queue, needed: set[str]) -> list[dict[str, Any]]:
        found = list(_bindings(queue))
        if self._is_implied(queue, found, needed):
            return []
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for exchange, key, given in found:
            whose = f"queue {queue.name!r}, binding to {exchange!r} ({key})"
            if (type_ := self.type_of(exchange)) not in TYPES:
                self.leftovers.add(f"{whose}: the registry knows no exchanges of type {type_!r}.")
                continue
            arguments = self._plain(given, whose)
            needed.add(exchange)
            row = rows.setdefault(
                (exchange, key), {"exchange": exchange, "routing_key": key, "arguments": arguments}
            )
            if row["arguments"] != arguments:
                self.leftovers.add(
                    f"{whose} with {arguments}: there is one with the same key and other arguments."
                )
        return [rows[key] for key in sorted(rows)]

    def _is_implied(self, queue: kombu.Queue, found: list[Bound], needed: set[str]) -> bool:
        """A queue whose one binding is its own, as Celery makes it, needs no row for that: nor does its exchange."""
        if found != [(queue.name, queue.name, {})] or queue.name in needed:
            return False
        exchange = self.exchanges[queue.name]
        shared = any(
            bound[0] == queue.name
            for other in self.queues.values()
            if other is not queue
            for bound in _bindings(other)
        )
        return exchange.type == "direct" and bool(exchange.durable) and not exchange.arguments and not shared

    def _exchange_row(self, exchange: kombu.Exchange) -> dict[str, Any]:
        whose = f"exchange {exchange.name!r}"
        self._tell_unknown(exchange, UNKNOWN_OF_EXCHANGE, whose)
        return {
            "name": exchange.name,
            "broker": self.broker.alias,
            "type": exchange.type,
            "durable": bool(exchange.durable),
            "arguments": self._plain(exchange.arguments, whose),
            **self._hearers(exchange),
        }

    def _hearers(self, exchange: kombu.Exchange) -> dict[str, bool]:
        """A fanout exchange with named queues is heard by those alone, unless there is a broadcast too."""
        bound = [
            queue
            for queue in self.queues.values()
            if exchange.type == "fanout" and any(name == exchange.name for name, *_ in _bindings(queue))
        ]
        named = [queue for queue in bound if not is_each_workers_own(queue)]
        if named and not self.broker.has_exchanges:
            names = ", ".join(sorted(repr(queue.name) for queue in named))
            self.leftovers.note(
                f"exchange {exchange.name!r}: on this broker, Celery gives a message to each worker that consumes "
                f"{names}; here one worker of each queue gets it."
            )
        return {"broadcast": named != bound} if named else {}

    def _tell_unknown(self, entity: Any, names: tuple[str, ...], whose: str) -> None:
        given = [name for name in names if getattr(entity, name, None) not in (None, False, {}, 2)]
        if given:
            self.leftovers.add(f"{whose}: {', '.join(given)} cannot be written into the registry.")


def is_each_workers_own(queue: kombu.Queue) -> bool:
    """Tell whether this is a broadcast, to which each process binds a queue of a random name: an exchange, no queue."""
    return isinstance(queue, Broadcast) and UUID.fullmatch(queue.name.rpartition(".")[2]) is not None


def _declared(app: Celery) -> Any:
    """Return ``app.amqp.queues``. Raises ConfigurationError, which names the setting that Celery stumbles over."""
    try:
        return app.amqp.queues
    except Exception as error:  # whatever Celery stumbles over
        raise ConfigurationError(
            f"task_queues (CELERY_QUEUES) must be a list of kombu.Queue, or options by name, and is "
            f"{represent(app.conf.task_queues)[:80]} ({told(error)})"
        ) from error


def _is_json(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    return value is None or isinstance(value, (str, int, float))


def _bindings(queue: kombu.Queue) -> Iterator[Bound]:
    if getattr(queue.exchange, "name", ""):  # a queue with several bindings has none of its own
        yield str(queue.exchange.name), str(queue.routing_key or ""), dict(queue.binding_arguments or {})
    for binding in sorted(queue.bindings, key=_order):  # kombu keeps a set, whose order is chance
        if binding.exchange is not None and binding.exchange.name:
            yield str(binding.exchange.name), str(binding.routing_key or ""), dict(binding.arguments or {})


def _order(binding: Any) -> str:
    return json.dumps(
        [str(binding.exchange), binding.routing_key, binding.arguments], sort_keys=True, default=str
    )
