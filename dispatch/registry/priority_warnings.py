"""Where a priority would be ignored, cut, taken for another, or mixed with messages that have none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dispatch.conf import Broker, conf
from dispatch.core import priority_order
from dispatch.core.priority_order import Ordering
from dispatch.core.routing import Queue
from dispatch.exceptions import ConfigurationError
from dispatch.registry.senders_by_destination import Sender, usage
from dispatch.registry.snapshot import Snapshot

MOST_NAMED = 5
IGNORED, MIXED = "ignored", "mixed"


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing to know about the priorities in a queue: ``kind`` is IGNORED or MIXED, ``text`` whole sentences."""

    kind: str
    text: str


def ordering(queue: Queue) -> Ordering:
    """Return how the broker of a queue orders what waits in it."""
    broker = _broker(queue.broker)
    if broker is None or not (broker.has_exchanges or broker.is_urgent_low):
        return priority_order.ordering_elsewhere()
    if broker.has_exchanges:
        return priority_order.ordering_on_amqp(queue.arguments)
    options = broker.conf.get("broker_transport_options") or {}
    return priority_order.ordering_on_redis(options.get("priority_steps") or priority_order.REDIS_STEPS)


def concerns(snapshot: Snapshot, name: str) -> list[Concern]:
    """Return what is to be said of the priorities in a queue of the registry, as its senders use it."""
    queue = snapshot.table.queues[name]
    senders = [sender for sender in usage(snapshot).by_queue.get(name, ()) if sender.is_sendable]
    used = {sender.priority for sender in senders if sender.priority is not None}
    if queue.default_priority is not None:
        used.add(queue.default_priority)
    kept = ordering(queue)
    if not used:
        return []
    found = [Concern(IGNORED, text) for text in _ignored(queue, kept, used)]
    return found + [Concern(MIXED, text) for text in _mixed(queue, kept, senders)]


def of_priority(queue: Queue, priority: int) -> str:
    """Return what is to be said of one priority in a queue, "" where the broker keeps it as it is."""
    return " ".join(_ignored(queue, ordering(queue), {priority}))


def _ignored(queue: Queue, kept: Ordering, used: set[int]) -> Iterator[str]:
    what = f"{'Priority' if len(used) == 1 else 'Priorities'} {_listed(sorted(used))}"
    if not kept.is_kept:
        yield f"{what} would be ignored in queue {queue.name!r}. {kept.caveat}"
        return
    if kept.caveat:
        yield f"{what} in queue {queue.name!r}: {kept.caveat}"
    above = sorted(p for p in used if p > kept.highest)
    if above:
        cut = f"{'Priority' if len(above) == 1 else 'Priorities'} {_listed(above)}"
        yield f"{cut} would count as {kept.highest} in queue {queue.name!r}, the highest there."
    for group in priority_order.collisions(kept, used - set(above)):
        yield (
            f"Priorities {_listed(group)} are one and the same in queue {queue.name!r}: its broker does not tell them "
            f"apart (Redis: priority_steps)."
        )


def _mixed(queue: Queue, kept: Ordering, senders: Iterable[Sender]) -> Iterator[str]:
    without = [sender for sender in senders if sender.priority is None]
    with_one = [sender for sender in senders if sender.priority is not None]
    if not (kept.is_kept and without and with_one):
        return
    remedy = (
        "Give the queue a default priority."
        if queue.default_priority is None and any(s.destination and s.destination.queue for s in without)
        else "Give them a priority: a queue's default one does not reach messages to an exchange."
    )
    numbers = _listed(sorted({sender.priority for sender in with_one if sender.priority is not None}))
    yield (
        f"In queue {queue.name!r} messages with a priority ({numbers}: {_names(with_one)}) meet messages without one "
        f"({_names(without)}), which {kept.place_of_unset()}. {remedy}"
    )


def _names(senders: list[Sender]) -> str:
    shown = ", ".join(str(sender) for sender in senders[:MOST_NAMED])
    return f"{shown} and {len(senders) - MOST_NAMED} more" if len(senders) > MOST_NAMED else shown


def _listed(numbers: Iterable[int]) -> str:
    *rest, last = map(str, numbers)
    return f"{', '.join(rest)} and {last}" if rest else last


def _broker(alias: str) -> Broker | None:
    try:
        return conf.brokers.get(alias)
    except ConfigurationError:
        return None
