"""What each trigger sent lately, and its last error: at the ends of two indexes, since none leads to a trigger."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace

from django.db.models import Count, Max

from dispatch.models import OutboxMessage

#: The newest messages that are counted, and the newest dead ones that are looked through for the last error.
MOST_COUNTED, MOST_DEAD = 10_000, 1_000


@dataclass(frozen=True, slots=True)
class Activity:
    """So many of the newest messages are the trigger's, the last one of then; ``dead`` is its last dead one."""

    sent: int = 0
    last: dt.datetime | None = None
    dead: OutboxMessage | None = None


def recent(using: str) -> Mapping[str, Activity]:
    """Return what triggers sent, by name; those that are not among the newest messages are left out."""
    rows = OutboxMessage.objects.using(using)
    lately = rows.filter(origin=OutboxMessage.Origin.TRIGGER).order_by()
    before = rows.order_by("-id").values_list("id", flat=True)[MOST_COUNTED : MOST_COUNTED + 1]
    for oldest in before:
        lately = lately.filter(id__gt=oldest)
    counted = lately.values_list("origin_name").annotate(Count("pk"), Max("created_at"))
    found = {name: Activity(sent, last) for name, sent, last in counted}
    dead = rows.filter(status=OutboxMessage.Status.DEAD).order_by("available_at", "id").reverse()
    for message in dead.only("origin", "origin_name", "last_error", "available_at")[:MOST_DEAD]:
        known = found.get(message.origin_name, Activity())
        if message.origin == OutboxMessage.Origin.TRIGGER and known.dead is None:
            found[message.origin_name] = replace(known, dead=message)
    return found
