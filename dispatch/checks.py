"""System checks: what is wrong with the settings or the registry, each with a hint one can act on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections, router

from dispatch import conf, registry
from dispatch.core.routing import compile_pattern
from dispatch.core.wording import suggest
from dispatch.exceptions import ConfigurationError, NoDestination
from dispatch.models import RegistryVersion, Route
from dispatch.triggers.code import declared


@register("dispatch")
def check_settings(**_: Any) -> list[CheckMessage]:
    """dispatch.E001: a key of DISPATCH is unknown or bad. E002: no broker can be found."""
    try:
        messages: list[CheckMessage] = [
            Error(problem, hint="See docs/reference/settings.md for every key.", id="dispatch.E001")
            for problem in conf.problems()
        ]
        if not messages:
            _ = conf.conf.brokers
    except ConfigurationError as error:
        return [
            Error(str(error), hint='DISPATCH = {"BROKERS": {"default": {"URL": "…"}}}', id="dispatch.E002")
        ]
    return messages


@register("dispatch")
def check_installed(**_: Any) -> list[CheckMessage]:
    """dispatch.E003: results have no table to go to."""
    if "django_celery_results" in settings.INSTALLED_APPS or any(
        app.startswith("django_celery_results.") for app in settings.INSTALLED_APPS
    ):
        return []
    hint = 'Add "django_celery_results" to INSTALLED_APPS and run migrate.'
    return [
        Error("django_celery_results is not installed: results have no table.", hint=hint, id="dispatch.E003")
    ]


@register(Tags.database)
def check_registry(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """dispatch.W001 to W004, over the registry's rows; nothing while the tables are missing."""
    using = router.db_for_read(RegistryVersion)
    if not databases or using not in databases:
        return []
    with connections[using].cursor() as cursor:
        if RegistryVersion._meta.db_table not in connections[using].introspection.table_names(cursor):
            return []
    snapshot = registry.current()
    return [*_destinations(snapshot), *_triggers(snapshot), *_code_triggers(snapshot), *_routes(using)]


def _destinations(snapshot: registry.Snapshot) -> Iterator[CheckMessage]:
    for name in snapshot.tasks:
        try:
            snapshot.destination(name)
        except NoDestination as error:
            hint = "Until then, sending this task is refused."
            yield checks.Warning(f"Task {name!r} has no destination. {error}", hint=hint, id="dispatch.W001")


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


def _routes(using: str) -> Iterator[CheckMessage]:
    for route in Route.objects.using(using).filter(enabled=True):
        try:
            compile_pattern(route.kind, route.pattern)
        except ConfigurationError as error:
            hint = "Correct or disable it in the admin; until then it is left out."
            yield checks.Warning(
                f"Route {route.pattern!r} cannot work: {error}", hint=hint, id="dispatch.W004"
            )
