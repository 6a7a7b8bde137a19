"""The settings, the databases, and what is installed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections, router

from dispatch import conf
from dispatch.core.suggestions import suggest
from dispatch.exceptions import ConfigurationError
from dispatch.models import RegistryVersion
from dispatch.models.hookable_columns import find_sensitive
from dispatch.models.write_transactions import is_deferred
from dispatch.triggers import django_hooks

#: As docs/howto/operating.md has them.
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


@register("dispatch", deploy=True)
def check_delivery(**_: Any) -> list[CheckMessage]:
    """dispatch.W029: with ``--deploy``, a delivery that is for development."""
    try:
        delivery = conf.conf.DELIVERY
    except ConfigurationError:
        return []  # told by check_settings
    if delivery != "console" or settings.DEBUG:
        return []
    return [
        checks.Warning(
            'DISPATCH["DELIVERY"] is "console": every message is printed and cancelled, and none reaches a worker.',
            hint='Set it to "relay" or "on_commit" outside of development.',
            id="dispatch.W029",
        )
    ]


@register("dispatch")
def check_sensitive_fields(**_: Any) -> list[CheckMessage]:
    """dispatch.E006: an entry of ``SENSITIVE_FIELDS`` names no column, and so keeps nothing back."""
    try:
        named = conf.conf.SENSITIVE_FIELDS
    except ConfigurationError:
        return []  # told by check_settings
    return [
        Error(
            f'DISPATCH["SENSITIVE_FIELDS"] names {name!r}, which is no field of an installed model'
            f"{suggest(name.lower(), _fields())}: what was meant can be sent.",
            hint="Write app.model.field.",
            id="dispatch.E006",
        )
        for name in named
        if find_sensitive(name) is None
    ]


def _fields() -> Iterator[str]:
    for model in apps.get_models():
        for field in (*model._meta.concrete_fields, *model._meta.many_to_many):
            yield f"{model._meta.label_lower}.{field.name}"


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
