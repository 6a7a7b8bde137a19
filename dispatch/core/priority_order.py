"""What a broker makes of priorities in one queue: whether they order anything, and which count as the same.

The sources: RabbitMQ's guides on priorities and quorum queues (3.13, 4.0 and 4.3), and kombu's Redis transport, which
keeps a list per priority step and takes a message without a priority for the most urgent.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dispatch.core.routing import HIGHEST_PRIORITY

PRIORITIES = range(HIGHEST_PRIORITY + 1)
HIGHEST_ON_REDIS = 9
REDIS_STEPS = (0, 3, 6, 9)
QUORUM_UNSET = 4

UNORDERED = "This kind of broker keeps no priorities: every message waits its turn."
NO_HIGHEST = (
    "A classic queue of RabbitMQ orders nothing unless it was declared with a highest priority. Set one; a queue that "
    "is on the broker already must be deleted there and declared anew."
)
STREAM = "A stream keeps no priorities: every message waits its turn."
QUORUM = (
    "What a quorum queue makes of it depends on RabbitMQ's version: before 4.0 it is ignored, up to 4.2 only 0 to 4 "
    "and what is above are told apart, from 4.3 on 0 to 9 at least."
)


@dataclass(frozen=True, slots=True)
class Ordering:
    """How one queue orders what waits: ``ranks`` are what 0 to 255 count as, the greatest first in turn.

    ``unset`` is what a message without a priority counts as. ``caveat`` says why priorities are ignored, or may be.
    What is above ``highest`` counts as that.
    """

    ranks: tuple[int, ...]
    unset: int
    caveat: str = ""
    highest: int = HIGHEST_PRIORITY

    def rank(self, priority: int | None) -> int:
        """Return what a priority counts as in this queue."""
        return self.unset if priority is None else self.ranks[priority]

    @property
    def is_kept(self) -> bool:
        """Whether the queue orders anything at all."""
        return len(set(self.ranks)) > 1

    def place_of_unset(self) -> str:
        """Say where messages without a priority stand among the others."""
        if self.unset == max(self.ranks):
            return "count as the most urgent"
        if self.unset == min(self.ranks):
            return "count as the least urgent"
        return f"count as priority {self.ranks.index(self.unset)}"


def ordering_on_amqp(arguments: Mapping[str, Any]) -> Ordering:
    """Return how a queue of RabbitMQ with these arguments orders its messages."""
    kind, highest = arguments.get("x-queue-type"), arguments.get("x-max-priority")
    if kind == "quorum":
        return Ordering(tuple(PRIORITIES), QUORUM_UNSET, QUORUM)
    if kind == "stream":
        return _unordered(STREAM)
    if not isinstance(highest, int) or highest < 1:
        return _unordered(NO_HIGHEST)
    return Ordering(tuple(min(priority, highest) for priority in PRIORITIES), 0, highest=highest)


def ordering_on_redis(steps: Sequence[int] = REDIS_STEPS) -> Ordering:
    """Return how a queue on Redis orders its messages; ``steps`` are kombu's ``priority_steps``."""
    if len(set(steps)) < 2:
        return _unordered("The broker's priority_steps hold a single step: every message waits its turn.")
    last = len(steps) - 1
    ranks = [last - (bisect(steps, number_on_redis(p)) - 1) % len(steps) for p in PRIORITIES]
    return Ordering(tuple(ranks), ranks[HIGHEST_ON_REDIS], highest=HIGHEST_ON_REDIS)


def number_on_redis(priority: int) -> int:
    """Return the number for kombu's Redis transport, where 0 of 0 to 9 is the most urgent; and the other way round."""
    return HIGHEST_ON_REDIS - min(priority, HIGHEST_ON_REDIS)


def ordering_elsewhere() -> Ordering:
    """Return how brokers order their messages that are neither RabbitMQ nor Redis."""
    return _unordered(UNORDERED)


def collisions(ordering: Ordering, used: Iterable[int]) -> list[tuple[int, ...]]:
    """Return the groups of different priorities in use that the broker does not tell apart."""
    groups: dict[int, set[int]] = {}
    for priority in used:
        groups.setdefault(ordering.rank(priority), set()).add(priority)
    return [tuple(sorted(group)) for _rank, group in sorted(groups.items()) if len(group) > 1]


def _unordered(caveat: str) -> Ordering:
    return Ordering((0,) * len(PRIORITIES), 0, caveat)
