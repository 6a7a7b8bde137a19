"""Messages as they stand in the outbox after days."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from typing import Any

from django.utils import timezone

from dispatch.models import OutboxMessage
from dispatch.outbox.retention import first_id
from tests.support.registry import TASK

DAY = dt.timedelta(days=1)
_numbers = itertools.count(1)


def message(status: str, days: float, **columns: Any) -> uuid.UUID:
    """Insert a message that was sent, and came into this status, so many days ago; return its id."""
    then = timezone.now() - days * DAY
    needed: dict[str, dict[str, Any]] = {
        "claimed": {"lease_token": uuid.uuid4(), "lease_expires_at": then},
        "published": {"published_at": then},
        "superseded": {"superseded_by": uuid.uuid4()},
    }
    columns = {
        "pk": uuid.UUID(int=first_id(then).int + next(_numbers)),
        "created_at": then,
        "available_at": then,
        "broker": "default",
        **needed.get(status, {}),
        **columns,
    }
    return OutboxMessage.objects.create(task_name=TASK, status=status, **columns).pk


def left() -> set[uuid.UUID]:
    """Return the ids of all messages that are there."""
    return set(OutboxMessage.objects.values_list("pk", flat=True))
