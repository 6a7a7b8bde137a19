"""The rows of the registry, where the command names its database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage, Tags, register
from django.db import DatabaseError, router

from dispatch import registry
from dispatch.core.printable import one_line
from dispatch.core.redaction import shorten
from dispatch.core.route_patterns import too_long
from dispatch.core.routing import NOTHING
from dispatch.core.schema.patterns import unread
from dispatch.core.sentences import enumerated
from dispatch.core.suggestions import suggest
from dispatch.exceptions import NoDestination
from dispatch.models import RegistryVersion, TaskDefinition
from dispatch.registry import priority_warnings
from dispatch.registry.own_places import goes_elsewhere, own_place
from dispatch.registry.snapshot_loader import unusable_routes
from dispatch.triggers.code_triggers import declared

#: Names in one message.
MOST_NAMES, MOST_OWN_QUEUES = 20, 10


@register(Tags.database)
def check_registry(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """dispatch.W001 to W009, W016 and W022, over the registry's rows; nothing while the tables are missing."""
    using = router.db_for_read(RegistryVersion)
    if not databases or using not in databases or not registry.has_tables(using):
        return []
    try:
        snapshot = registry.current()
        found = [
            *_problems(snapshot),
            *_destinations(snapshot),
            *_unread_patterns(snapshot),
            *_triggers(snapshot),
            *_code_triggers(snapshot),
            *_routes(using),
            *_given_up(snapshot),
            *_priorities(snapshot),
            *_own_queues(using, snapshot),
        ]
    except DatabaseError:
        return []  # a migration is pending, of which this check must not keep anyone
    for message in found:
        message.msg = one_line(message.msg)  # it goes to a terminal, and names what others wrote
    return found


def _problems(snapshot: registry.Snapshot) -> Iterator[CheckMessage]:
    for name, task in snapshot.tasks.items():
        if problem := task.problem:
            hint = "Correct it in the admin; until then sending it is refused."
            yield checks.Warning(f"Task {name!r} cannot be sent. {problem}", hint=hint, id="dispatch.W005")


def _destinations(snapshot: registry.Snapshot) -> Iterator[CheckMessage]:
    """Tell each cause once, with the tasks that it stops: a new registry has one cause, and many tasks."""
    stopped: dict[str, list[str]] = {}
    for name in snapshot.tasks:
        try:
            snapshot.destination(name)
        except NoDestination as error:
            stopped.setdefault(str(error), []).append(name)
    for cause, names in stopped.items():
        told = enumerated(map(repr, names), MOST_NAMES)
        what = (
            f"Task {told} has no destination"
            if len(names) == 1
            else f"{len(names)} tasks have no destination ({told})"
        )
        yield checks.Warning(
            f"{what}. {cause}",
            hint="Until then, sending them is refused.",
            id="dispatch.W001",
        )


def _unread_patterns(snapshot: registry.Snapshot) -> Iterator[CheckMessage]:
    for name, task in snapshot.tasks.items():
        for pattern in () if task.problem or task.retired else unread(task.parameters.schema):
            yield checks.Warning(
                f"Task {name!r}: the pattern {shorten(repr(pattern))} is not checked at the send.",
                hint="In the worker, write it without look-around, backreferences, and brackets in brackets; or "
                "silence this warning if it is enough that the worker checks it.",
                id="dispatch.W016",
            )


def _triggers(snapshot: registry.Snapshot) -> Iterator[CheckMessage]:
    for trigger in snapshot.triggers:
        if trigger.problem:
            hint = "Correct or disable it in the admin; until then it leaves dead messages."
            yield checks.Warning(
                f"Trigger {trigger.name!r} cannot work: {trigger.problem}", hint=hint, id="dispatch.W002"
            )


def _code_triggers(snapshot: registry.Snapshot) -> Iterator[CheckMessage]:
    for trigger in declared.values():
        if trigger.task not in snapshot.tasks:
            close = suggest(trigger.task, snapshot.tasks)
            yield checks.Warning(
                f"@trigger {trigger.name} sends {trigger.task!r}, which is not in the registry{close}.",
                hint="Correct the name, or import the worker's manifest: manage.py dispatch manifest sync FILE.",
                id="dispatch.W003",
            )


def _own_queues(using: str, snapshot: registry.Snapshot) -> Iterator[CheckMessage]:
    """One warning for all tasks: a worker with queues of its own has many."""
    rows = TaskDefinition.objects.using(using).filter(queue=None, exchange=None, retired_at=None)
    options = rows.exclude(worker_options={}).values_list("name", "worker_options")
    astray = [
        f"{name} ({place.queue or place.exchange})"
        for name, own in options
        if (place := own_place(own)) != NOTHING and goes_elsewhere(name, place, snapshot)
    ]
    if astray:
        yield checks.Warning(
            f"The worker's code sends these tasks to queues of their own, and the registry does not: "
            f"{enumerated(astray, MOST_OWN_QUEUES)}.",
            hint="Bring them: manage.py dispatch manifest sync FILE --own-queues; or choose queues on the definitions.",
            id="dispatch.W022",
        )


def _routes(using: str) -> Iterator[CheckMessage]:
    for pattern, problem in unusable_routes(using):
        hint = "Correct or disable it in the admin; until then it is left out."
        yield checks.Warning(f"Route {pattern!r} cannot work: {problem}", hint=hint, id="dispatch.W004")


def _given_up(snapshot: registry.Snapshot) -> Iterator[CheckMessage]:
    for route, name in snapshot.table.given_up.items():
        hint = "Correct or disable it in the admin; until then it matches no task."
        problem = too_long(route.pattern, name)
        yield checks.Warning(f"Route {route.pattern!r} is given up: {problem}", hint=hint, id="dispatch.W009")


def _priorities(snapshot: registry.Snapshot) -> Iterator[CheckMessage]:
    for name in sorted(snapshot.table.queues):
        for concern in priority_warnings.concerns(snapshot, name):
            if concern.kind == priority_warnings.MIXED:
                hint = "See docs/explanation/routing.md, Priorities: brokers disagree on what an unset one means."
                yield checks.Warning(concern.text, hint=hint, id="dispatch.W006")
            else:
                hint = "See docs/explanation/routing.md, Priorities: what each kind of queue makes of them."
                yield checks.Warning(concern.text, hint=hint, id="dispatch.W007")
