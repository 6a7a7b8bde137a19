"""What callers and operators do with messages (insert their rows in the caller's transaction, requeue, cancel), not
what a relay does with them (``relay``), nor the columns of a row (``models``).
"""

from __future__ import annotations

from dispatch.outbox.canvas import enqueue_chain, enqueue_group, promote
from dispatch.outbox.destination import PAUSED_TASK, resolve, stamp
from dispatch.outbox.enqueueing import CHANNEL, Draft, Origin, dead_draft, draft, enqueue, insert
from dispatch.outbox.lifecycle import cancel, requeue
from dispatch.outbox.log_fields import stored_log_fields
from dispatch.outbox.stored_calls import arguments_of, call_of, chain_of, stored_call, unreadable

__all__ = [
    "CHANNEL",
    "PAUSED_TASK",
    "Draft",
    "Origin",
    "arguments_of",
    "call_of",
    "cancel",
    "chain_of",
    "dead_draft",
    "draft",
    "enqueue",
    "enqueue_chain",
    "enqueue_group",
    "insert",
    "promote",
    "requeue",
    "resolve",
    "stamp",
    "stored_call",
    "stored_log_fields",
    "unreadable",
]
