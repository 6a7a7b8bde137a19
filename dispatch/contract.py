"""The registry against what the worker offers: imports its manifest, exports the routing that it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import router, transaction

from dispatch import registry
from dispatch.core import manifest as documents
from dispatch.core.routing import Destination, Exchange, Queue
from dispatch.exceptions import ConfigurationError, NoDestination
from dispatch.models import Manifest, TaskDefinition

ROUTING_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Changes:
    """What an import does, or would do: task names, each list sorted."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    missing: tuple[str, ...]


def sync(manifest: documents.Manifest, *, dry_run: bool = False) -> Changes:
    """Write the names and parameters of a manifest into the registry, all or nothing.

    What the operator set on a definition (queue, priority, limits, enabled, sensitive parameters) stays.
    Tasks that an earlier manifest of the same worker had and this one has not are reported, not deleted.
    """
    using = router.db_for_write(TaskDefinition)
    with transaction.atomic(using=using):
        existing = {row.name: row for row in TaskDefinition.objects.using(using).select_related("manifest")}
        changes = _compare(manifest, existing)
        if not dry_run and (changes.added or changes.changed or not _is_known(manifest, using)):
            _write(manifest, existing, using)
    return changes


def routing_document() -> dict[str, Any]:
    """Return what ``routing.json`` holds: queues, exchanges, and where each registered task goes."""
    snapshot = registry.current()
    table = snapshot.table
    if table.default.queue is None:
        raise ConfigurationError(
            "No queue is the default one, and a worker needs one: mark a queue as default in the admin, then export."
        )
    tasks = {}
    for name in sorted(snapshot.tasks):
        try:
            tasks[name] = _destination(snapshot.destination(name))
        except NoDestination:
            continue  # a check reports it; the worker's own default applies
    return {
        "routing": ROUTING_FORMAT,
        "default_queue": table.default.queue,
        "exchanges": [_exchange(table.exchanges[name]) for name in sorted(table.exchanges)],
        "queues": [_queue(table.queues[name]) for name in sorted(table.queues)],
        "tasks": tasks,
    }


def _compare(manifest: documents.Manifest, existing: dict[str, TaskDefinition]) -> Changes:
    offered = {task.name: task for task in manifest.tasks}
    added = sorted(offered.keys() - existing.keys())
    changed = sorted(n for n in offered.keys() & existing.keys() if _differs(offered[n], existing[n]))
    missing = sorted(
        name
        for name, row in existing.items()
        if name not in offered and row.manifest is not None and row.manifest.worker == manifest.worker
    )
    unchanged = sorted(offered.keys() - set(added) - set(changed))
    return Changes(tuple(added), tuple(changed), tuple(unchanged), tuple(missing))


def _differs(task: documents.Task, row: TaskDefinition) -> bool:
    return (
        row.parameters != task.parameters
        or row.description != task.description
        or row.source != TaskDefinition.Source.MANIFEST
        or not set(task.sensitive) <= set(row.sensitive_parameters)
    )


def _is_known(manifest: documents.Manifest, using: str) -> bool:
    return Manifest.objects.using(using).filter(worker=manifest.worker, checksum=manifest.checksum).exists()


def _write(manifest: documents.Manifest, existing: dict[str, TaskDefinition], using: str) -> None:
    imported, _ = Manifest.objects.using(using).update_or_create(
        worker=manifest.worker,
        checksum=manifest.checksum,
        defaults={"version": manifest.version, "queues": list(manifest.queues)},
    )
    for task in manifest.tasks:
        row = existing.get(task.name) or TaskDefinition(name=task.name, ignore_result=task.ignore_result)
        row.parameters = dict(task.parameters)
        row.description = task.description
        row.source = TaskDefinition.Source.MANIFEST
        row.manifest = imported
        row.sensitive_parameters = sorted({*row.sensitive_parameters, *task.sensitive})
        row.save(using=using)


def _destination(destination: Destination) -> dict[str, str]:
    if destination.exchange:
        return {"exchange": destination.exchange, "routing_key": destination.routing_key}
    return {"queue": destination.queue}


def _exchange(exchange: Exchange) -> dict[str, Any]:
    return {
        "name": exchange.name,
        "broker": exchange.broker,
        "type": exchange.type,
        "durable": exchange.durable,
        "arguments": dict(exchange.arguments),
    }


def _queue(queue: Queue) -> dict[str, Any]:
    bindings = [
        {"exchange": b.exchange, "routing_key": b.routing_key, "arguments": dict(b.arguments)}
        for b in queue.bindings
    ]
    return {
        "name": queue.name,
        "broker": queue.broker,
        "durable": queue.durable,
        "default_priority": queue.default_priority,
        "arguments": dict(queue.arguments),
        "bindings": bindings,
    }
