"""System checks: what is wrong with the settings or the registry, each with a hint one can act on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import DatabaseError, connections, router

from dispatch import conf, registry
from dispatch.core import tls, trigger_rules
from dispatch.core.route_patterns import compile_pattern, too_long
from dispatch.core.suggestions import suggest
from dispatch.exceptions import ConfigurationError, NoDestination
from dispatch.models import RegistryVersion, Route
from dispatch.models.write_transactions import is_deferred
from dispatch.registry import priority_warnings
from dispatch.registry.snapshot_loader import find_router
from dispatch.triggers import django_hooks
from dispatch.triggers.code_triggers import declared
from dispatch.triggers.django_hooks import keeps_autocommit
from dispatch.triggers.trigger_index import index, is_foreign

#: As docs/howto/production.md has them.
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode = WAL;",
    "timeout": 20,
}


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
def check_models(**_: Any) -> list[CheckMessage]:
    """dispatch.E001: a model that ``AUTOCOMMIT_MODELS`` names does not exist."""
    try:
        named = conf.conf.AUTOCOMMIT_MODELS
    except ConfigurationError:
        return []  # told by check_settings
    known = {model._meta.label_lower: model._meta.label for model in apps.get_models()}
    return [
        Error(
            f'DISPATCH["AUTOCOMMIT_MODELS"] names {name!r}, which is no installed model'
            f"{suggest(name.lower(), known)}: write app.model.",
            hint="See docs/reference/settings.md for every key.",
            id="dispatch.E001",
        )
        for name in named
        if name.lower() not in known
    ]


@register("dispatch")
def check_time(**_: Any) -> list[CheckMessage]:
    """dispatch.E004: local times in the database cannot be compared with its clock."""
    problems = [] if settings.USE_TZ else ["USE_TZ is False"]
    problems += [
        f"DATABASES[{a!r}] sets TIME_ZONE"
        for a in connections
        if connections[a].settings_dict.get("TIME_ZONE")
    ]
    hint = "Messages are claimed by the database's clock, in UTC: set USE_TZ = True, and no TIME_ZONE in DATABASES."
    return [
        Error(f"{problem}: due times would be off.", hint=hint, id="dispatch.E004") for problem in problems
    ]


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


@register("dispatch")
def check_brokers(**_: Any) -> list[CheckMessage]:
    """dispatch.W012: results that cannot be collected. W013: TLS that verifies nobody."""
    try:
        brokers = conf.conf.brokers
    except ConfigurationError:
        return []  # told by check_settings
    return [message for broker in brokers.values() for message in (*_results(broker), *_tls(broker))]


def _results(broker: conf.Broker) -> Iterator[CheckMessage]:
    if broker.out_of_reach:
        yield checks.Warning(
            f"The results of broker {broker.alias!r} cannot be collected from its RESULT_BACKEND: "
            f"{broker.out_of_reach}.",
            hint="Let the worker store results where others can read them, such as redis:// or db+postgresql://; or "
            "leave RESULT_BACKEND empty if you need none.",
            id="dispatch.W012",
        )


def _tls(broker: conf.Broker) -> Iterator[CheckMessage]:
    for key, url, setting in (
        ("URL", broker.url, "broker_use_ssl"),
        ("RESULT_BACKEND", broker.result_backend, "redis_backend_use_ssl"),
    ):
        if lack := tls.lack(url, broker.conf.get(setting), setting):
            yield checks.Warning(
                f"The {key} of broker {broker.alias!r} can be answered by anyone: {lack}.",
                hint="Write ?ssl_cert_reqs=required into a rediss:// URL; of amqps://, set broker_use_ssl in CONF to "
                '{"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "…"}.',
                id="dispatch.W013",
            )


@register(Tags.database)
def check_registry(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """dispatch.W001 to W009, over the registry's rows; nothing while the tables are missing."""
    using = router.db_for_read(RegistryVersion)
    if not databases or using not in databases:
        return []
    with connections[using].cursor() as cursor:
        if RegistryVersion._meta.db_table not in connections[using].introspection.table_names(cursor):
            return []
    try:
        snapshot = registry.current()
        return [
            *_destinations(snapshot),
            *_triggers(snapshot),
            *_code_triggers(snapshot),
            *_routes(using),
            *_given_up(snapshot),
            *_priorities(snapshot),
            *_in_autocommit(),
        ]
    except DatabaseError:
        return []  # a migration is pending, of which this check must not keep anyone


@register(Tags.compatibility)
def check_hooks(**_: Any) -> list[CheckMessage]:
    """dispatch.W015: a method of Django that triggers need is not the one that is known."""
    return [
        checks.Warning(
            f"Django's {method} takes other parameters than this version of dispatch knows: it was left alone, and "
            f"triggers that need it do not fire.",
            hint="Upgrade django-celery-dispatch, or take away the package that replaces this method.",
            id="dispatch.W015",
        )
        for method in django_hooks.unwrapped
    ]


@register(Tags.database)
def check_sqlite(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """dispatch.W014: a SQLite refuses, or holds up, some writes of one process beside those of another."""
    return [
        checks.Warning(
            f"Database {alias!r} is a SQLite {' and '.join(lacks)}.",
            hint=f'DATABASES[{alias!r}]["OPTIONS"] = {json.dumps(SQLITE_OPTIONS)}',
            id="dispatch.W014",
        )
        for alias in databases or ()
        if router.allow_migrate_model(alias, RegistryVersion)
        and (lacks := _lacks_of_sqlite(connections[alias]))
    ]


def _lacks_of_sqlite(connection: Any) -> list[str]:
    if connection.vendor != "sqlite" or connection.is_in_memory_db():
        return []
    lacks = []
    if is_deferred(connection):
        lacks.append(
            "whose transactions take the write lock at their first write: one that has read by then fails at once "
            "where another process writes (database is locked)"
        )
    with connection.cursor() as cursor:
        [mode] = cursor.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal":
        lacks.append("without a write-ahead log: who reads and who writes wait for each other")
    return lacks


def _destinations(snapshot: registry.Snapshot) -> Iterator[CheckMessage]:
    for name, task in snapshot.tasks.items():
        if task.problem:
            hint = "Correct it in the admin; until then sending it is refused."
            yield checks.Warning(
                f"Task {name!r} cannot be sent. {task.problem}", hint=hint, id="dispatch.W005"
            )
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


def _in_autocommit() -> Iterator[CheckMessage]:
    for model in apps.get_models():
        triggers = [
            each.name
            for each in index().of(model)
            if each.events & {trigger_rules.CREATED, trigger_rules.UPDATED}
        ]
        if triggers and not is_foreign(model) and keeps_autocommit(model):
            yield checks.Warning(
                f"{model._meta.label} has triggers ({', '.join(triggers)}), and no transaction is opened around its "
                f'saves (DISPATCH["AUTOCOMMIT_MODELS"]): outside of one, the object is committed before its messages, '
                f"and a process that dies in between, or an error, loses them.",
                hint="Take it out of the list, or silence this warning if such a loss is acceptable.",
                id="dispatch.W008",
            )


def _routes(using: str) -> Iterator[CheckMessage]:
    for route in Route.objects.using(using).filter(enabled=True):
        try:
            if route.kind == Route.Kind.CALLABLE:
                find_router(route.pattern)
            else:
                compile_pattern(route.kind, route.pattern)
        except ConfigurationError as error:
            hint = "Correct or disable it in the admin; until then it is left out."
            yield checks.Warning(
                f"Route {route.pattern!r} cannot work: {error}", hint=hint, id="dispatch.W004"
            )


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
