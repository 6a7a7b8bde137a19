"""What became of each claimed row, and the UPDATEs that record it under the fencing token."""

from __future__ import annotations

import datetime as dt
import logging
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from django.db.models import F

from dispatch.core.redaction import storable
from dispatch.core.routing import Destination
from dispatch.models import OutboxMessage
from dispatch.models.database import database_now
from dispatch.models.write_transactions import write_transaction

logger = logging.getLogger("dispatch.relay")
Status = OutboxMessage.Status


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one claimed row.

    ``wait`` seconds pass before it is due again; ``stamp`` is the broker and the queue it waits under from now on.
    """

    message: OutboxMessage
    status: str
    error: str = ""
    wait: float = 0.0
    counted: bool = False
    destination: Destination | None = None
    stamp: tuple[str, str] | None = None

    def columns(self) -> dict[str, Any]:
        """Return what is written into the row, without the lease."""
        columns: dict[str, Any] = {"status": self.status, "last_error": storable(self.error)}
        if self.counted:
            columns["attempts"] = F("attempts") + 1
        if self.wait:
            columns["available_at"] = database_now() + dt.timedelta(seconds=self.wait)
        if self.stamp:
            columns |= dict(zip(("broker", "queue"), self.stamp, strict=True))
        if self.destination:
            columns |= {"broker": self.destination.broker, "queue": self.destination.queue}
            columns |= {"published_at": database_now(), "published_to": asdict(self.destination)}
        return columns

    def group(self) -> Hashable:
        """Return a key that rows with the same columns share."""
        return self.status, self.error, self.wait, self.counted, self.stamp, self.destination


def settle(using: str, outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Record the outcomes of one claim in one transaction; return those that were still ours.

    A row whose lease ran out belongs to another relay by now: its token differs, and it is left alone.
    """
    groups: dict[Hashable, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.group()].append(outcome)
    settled: list[Outcome] = []
    with write_transaction(using):
        for members in groups.values():
            settled += members if _write(using, members) == len(members) else _still_ours(using, members)
    return settled


def _write(using: str, members: list[Outcome]) -> int:
    ids = [member.message.pk for member in members]
    rows = OutboxMessage.objects.using(using).filter(
        pk__in=ids, status=Status.CLAIMED, lease_token=members[0].message.lease_token
    )
    return rows.update(**members[0].columns(), lease_token=None, lease_expires_at=None)


def _still_ours(using: str, members: list[Outcome]) -> list[Outcome]:
    logger.warning(
        "Some of %d messages were settled after their lease ran out, and may be published twice: "
        'raise DISPATCH["RELAY_LEASE"], or lower RELAY_BATCH_SIZE.',
        len(members),
    )
    ids = [member.message.pk for member in members]
    status = members[0].status
    ours = set(
        OutboxMessage.objects.using(using).filter(pk__in=ids, status=status).values_list("pk", flat=True)
    )
    return [member for member in members if member.message.pk in ours]
