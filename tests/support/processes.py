"""Time that passes for heartbeats and messages: their rows are made old."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.db.models import F

from dispatch.models import MinuteCount, OutboxMessage, Process
from dispatch.models.database import database_now


def make_process(kind: str = "relay", *, seconds: float = 0, **columns: Any) -> Process:
    """A process that was seen so many seconds ago."""
    seen = database_now() - dt.timedelta(seconds=seconds)
    row = {
        "id": uuid.uuid4(),
        "host": "web-1",
        "pid": 7,
        "version": "1.0",
        "started_at": seen,
        "seen_at": seen,
    }
    return Process.objects.create(kind=kind, **{**row, **columns})


def grow_old(seconds: float) -> None:
    """Let all that was written be so much older."""
    ago = dt.timedelta(seconds=seconds)
    Process.objects.update(seen_at=F("seen_at") - ago)
    MinuteCount.objects.update(minute=F("minute") - ago)
    OutboxMessage.objects.update(available_at=F("available_at") - ago)
    OutboxMessage.objects.exclude(published_at=None).update(published_at=F("published_at") - ago)
