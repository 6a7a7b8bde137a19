"""The way from nothing to the first result: what there is, what comes next, and where it is done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from weakref import WeakSet

from django.db.models import Model
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from dispatch import registry
from dispatch.admin import links
from dispatch.admin.links import Link, Viewer
from dispatch.admin.message_list import result_model
from dispatch.conf import conf
from dispatch.health import Health
from dispatch.models import OutboxMessage, Process, Queue, Route, TaskDefinition, Trigger

#: Results are sought for so many tasks.
MOST_SOUGHT = 500
#: The states of the registry for which a result was found, and is not sought again.
_ARRIVED: WeakSet[registry.Snapshot] = WeakSet()


@dataclass(frozen=True, slots=True)
class Step:
    """One step: ``done`` is None where nobody asked yet. An optional one is not waited for."""

    model: type[Model]
    title: str | Promise
    done: bool | None
    text: str | Promise
    command: str = ""
    optional: bool = False
    link: Link | None = None


def steps(viewer: Viewer, seen: Health, using: str, *, ask: bool) -> list[Step]:
    """Return the steps, of those models that this user may view; none, once all are done.

    With the first result they are: what is removed later is somebody's decision, or a problem that is told as such.
    ``ask``: whether the brokers may be asked, which takes seconds where one is down.
    """
    has_results = any(each.result_backend and not each.out_of_reach for each in conf.brokers.values())
    if has_results and _has_result(using):
        return []
    found = [
        replace(step, link=_link(viewer, step.model))
        for step in (*_configuration(ask), *_processes(seen, has_results))
        if viewer.may_open(step.model)
    ]
    return found if any(not step.done and not step.optional for step in found) else []


def _has_result(using: str) -> bool:
    snapshot = registry.current()
    if snapshot not in _ARRIVED:
        names = list(snapshot.tasks)[:MOST_SOUGHT]
        if not result_model()._default_manager.using(using).filter(task_name__in=names).exists():
            return False
        _ARRIVED.add(snapshot)
    return True


def _link(viewer: Viewer, model: type[Model]) -> Link:
    """Return a link to the rows there are; where there is none, to the form that adds one. Tasks are imported."""
    model_admin = viewer.site.get_model_admin(model)
    may_add = model is not TaskDefinition and model_admin.has_add_permission(viewer.request)
    page = "add" if may_add and not model._default_manager.exists() else "changelist"
    url = links.page(f"dispatch_{model._meta.model_name}_{page}", viewer.site)
    return Link(str(capfirst(model._meta.verbose_name_plural)), url)


def _configuration(ask: bool) -> Iterator[Step]:
    snapshot = registry.current()
    problem = _broker_problem() if ask else None
    yield Step(
        Queue,
        _("The broker can be reached"),
        None if problem is None else not problem,
        problem or _("It stands in the settings, under DISPATCH[“BROKERS”]."),
        command="manage.py dispatch verify --live",
    )
    yield Step(
        TaskDefinition,
        _("Tasks are imported"),
        bool(snapshot.tasks),
        _("The worker writes a manifest of its tasks: celery -A worker manifest -o manifest.json."),
        command="manage.py dispatch manifest sync manifest.json",
    )
    yield Step(
        Queue,
        _("There is a default queue"),
        snapshot.table.default.queue in snapshot.table.queues,
        _("It takes what no route sends elsewhere. A worker must consume it."),
    )
    yield Step(
        Route,
        _("A route"),
        bool(snapshot.table.routes),
        _("It sends some tasks to a queue of their own."),
        optional=True,
    )
    yield Step(
        Trigger,
        _("A trigger"),
        bool(snapshot.triggers),
        _("It sends a task when an object is saved. Code may call send_task instead."),
        optional=True,
    )


def _broker_problem() -> str:
    from dispatch.queues import unreachable

    return unreachable()


def _processes(seen: Health, has_results: bool) -> Iterator[Step]:
    yield Step(
        Process,
        _("A relay was seen"),
        any(line.kind == Process.Kind.RELAY for line in seen.processes),
        _("It publishes what was sent: without one, nothing leaves the outbox."),
        command="manage.py dispatch relay",
    )
    if has_results:
        yield Step(
            OutboxMessage,
            _("The first result"),
            False,
            _("Send a task while a worker runs, and a collector, which stores its result here."),
            command="manage.py dispatch results",
        )
