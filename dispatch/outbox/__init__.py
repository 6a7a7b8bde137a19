"""Writes outbox rows in the caller's transaction, and moves rows that are not on their way back and forth."""

from __future__ import annotations

from dispatch.outbox.drafting import Draft, Origin, dead_draft, draft
from dispatch.outbox.enqueuing import enqueue, insert
from dispatch.outbox.moving import cancel, requeue
from dispatch.outbox.stamping import PAUSED_TASK, resolve, stamp

__all__ = [
    "PAUSED_TASK",
    "Draft",
    "Origin",
    "cancel",
    "dead_draft",
    "draft",
    "enqueue",
    "insert",
    "requeue",
    "resolve",
    "stamp",
]
