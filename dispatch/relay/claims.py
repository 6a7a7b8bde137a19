"""Takes due rows for one relay alone, by what each database does well.

Leases are timed by the database's clock. The outer UPDATE checks the status again: without that, and without
SKIP LOCKED, two relays take the same rows.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection
from typing import Any

from django.db import connections, transaction

from dispatch.models import OutboxMessage
from dispatch.models.outbox import OutboxQuerySet
from dispatch.models.parts import database_now

Status = OutboxMessage.Status


def claim(
    using: str,
    limit: int,
    lease: float,
    *,
    skip_queues: Collection[str] = (),
    skip_brokers: Collection[str] = (),
) -> list[OutboxMessage]:
    """Return up to ``limit`` due rows, oldest first, leased for ``lease`` seconds under one fresh token.

    They are read by status, never by a cursor: a transaction that commits late must not be passed over.
    """
    due = OutboxMessage.objects.using(using).filter(status=Status.PENDING, available_at__lte=database_now())
    if skip_queues:
        due = due.exclude(queue__in=skip_queues)
    if skip_brokers:
        due = due.exclude(broker__in=skip_brokers)
    due = due.order_by("available_at", "id")
    token = uuid.uuid4()
    leased = {
        "status": Status.CLAIMED,
        "lease_token": token,
        "lease_expires_at": database_now() + dt.timedelta(seconds=lease),
    }
    if connections[using].features.has_select_for_update_skip_locked:
        return _claim_locked(using, due[:limit], leased)
    return _claim_conditionally(using, due[:limit], leased)


def release_expired(using: str) -> int:
    """Put rows whose relay went silent back to pending; return how many."""
    expired = OutboxMessage.objects.using(using).filter(
        status=Status.CLAIMED, lease_expires_at__lt=database_now()
    )
    return expired.update(status=Status.PENDING, lease_token=None, lease_expires_at=None)


def _claim_locked(using: str, due: OutboxQuerySet, leased: dict[str, Any]) -> list[OutboxMessage]:
    with transaction.atomic(using=using):
        rows = list(due.select_for_update(skip_locked=True))
        if rows:
            ids = [row.pk for row in rows]
            OutboxMessage.objects.using(using).filter(pk__in=ids, status=Status.PENDING).update(**leased)
    for row in rows:
        row.status, row.lease_token = leased["status"], leased["lease_token"]
    return rows


def _claim_conditionally(using: str, due: OutboxQuerySet, leased: dict[str, Any]) -> list[OutboxMessage]:
    rows = OutboxMessage.objects.using(using)
    if not rows.filter(status=Status.PENDING, pk__in=due.values("pk")).update(**leased):
        return []
    mine = rows.filter(status=Status.CLAIMED, lease_token=leased["lease_token"])
    return list(mine.order_by("available_at", "id"))
