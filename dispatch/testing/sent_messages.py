"""What a test has sent, as plain values."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dispatch import registry
from dispatch.core.message import represent
from dispatch.core.redaction import shorten
from dispatch.models import OutboxMessage

LONGEST_VALUE = 80


@dataclass(frozen=True, slots=True)
class Sent:
    """A message as it stands in the outbox; ``args`` and ``kwargs`` are what the worker will read.

    ``origin`` is "code", "trigger" or "user", ``trigger`` the name of the trigger, ``model`` and ``object_pk`` the
    object it fired for ("" without one). ``delay`` is the wait in seconds before the message is due. ``error`` says
    why a trigger could not enqueue it, "" for all others.
    """

    id: uuid.UUID
    task: str
    args: list[Any] = field(repr=False)
    kwargs: dict[str, Any] = field(repr=False)
    origin: str
    trigger: str
    model: str
    object_pk: str
    queue: str
    delay: float
    options: Mapping[str, Any]
    headers: Mapping[str, Any]
    database: str
    error: str
    shown: str

    def __str__(self) -> str:
        to = f" to queue {self.queue!r}" if self.queue else ""
        by = f", by trigger {self.trigger!r}" if self.trigger else ""
        about = f" for {self.model} {self.object_pk}" if self.model else ""
        return f"{self.shown}{to}{by}{about}"


@dataclass(frozen=True, slots=True)
class Noted:
    """A row that was inserted, and may have been rolled back since. The stored due time is by the database's clock."""

    id: uuid.UUID
    task: str
    delay: float
    database: str

    @classmethod
    def of(cls, row: OutboxMessage, using: str) -> Noted:
        """Return what is noted of a row when it is inserted."""
        return cls(row.pk, row.task_name, (row.available_at - row.created_at).total_seconds(), using)


def read(noted: Sequence[Noted]) -> list[Sent]:
    """Return those of some messages that are in the outbox, in their order."""
    rows: dict[uuid.UUID, OutboxMessage] = {}
    for using in {each.database for each in noted}:
        ids = [each.id for each in noted if each.database == using]
        rows |= OutboxMessage.objects.using(using).in_bulk(ids)
    return [_sent(rows[each.id], each) for each in noted if each.id in rows]


def _sent(row: OutboxMessage, noted: Noted) -> Sent:
    is_trigger = row.origin == OutboxMessage.Origin.TRIGGER
    return Sent(
        id=row.pk,
        task=row.task_name,
        args=json.loads(row.args),
        kwargs=json.loads(row.kwargs),
        origin=row.origin,
        trigger=row.origin_name if is_trigger else "",
        model=row.object_model,
        object_pk=row.object_pk,
        queue=row.queue,
        delay=noted.delay,
        options=row.options,
        headers=row.headers,
        database=noted.database,
        error=row.last_error if _never_was_one(row) else "",
        shown=_call(row),
    )


def _never_was_one(row: OutboxMessage) -> bool:
    """Tell whether the row only says that a trigger could not enqueue."""
    return row.status == OutboxMessage.Status.DEAD and not row.broker


def _call(row: OutboxMessage) -> str:
    """Return the message as a call, the values of sensitive parameters masked."""
    task = registry.current().tasks.get(row.task_name)
    args, kwargs = (
        task.masked(row.args, row.kwargs) if task else (json.loads(row.args), json.loads(row.kwargs))
    )
    parts = [short(value) for value in args] + [f"{name}={short(value)}" for name, value in kwargs.items()]
    return f"{row.task_name}({', '.join(parts)})"


def short(value: Any) -> str:
    """Return a value's repr, cut in the middle."""
    return shorten(represent(value), LONGEST_VALUE)
