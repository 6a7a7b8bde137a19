"""Whether the outboxes are relayed, collected and pruned, where the command names their databases."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage, Tags, register
from django.db import DatabaseError, router

from dispatch import health, registry
from dispatch.conf import conf
from dispatch.core.printable import one_line
from dispatch.exceptions import ConfigurationError
from dispatch.models import OutboxMessage
from dispatch.models.database import estimated_rows

IDS = {
    "relay": "dispatch.W023",
    "overdue": "dispatch.W024",
    "dead": "dispatch.W025",
    "collector": "dispatch.W026",
}
#: Rows from which a table that only grows deserves a word.
MANY = 1_000_000


@register(Tags.database)
def check_outbox(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """dispatch.W023 to W026, by the heartbeats and the outbox. W027: published messages are many, and kept for ever."""
    found: list[CheckMessage] = []
    for alias in databases or ():
        # a migration may be pending, of which this check must not keep anyone; the settings have a check
        with suppress(DatabaseError, ConfigurationError):
            if router.allow_migrate_model(alias, OutboxMessage) and registry.has_tables(alias):
                found += [*_problems(alias), *_retention(alias)]
    return found


def _problems(using: str) -> list[CheckMessage]:
    where = "" if using == "default" else f"Database {using!r}: "
    return [
        checks.Warning(one_line(where + each.sentence), hint=each.remedy, id=IDS[each.kind])
        for each in health.look(using).problems()
    ]


def _retention(using: str) -> list[CheckMessage]:
    if conf.retention["published"] is not None or (rows := estimated_rows(OutboxMessage, using)) < MANY:
        return []
    return [
        checks.Warning(
            f"The outbox of database {using!r} holds about {rows:,} messages, and published ones are kept for ever.",
            hint='Let DISPATCH["RETENTION"]["published"] be a number of seconds, such as 604800.',
            id="dispatch.W027",
        )
    ]
