"""The registry that a test sees: frozen, and completed by what the test itself adds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from dispatch.conf import DEFAULT_BROKER
from dispatch.core.routing import Destination, Queue, Request, RoutingTable, Target, merge
from dispatch.core.schema.parameters import Parameters
from dispatch.registry import Snapshot, Task, cache

Read = Callable[[], Snapshot]
#: Where a test's messages go if its database holds no queue at all.
DEFAULT_QUEUE = "default"


def frozen(through: Callable[[Read], Snapshot] | None = None) -> AbstractContextManager[None]:
    """Return a block in which the registry is looked at once, and then only after a change made in this process.

    The looks are in no query count. ``through`` may complete the registry.
    """
    return cache.frozen(through or (lambda read: read()))


class Additions:
    """The tasks and queues that a test adds to the registry of its database. They are rows nowhere."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._queues: set[str] = set()
        self._is_open = False
        self._made: tuple[Snapshot, Snapshot] | None = None

    def add(self, task: Task) -> None:
        """Let a task be sent; it replaces one of this name."""
        self._tasks[task.name] = task
        if task.target.queue is not None:
            self._queues.add(task.target.queue)
        self._made = None

    def open(self) -> None:
        """Let tasks of every name be sent, with any arguments."""
        self._is_open = True
        self._made = None

    def through(self, read: Read) -> Snapshot:
        """Return the registry with the additions; the same object while neither of them changes."""
        found = read()
        if self._made is None or self._made[0] is not found:
            self._made = found, self._completed(found)
        return self._made[1]

    def _completed(self, found: Snapshot) -> Snapshot:
        kind = OpenSnapshot if self._is_open else type(found)
        tasks = found.tasks | self._tasks
        return kind(found.version, self._table(found.table), tasks.values(), found.triggers)

    def _table(self, table: RoutingTable) -> RoutingTable:
        default = table.default.queue if table.queues else DEFAULT_QUEUE
        added = self._queues if table.queues else self._queues | {DEFAULT_QUEUE}
        queues = {name: Queue(name, DEFAULT_BROKER) for name in added} | table.queues
        return RoutingTable(queues.values(), table.exchanges.values(), table.routes, default)


class OpenSnapshot(Snapshot):
    """A registry in which every task exists and takes any arguments; those that are registered are checked."""

    def task(self, name: str) -> Task:
        """Return the definition of a task, one that accepts everything where there is none."""
        if name in self.tasks:
            return super().task(name)
        return Task(name, Parameters({}), Target(), {}, frozenset())

    def destination(self, name: str, call: Target = Target(), request: Request | None = None) -> Destination:
        """Return where a message goes, by the routes or to the default queue."""
        if name in self.tasks:
            return super().destination(name, call, request)
        candidates = self.table.candidates(name)
        target = self.table.target_for(Target(), candidates, request or Request(name))
        return self.table.destination(merge(call, target))
