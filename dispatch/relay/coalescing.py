"""Makes one message of those that a trigger sent for one object within its window: the latest.

Resolved here, when a relay has claimed the first of them, so that a save pays nothing. The latest goes out at once,
with the first one's turn; the others are superseded by it, visibly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import OuterRef, Subquery

from dispatch.models import OutboxMessage
from dispatch.models.database import database_now
from dispatch.models.write_transactions import brief_write
from dispatch.relay.claims import Claimed

Status = OutboxMessage.Status
#: A later message in one of these carries the latest arguments, or has carried them.
ON_THE_WAY = (Status.PENDING, Status.CLAIMED, Status.PUBLISHED)


def coalesced(using: str, claimed: Sequence[Claimed]) -> list[Claimed]:
    """Supersede those of the claimed messages that have a later one, which becomes due; return the others."""
    keyed = [row for row in claimed if row.coalesce_key and not row.odd]
    if not keyed:
        return list(claimed)
    latest = _latest(using, keyed)
    # None: another relay settled it
    superseded = {row.pk for row in keyed if (latest.get(row.pk) or row.pk) != row.pk}
    for row in keyed:
        if row.pk in superseded:
            with brief_write(using):
                _supersede(using, row, latest[row.pk])
    return [row for row in claimed if row.pk not in superseded]


def _latest(using: str, rows: Sequence[Claimed]) -> dict[Any, Any]:
    """Return the latest message of each one's key, by primary key: one query, which the index answers."""
    alike = OutboxMessage.objects.using(using).filter(
        coalesce_key=OuterRef("coalesce_key"), coalesce_key__gt="", status__in=ON_THE_WAY
    )
    newest = Subquery(alike.order_by("-created_at", "-id").values("pk")[:1])
    found = OutboxMessage.objects.using(using).filter(pk__in=[row.pk for row in rows])
    return dict(found.annotate(newest=newest).values_list("pk", "newest"))


def _supersede(using: str, row: Claimed, latest: Any) -> None:
    """Let a claimed message, and all older ones that wait, give way to the latest."""
    outbox = OutboxMessage.objects.using(using)
    alike = outbox.filter(coalesce_key=row.coalesce_key, coalesce_key__gt="")
    done = {
        "status": Status.SUPERSEDED,
        "superseded_by": latest,
        "lease_token": None,
        "lease_expires_at": None,
    }
    outbox.filter(pk=row.pk, status=Status.CLAIMED, lease_token=row.lease_token).update(**done)
    waiting = alike.filter(status=Status.PENDING)
    its_time = Subquery(outbox.filter(pk=row.pk).values("created_at")[:1])
    older = waiting.filter(created_at__lt=its_time).exclude(pk=latest).values_list("pk", flat=True)
    waiting.filter(pk__in=[*older]).update(**done)
    alike.filter(pk=latest, status=Status.PENDING, available_at__gt=database_now()).update(
        available_at=database_now()
    )
