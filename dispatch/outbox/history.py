"""What happened to a message, in the order of time: as its own columns and its failed attempts tell it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dispatch.conf import conf
from dispatch.models import Attempt, OutboxMessage

#: A message that was due so soon after it was enqueued was due at once.
SOON = dt.timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Event:
    """What happened at a moment, or is to happen; only a failed attempt has what stands below the two.

    ``number`` is None for an attempt that was not counted.
    """

    kind: str
    at: dt.datetime
    number: int | None = None
    error: str = ""
    broker: str = ""
    queue: str = ""


def events(
    message: OutboxMessage, finished_at: dt.datetime | None = None, started_at: dt.datetime | None = None
) -> list[Event]:
    """Return the events of a message; when the worker began, and when it was done, is known to its result."""
    began = {"enqueued": message.created_at, **_due(message), **_claimed(message)}
    ended = {
        **_ended(message),
        "published": message.published_at,
        "started": started_at,
        "finished": finished_at,
        "handled": message.handled_at,
        "expires": message.expires_at,
    }
    found = [*_moments(began), *_failures(message), *_moments(ended)]
    return sorted(
        found, key=lambda event: event.at.replace(microsecond=0)
    )  # an attempt before what came of it


def _moments(moments: Mapping[str, dt.datetime | None]) -> Iterator[Event]:
    return (Event(kind, at) for kind, at in moments.items() if at)


def _ended(message: OutboxMessage) -> dict[str, dt.datetime]:
    """Of a message that is not to be sent, ``available_at`` says since when."""
    return {message.status: message.available_at} if message.status in OutboxMessage.REQUEUEABLE else {}


def _due(message: OutboxMessage) -> dict[str, dt.datetime]:
    enqueued, due = message.created_at, message.available_at
    is_late = None not in (enqueued, due) and due - enqueued > SOON  # SQLite has None for what is no time
    return {"due": due} if is_late and message.status not in OutboxMessage.REQUEUEABLE else {}


def _claimed(message: OutboxMessage) -> dict[str, dt.datetime]:
    """A lease is all that a claim writes: it began so long before it ends."""
    ends = message.lease_expires_at
    return {"claimed": ends - dt.timedelta(seconds=conf.RELAY_LEASE), "lease ends": ends} if ends else {}


def _failures(message: OutboxMessage) -> list[Event]:
    rows = Attempt.objects.using(message._state.db).filter(message=message.pk)
    return [Event("failed", row.at, row.number, row.error, row.broker, row.queue) for row in rows if row.at]
