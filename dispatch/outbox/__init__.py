"""Writes outbox rows in the caller's transaction, and moves rows that are not on their way back and forth."""

from __future__ import annotations

from dispatch.outbox.destination import PAUSED_TASK, resolve, stamp
from dispatch.outbox.enqueueing import Draft, Origin, dead_draft, draft, enqueue, insert
from dispatch.outbox.lifecycle import cancel, requeue

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
