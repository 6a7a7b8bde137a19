"""Where a message goes: the precedence of Celery, over plain data.

A :class:`Target` is what one level of the precedence asks for: the call, the task's own definition, a route, the
default queue. :func:`merge` lets the higher level win, and :class:`RoutingTable` turns what is left into a
:class:`Destination`, which a broker understands.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dispatch.core.wording import suggest
from dispatch.exceptions import ConfigurationError, NoDestination

HIGHEST_PRIORITY = 9
Entity = TypeVar("Entity")


@dataclass(frozen=True, slots=True)
class Target:
    """What one level of the precedence asks for; None where it leaves the choice to the next."""

    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange of a broker; ``type`` is AMQP's: direct or topic."""

    name: str
    broker: str
    type: str = "direct"
    durable: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Binding:
    """Messages to ``exchange`` whose key matches ``routing_key`` reach the queue that holds this binding."""

    exchange: str
    routing_key: str


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of a broker; ``arguments`` are AMQP's, complete."""

    name: str
    broker: str
    durable: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)
    default_priority: int | None = None
    paused: bool = False
    bindings: tuple[Binding, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """A pattern of task names and what it asks for."""

    pattern: str
    kind: str
    target: Target

    def matcher(self) -> re.Pattern[str]:
        """Return the pattern as a regular expression to be used with ``match``, as Celery does."""
        return compile_pattern(self.kind, self.pattern)


@dataclass(frozen=True, slots=True)
class Destination:
    """A resolved exchange, routing key and priority on one broker.

    ``queues`` are the queues the message reaches by the registry's bindings: what is published to on brokers
    without exchanges. ``queue`` is the one that was asked for, or "" where an exchange was. ``priority`` is 0 to 9, 9
    most urgent, on every broker.
    """

    broker: str
    queue: str
    queues: tuple[str, ...]
    exchange: str
    routing_key: str
    priority: int | None


def compile_pattern(kind: str, pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a route's pattern, to be used with ``match``.

    As in Celery (``celery.app.routes``), a glob is :mod:`fnmatch`'s and matches the whole name, while a regular
    expression is tried at the start of it.

    Raises ConfigurationError for a regular expression that does not compile.
    """
    if kind == "exact":
        return re.compile(re.escape(pattern) + r"\Z")
    if kind == "glob":
        return re.compile(fnmatch.translate(pattern))
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:  # the last two: absurd repetitions and nesting
        raise ConfigurationError(f"{pattern!r} is not a regular expression: {error}.") from None


def merge(high: Target, low: Target) -> Target:
    """Return ``high`` completed by ``low``, key by key.

    A level that names a queue or an exchange settles both: a queue that the caller chose is not overruled by the
    exchange of a route.
    """
    priority = low.priority if high.priority is None else high.priority
    if high.queue is not None or high.exchange is not None:
        return Target(high.queue, high.exchange, high.routing_key, priority)
    routing_key = low.routing_key if high.routing_key is None else high.routing_key
    return Target(low.queue, low.exchange, routing_key, priority)


def key_matches(exchange_type: str, binding_key: str, routing_key: str) -> bool:
    """Tell whether a binding takes a routing key, by AMQP 0-9-1's rules (section 3.1.3).

    In a topic, ``*`` is exactly one word and ``#`` any number of them, none included. An empty key has no words.
    """
    if exchange_type == "topic":
        return _words_match(_words(binding_key), _words(routing_key))
    return binding_key == routing_key


def _words(key: str) -> list[str]:
    return key.split(".") if key else []


def _words_match(pattern: list[str], words: list[str]) -> bool:
    reachable = {0}  # positions in `words` that the pattern read so far can end at
    for word in pattern:
        if word == "#":
            reachable = set(range(min(reachable), len(words) + 1))
        else:
            reachable = {at + 1 for at in reachable if at < len(words) and word in ("*", words[at])}
        if not reachable:
            return False
    return len(words) in reachable


class RoutingTable:
    """The queues, exchanges and routes of the registry, ready to be asked."""

    def __init__(
        self,
        queues: Iterable[Queue],
        exchanges: Iterable[Exchange],
        routes: Iterable[Route],
        default_queue: str | None,
    ) -> None:
        self.queues = {queue.name: queue for queue in queues}
        self.exchanges = {exchange.name: exchange for exchange in exchanges}
        self.routes = tuple(routes)
        self.default = Target(queue=default_queue)
        self._matchers = [(route.matcher(), route) for route in self.routes]

    def route_for(self, task: str) -> Route | None:
        """Return the first route whose pattern matches the task's name."""
        return next((route for matcher, route in self._matchers if matcher.match(task)), None)

    def target_for(self, task: str, own: Target) -> Target:
        """Return what the registry asks for: the task's own definition, then its route, then the default queue."""
        route = self.route_for(task)
        return merge(merge(own, route.target if route else Target()), self.default)

    def destination(self, target: Target) -> Destination:
        """Return the destination of a complete target.

        Raises NoDestination for a queue or exchange that is not in the registry, and where none is named at all.
        """
        if target.exchange is not None:
            return self._by_exchange(target)
        if target.queue is None:
            raise NoDestination(
                "No queue: the call, the task and the routes name none, and no queue is the default one. "
                "Mark a queue as default, or add a route."
            )
        queue = _known("queue", target.queue, self.queues)
        priority = queue.default_priority if target.priority is None else target.priority
        return Destination(queue.broker, queue.name, (queue.name,), "", queue.name, priority)

    def bound(self, exchange: Exchange, routing_key: str) -> tuple[str, ...]:
        """Return the names of the queues that a message to this exchange reaches, sorted."""
        return tuple(
            sorted(
                queue.name
                for queue in self.queues.values()
                if queue.broker == exchange.broker
                and any(
                    binding.exchange == exchange.name
                    and key_matches(exchange.type, binding.routing_key, routing_key)
                    for binding in queue.bindings
                )
            )
        )

    def _by_exchange(self, target: Target) -> Destination:
        exchange = _known("exchange", target.exchange or "", self.exchanges)
        routing_key = target.routing_key or ""
        queues = self.bound(exchange, routing_key)
        if not queues:
            raise NoDestination(
                f"No queue is bound to exchange {exchange.name!r} with a key that matches {routing_key!r}: "
                f"add a binding, or correct the routing key."
            )
        return Destination(exchange.broker, "", queues, exchange.name, routing_key, target.priority)


def _known(kind: str, name: str, known: Mapping[str, Entity]) -> Entity:
    try:
        return known[name]
    except KeyError:
        raise NoDestination(
            f"No {kind} named {name!r} in the registry{suggest(name, known)}: add it there."
        ) from None
