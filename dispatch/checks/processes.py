"""Whether the outboxes are relayed and their results collected, where the command names their databases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage, Tags, register
from django.db import DatabaseError, router

from dispatch import health, registry
from dispatch.core.printable import one_line
from dispatch.exceptions import ConfigurationError
from dispatch.models import Process

IDS = {
    "relay": "dispatch.W023",
    "overdue": "dispatch.W024",
    "dead": "dispatch.W025",
    "collector": "dispatch.W026",
}


@register(Tags.database)
def check_processes(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """dispatch.W023 to W026, by the heartbeats and the outbox; nothing while the tables are missing."""
    aliases = [alias for alias in databases or () if router.allow_migrate_model(alias, Process)]
    return [message for alias in aliases for message in _problems(alias)]


def _problems(using: str) -> list[CheckMessage]:
    try:
        problems = list(health.look(using).problems()) if registry.has_tables(using) else []
    except (DatabaseError, ConfigurationError):
        return []  # a migration is pending, of which this check must not keep anyone; the settings have a check
    where = "" if using == "default" else f"Database {using!r}: "
    return [
        checks.Warning(one_line(where + each.sentence), hint=each.remedy, id=IDS[each.kind])
        for each in problems
    ]
