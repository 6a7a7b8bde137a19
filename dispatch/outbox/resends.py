"""Sent again as new: from a message to the one it repeats, and to those that repeat it (decision 50)."""

from __future__ import annotations

import uuid
from typing import NamedTuple

from dispatch.models import OutboxMessage, Resend


class Resends(NamedTuple):
    """The message that one repeats, and those that repeat it, oldest first; each may have been pruned since."""

    original: uuid.UUID | None
    copies: list[uuid.UUID]


def note_resend(original: OutboxMessage, copy: OutboxMessage) -> None:
    """Note that one message repeats another; call it in the transaction that sends the copy."""
    Resend.objects.using(copy._state.db).create(original=original.pk, copy=copy.pk)


def resends(message: OutboxMessage) -> Resends:
    """Return what a message repeats, and what repeats it."""
    rows = Resend.objects.using(message._state.db)
    return Resends(
        original=rows.filter(copy=message.pk).values_list("original", flat=True).first(),
        copies=list(rows.filter(original=message.pk).order_by("copy").values_list("copy", flat=True)),
    )
