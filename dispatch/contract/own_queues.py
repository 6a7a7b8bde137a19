"""The queues that tasks set themselves in the worker's code, as ``@app.task(queue="web")``, against the registry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from django.core.exceptions import ValidationError

from dispatch.conf import DEFAULT_BROKER
from dispatch.contract.manifest_diff import Known
from dispatch.core import manifest as documents
from dispatch.core.manifest import ConsumedQueue
from dispatch.core.routing import HIGHEST_PRIORITY, NOTHING, Target
from dispatch.models import Exchange, Queue, TaskDefinition
from dispatch.registry import Snapshot
from dispatch.registry.own_places import goes_elsewhere, own_place


@dataclass(frozen=True, slots=True)
class OwnQueue:
    """A task that the worker's code sends to a place of its own, where the registry sends it elsewhere.

    ``problem`` says why that cannot be brought into its definition.
    """

    task: str
    queue: str | None
    exchange: str | None
    routing_key: str | None
    problem: str = ""

    @property
    def place(self) -> str:
        """The place in words."""
        if self.queue:
            return f"queue {self.queue!r}"
        return f"exchange {self.exchange!r} ({self.routing_key})"


def differing(manifest: documents.Manifest, known: Known, snapshot: Snapshot) -> Iterator[OwnQueue]:
    """Yield the tasks that go elsewhere by the registry, though nobody chose a place on their definitions."""
    for task in manifest.tasks:
        place, row = own_place(task.options), known.rows.get(task.name)
        if place == NOTHING:
            continue
        chosen = _chosen(row)
        if chosen == place or (chosen != NOTHING and row and chosen != own_place(row.worker_options)):
            continue
        if chosen != NOTHING or goes_elsewhere(task.name, place, snapshot):
            yield OwnQueue(task.name, place.queue, place.exchange, place.routing_key)


def _chosen(row: TaskDefinition | None) -> Target:
    return replace(row.target(), priority=None) if row else NOTHING


class Bringer:
    """Writes such places into the definitions; a queue that the registry lacks is added, as the worker declares it."""

    def __init__(self, manifest: documents.Manifest, snapshot: Snapshot, using: str) -> None:
        self._consumed = {queue.name: queue for queue in manifest.queues}
        default = snapshot.table.queues.get(snapshot.table.default.queue or "")
        self._broker = default.broker if default else DEFAULT_BROKER
        self._using = using

    def bring(self, own: OwnQueue) -> OwnQueue:
        """Write one into its definition, and return it, with the problem if there is one."""
        columns: dict[str, Any] = {"queue": None, "exchange": None, "routing_key": own.routing_key or ""}
        try:
            if own.queue:
                columns["queue"] = self._queue(own.queue)
            else:
                columns["exchange"] = Exchange.objects.using(self._using).get(name=own.exchange)
        except Exchange.DoesNotExist:
            return replace(
                own, problem="the registry has no such exchange: add it with its bindings, or import it"
            )
        except ValidationError as error:
            return replace(own, problem=" ".join(error.messages))
        TaskDefinition.objects.using(self._using).filter(name=own.task).update(**columns)
        return own

    def _queue(self, name: str) -> Queue:
        rows = Queue.objects.using(self._using)
        row: Queue | None = rows.filter(name=name).first()
        if row is None:
            row = self._new(name, self._consumed.get(name) or ConsumedQueue(name, True, {}))
            row.full_clean()
            row.save(using=self._using)
        return row

    def _new(self, name: str, consumed: ConsumedQueue) -> Queue:
        arguments = dict(consumed.arguments)
        row = Queue(name=name, broker=self._broker, durable=consumed.durable, arguments=arguments)
        if arguments.get("x-queue-type") == Queue.Type.QUORUM:
            row.queue_type = arguments.pop("x-queue-type")
        highest = arguments.get("x-max-priority")
        if type(highest) is int and 0 <= highest <= HIGHEST_PRIORITY:
            row.max_priority = arguments.pop("x-max-priority")
        return row
