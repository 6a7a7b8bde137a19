"""What django-celery-beat sends, where it is installed: compared with the contract as triggers are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from django.apps import apps

from dispatch.contract.verification.evidence import TaskUse
from dispatch.core.routing import Target
from dispatch.core.schema.parameters import Parameters
from dispatch.core.trigger_rules import Argument
from dispatch.registry import Snapshot


def periodic_uses(snapshot: Snapshot) -> Iterator[TaskUse]:
    """Yield the enabled periodic tasks; Celery's own are passed over, which each worker has and no manifest names."""
    if not apps.is_installed("django_celery_beat"):
        return
    model: Any = apps.get_model("django_celery_beat", "PeriodicTask")  # type: ignore[misc]  # no app of mypy's settings
    for row in model.objects.filter(enabled=True).exclude(task__startswith="celery.").order_by("name"):
        target = Target(row.queue or None, row.exchange or None, row.routing_key or None, row.priority)
        task = snapshot.tasks.get(row.task)
        arguments = _arguments(row, task.parameters) if task else None
        yield TaskUse(f"Periodic task {row.name!r}", row.name, row.task, target, arguments, is_periodic=True)


def last_change() -> Any:
    """Return when a periodic task was changed last, None where there are none."""
    if not apps.is_installed("django_celery_beat"):
        return None
    return apps.get_model("django_celery_beat", "PeriodicTasks").last_change()  # type: ignore[misc]  # as above


def _arguments(row: Any, parameters: Parameters) -> Mapping[str, Argument] | None:
    """Return the arguments by name, None where that cannot be told: beat itself disables what it cannot read."""
    try:
        args, kwargs = json.loads(row.args or "[]"), json.loads(row.kwargs or "{}")
        if args and not parameters.schema:
            return None
        named = {**dict(zip(_positions(parameters, len(args)), args, strict=False)), **kwargs}
    except (TypeError, ValueError):
        return None
    return {name: Argument("constant", value) for name, value in named.items()}


def _positions(parameters: Parameters, count: int) -> list[str]:
    """Return what positions are called, those too that a task does not take."""
    known = parameters.positional
    further = () if "x-variadic" in parameters.schema else range(len(known) + 1, count + 1)
    return [*known, *(f"position {number}" for number in further)]
