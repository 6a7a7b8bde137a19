"""Every queue of the registry beside what its broker and the outbox hold of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dispatch import health, registry
from dispatch.client import queue_state, worker_control
from dispatch.conf import conf
from dispatch.core.routing import Queue, RoutingTable
from dispatch.exceptions import PublishError, QueueUnavailable
from dispatch.queues.selection import broker, by_broker, chosen

Condition = Literal["ok", "missing", "drift", "refused", "down"]
MISSING = (
    "Not on the broker yet. The relay declares a queue when it first publishes to it; "
    "`manage.py dispatch queues declare` does it now."
)

UNCONSUMED = (
    "No worker consumes it: what is published to it waits. Start one (`manage.py dispatch worker-command {name}`), "
    "or let running ones take it (`manage.py dispatch queues apply`)."
)
UNANSWERED = (
    "No worker answered within {timeout:g} s: none runs (`manage.py dispatch worker-command` says how to start one), "
    "or none lets itself be asked, so that nobody knows who consumes it."
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What could be seen of a queue on its broker; None stands for what nobody could say.

    ``state`` is "ok", "missing" (not declared yet), "drift" (declared otherwise than the registry has it), "refused"
    (the broker does not show it) or "down" (the broker cannot be asked); ``note`` says more, with the remedy.
    """

    state: Condition
    note: str = ""
    ready: int | None = None
    consumers: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One queue of the registry: what is seen of it, how many messages wait for it in the outbox, how it is set.

    ``waiting`` is counted to ``health.MOST_COUNTED``.
    """

    queue: str
    broker: str
    seen: Seen
    waiting: int
    paused: bool
    default: bool


def overview(using: str, names: Sequence[str] | None = None) -> list[Line]:
    """Return a line per queue, sorted by name. A broker that is down makes its own lines say so, and no others.

    ``using`` is the database whose outbox is looked at.
    """
    table = registry.current().table
    waiting = health.waiting(using)
    return [
        Line(
            queue.name,
            queue.broker,
            seen,
            waiting[queue.name].pending if queue.name in waiting else 0,
            queue.paused,
            queue.name == table.default.queue,
        )
        for queue, seen in sorted(look(names), key=lambda pair: pair[0].name)
    ]


def look(names: Sequence[str] | None) -> Iterator[tuple[Queue, Seen]]:
    """Ask the brokers, and yield each queue with what is seen of it; all of the registry for None.

    A broker is asked for no longer than a few times ``BROKER_TIMEOUT``. Raises ConfigurationError for a name that the
    registry does not have.
    """
    table = registry.current().table
    for alias, queues in by_broker(chosen(table.queues, names)):
        left = list(queues)
        try:
            with queue_state.opened(broker(alias)) as link:
                consumers = _consumers(link)
                while left:
                    yield left[0], _look(link, table, left[0], consumers)
                    del left[0]
        except PublishError as error:
            yield from ((queue, Seen("down", str(error))) for queue in left)


def unreachable() -> str:
    """Ask all brokers whether they are there; return why the first that is not cannot be reached, "" if all are."""
    try:
        for each in conf.brokers.values():
            with queue_state.opened(each):
                pass
    except PublishError as error:
        return str(error)
    return ""


def _look(
    link: queue_state.Link, table: RoutingTable, queue: Queue, consumers: Mapping[str, int] | None
) -> Seen:
    try:
        found = queue_state.state(link, table, queue)
    except QueueUnavailable as error:
        return Seen("refused", str(error))
    if not found.exists:
        return Seen("missing", MISSING, 0, 0)
    counted = found.consumers if consumers is None else consumers.get(queue.name, 0)
    if found.drift:
        return Seen("drift", found.drift, found.ready, counted)
    return Seen("ok", _unconsumed(queue.name, counted), found.ready, counted)


def _unconsumed(name: str, consumers: int | None) -> str:
    if consumers is None:
        return UNANSWERED.format(timeout=conf.BROKER_TIMEOUT)
    return "" if consumers else UNCONSUMED.format(name=name)


def _consumers(link: queue_state.Link) -> Counter[str] | None:
    """Count who consumes what by asking the workers, where the broker does not know; None if nobody answers."""
    answers = {} if link.has_exchanges else worker_control.consumed(link)
    return Counter(entry.name for queues in answers.values() for entry in queues) if answers else None
