"""The outbox as a table, where the command names its database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage, Tags, register
from django.db import DatabaseError, router

from dispatch.conf import conf
from dispatch.exceptions import ConfigurationError
from dispatch.models import OutboxMessage
from dispatch.models.database import estimated_rows

#: Rows from which a table that only grows deserves a word.
MANY = 1_000_000


@register(Tags.database)
def check_retention(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """dispatch.W027: published messages are kept for ever, and they are many."""
    try:
        if conf.retention["published"] is not None:
            return []
    except ConfigurationError:
        return []  # told by check_settings
    counts = {
        alias: _rows(alias) for alias in databases or () if router.allow_migrate_model(alias, OutboxMessage)
    }
    return [
        checks.Warning(
            f"The outbox of database {alias!r} holds about {rows:,} messages, and published ones are kept for ever.",
            hint='Let DISPATCH["RETENTION"]["published"] be a number of seconds, such as 604800.',
            id="dispatch.W027",
        )
        for alias, rows in counts.items()
        if rows >= MANY
    ]


def _rows(alias: str) -> int:
    try:
        return estimated_rows(OutboxMessage, alias)
    except DatabaseError:
        return 0  # a migration is pending, of which this check must not keep anyone
