"""Where a message goes: the precedence of Celery, over plain data.

A :class:`Target` is what one level of the precedence asks for: the call, the task's own definition, a route, the
default queue. :func:`merge` lets the higher level win, and :class:`RoutingTable` turns what is left into a
:class:`Destination`, which a broker understands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from dispatch.core.binding_match import key_matches
from dispatch.core.redaction import redact
from dispatch.core.route_patterns import Matcher, compile_pattern
from dispatch.core.suggestions import suggest
from dispatch.exceptions import NoDestination

#: What AMQP allows. How many of them count is the queue's: :mod:`dispatch.core.priority_order`.
HIGHEST_PRIORITY = 255
Entity = TypeVar("Entity")


@dataclass(frozen=True, slots=True)
class Target:
    """What one level of the precedence asks for; None where it leaves the choice to the next."""

    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    priority: int | None = None

    def asked(self) -> dict[str, Any]:
        """Return what is asked for, by name."""
        named = {
            "queue": self.queue,
            "exchange": self.exchange,
            "routing_key": self.routing_key,
            "priority": self.priority,
        }
        return {name: value for name, value in named.items() if value is not None}


#: What most calls ask for.
NOTHING = Target()


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange of a broker; ``type`` is AMQP's: direct, topic, fanout or headers.

    A fanout exchange is a ``broadcast`` where each worker binds a queue of its own, beside those of the registry.
    """

    name: str
    broker: str
    type: str = "direct"
    durable: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)
    broadcast: bool = True


@dataclass(frozen=True, slots=True)
class Binding:
    """Messages to ``exchange`` whose key matches ``routing_key`` reach the queue that holds this binding."""

    exchange: str
    routing_key: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


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
class Request:
    """What a router callable may read of a call: Celery's arguments of a router."""

    task: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """A pattern of task names and what it asks for; or a router callable, named by its dotted path.

    A router has Celery's signature, ``router(name, args, kwargs, options, task=None, **kw)``, and returns a
    queue's name, a dictionary of queue, exchange, routing_key and priority, or None to leave the choice to
    the next route.
    """

    pattern: str
    kind: str
    target: Target = Target()
    router: Callable[..., Any] | None = None

    def ask(self, request: Request) -> Target | None:
        """Return what this route asks for, None where it leaves the choice to the next.

        Raises NoDestination if a router callable fails.
        """
        if self.router is None:
            return self.target
        try:
            answer = self.router(
                request.task, list(request.args), dict(request.kwargs), dict(request.options), task=None
            )
            return None if answer is None else _target(answer)
        except Exception as error:
            raise NoDestination(
                f"Router {self.pattern} failed for task {request.task!r}: "
                f"{redact(f'{type(error).__name__}: {error}')}. "
                f"Correct it, or disable its route."
            ) from error

    def matcher(self, give_up: Callable[[str], None] | None = None) -> Matcher:
        """Return what tells whether a name matches; ``give_up`` is called with a name that takes too long."""
        return compile_pattern(self.kind, self.pattern, give_up)


@dataclass(frozen=True, slots=True)
class Destination:
    """A resolved exchange, routing key and priority on one broker.

    ``queues`` are the queues the message reaches by the registry's bindings: what is published to on brokers
    without exchanges. ``queue`` is the one that was asked for, or "" where an exchange was. ``priority`` is the more
    urgent the higher, on every broker.
    """

    broker: str
    queue: str
    queues: tuple[str, ...]
    exchange: str
    routing_key: str
    priority: int | None
    exchange_type: str = "direct"

    @property
    def is_broadcast(self) -> bool:
        """Whether each worker binds a queue of its own, so that nobody knows the receivers."""
        return self.exchange_type == "fanout"


def merge(high: Target, low: Target) -> Target:
    """Return ``high`` completed by ``low``, key by key.

    A level that names a queue or an exchange settles both: a queue that the caller chose is not overruled by the
    exchange of a route.
    """
    if high is NOTHING:
        return low
    priority = low.priority if high.priority is None else high.priority
    if high.queue is not None or high.exchange is not None:
        return Target(high.queue, high.exchange, high.routing_key, priority)
    routing_key = low.routing_key if high.routing_key is None else high.routing_key
    return Target(low.queue, low.exchange, routing_key, priority)


class RoutingTable:
    """The queues, exchanges and routes of the registry, ready to be asked.

    ``given_up`` holds the routes whose regular expression took too long, with the name: from then on they match none.
    """

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
        self._to_queue: dict[tuple[str, int | None], Destination] = {}
        self.given_up: dict[Route, str] = {}
        self._matchers = [(self._matcher(route), route) for route in self.routes]

    def _matcher(self, route: Route) -> Matcher | None:
        return None if route.router else route.matcher(partial(self.given_up.__setitem__, route))

    def candidates(self, task: str) -> tuple[Route, ...]:
        """Return the routes that may decide: the router callables before the first pattern that matches, and it."""
        found: list[Route] = []
        for matcher, route in self._matchers:
            if matcher is None:
                found.append(route)
            elif matcher(task):
                return (*found, route)
        return tuple(found)

    def matching(self, task: str) -> tuple[Route, ...]:
        """Return every route that has to do with a name: those whose pattern matches, and all router callables."""
        return tuple(route for matcher, route in self._matchers if matcher is None or matcher(task))

    def target_for(self, own: Target, candidates: Iterable[Route], request: Request) -> Target:
        """Return what the registry asks for: the task's definition, then the first route, then the default."""
        answers = (route.ask(request) for route in candidates)
        routed = next((target for target in answers if target is not None), Target())
        return merge(merge(own, routed), self.default)

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
        found = self._to_queue.get((target.queue, target.priority))
        if found is None:
            found = self._to_queue[target.queue, target.priority] = self._by_queue(target)
        return found

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

    def _by_queue(self, target: Target) -> Destination:
        queue = _known("queue", target.queue or "", self.queues)
        priority = queue.default_priority if target.priority is None else target.priority
        return Destination(queue.broker, queue.name, (queue.name,), "", queue.name, priority)

    def _by_exchange(self, target: Target) -> Destination:
        exchange = _known("exchange", target.exchange or "", self.exchanges)
        routing_key = target.routing_key or ""
        queues = self.bound(exchange, routing_key)
        is_heard = exchange.type == "fanout" and exchange.broadcast  # each worker binds a queue of its own
        if not queues and not is_heard:
            raise NoDestination(
                f"No queue is bound to exchange {exchange.name!r} with a key that matches {routing_key!r}: "
                f"add a binding, or correct the routing key."
            )
        return Destination(
            exchange.broker, "", queues, exchange.name, routing_key, target.priority, exchange.type
        )


def _target(answer: Any) -> Target:
    """Return a router's answer as a target; kombu's entities stand for their names."""
    if isinstance(answer, str):
        return Target(queue=answer)
    named = {key: getattr(value, "name", value) for key, value in dict(answer).items()}
    for key in ("queue", "exchange", "routing_key"):
        if not isinstance(named.get(key), (str, type(None))):
            raise ValueError(f"{key} {named[key]!r} is not a text")
    priority = named.get("priority")
    if priority is not None and priority not in range(HIGHEST_PRIORITY + 1):
        raise ValueError(f"priority {priority!r} is not a whole number from 0 to {HIGHEST_PRIORITY}")
    return Target(named.get("queue"), named.get("exchange"), named.get("routing_key"), priority)


def _known(kind: str, name: str, known: Mapping[str, Entity]) -> Entity:
    try:
        return known[name]
    except KeyError:
        raise NoDestination(
            f"No {kind} named {name!r} in the registry{suggest(name, known)}: add it there."
        ) from None
