"""Who sends where, and by which rule: every registered task and trigger, worked out once per snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from dispatch.core.routing import Destination, Target
from dispatch.registry.routing_explanation import TRIGGER, Explanation, decide
from dispatch.registry.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Sender:
    """A task, or a trigger that asks for a queue or priority of its own (``trigger`` is "" for a task alone)."""

    task: str
    trigger: str
    found: Explanation
    is_open: bool
    """Whether a router callable has a say, so that the arguments may send it elsewhere."""
    is_sendable: bool

    @property
    def destination(self) -> Destination | None:
        """Where it goes; None where it has nowhere to go."""
        return self.found.destination

    @property
    def priority(self) -> int | None:
        """The priority of its messages."""
        return self.destination.priority if self.destination else None

    def __str__(self) -> str:
        return TRIGGER % {"name": self.trigger} if self.trigger else self.task

    def place_rule(self) -> str:
        """Return the rule that decided the queue or the exchange."""
        return self.found.decided_by.get("queue") or self.found.decided_by.get("exchange") or ""


class Usage:
    """The senders of one snapshot. A router callable is asked once, as for a call without arguments."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.tasks = {name: _sender(snapshot, name) for name in sorted(snapshot.tasks)}
        self.senders = (*self.tasks.values(), *_triggers(snapshot))
        self.by_queue: dict[str, list[Sender]] = {}
        for sender in self.senders:
            for queue in sender.destination.queues if sender.destination else ():
                self.by_queue.setdefault(queue, []).append(sender)


_known: WeakKeyDictionary[Snapshot, Usage] = WeakKeyDictionary()


def usage(snapshot: Snapshot) -> Usage:
    """Return who sends where in a snapshot, worked out at the first call."""
    found = _known.get(snapshot)
    if found is None:
        found = _known[snapshot] = Usage(snapshot)
    return found


def _triggers(snapshot: Snapshot) -> Iterator[Sender]:
    for trigger in snapshot.triggers:
        if trigger.target != Target() and trigger.task in snapshot.tasks and not trigger.problem:
            yield _sender(snapshot, trigger.task, trigger.target, trigger.name)


def _sender(snapshot: Snapshot, name: str, target: Target = Target(), trigger: str = "") -> Sender:
    task = snapshot.tasks[name]
    found = decide(snapshot, name, target, TRIGGER % {"name": repr(trigger)})
    return Sender(name, trigger, found, snapshot.reads_arguments(name), task.enabled and not task.odd)
