"""What became of each claimed row, and the UPDATEs that record it under the fencing token."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.db.models import F

from dispatch.core.redaction import ascii_only, storable
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
        ours = self.message.lease_token  # of one claim: several may be settled together
        return ours, self.status, self.error, self.wait, self.counted, self.stamp, self.destination


def settle(using: str, outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Record outcomes in one transaction; return those that were still ours.

    A row whose lease ran out belongs to another relay by now: its token differs, and it is left alone. What was
    recorded may be recorded once more: nobody knows of a commit whether it came before the connection broke.
    """
    settled: list[Outcome] = []
    with write_transaction(using):
        for members in _alike(outcomes):
            settled += members if _write(using, members) == len(members) else _still_ours(using, members)
    return settled


def _alike(outcomes: Iterable[Outcome]) -> Iterable[list[Outcome]]:
    groups: dict[Hashable, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.group()].append(outcome)
    return groups.values()


class Unsettled:
    """What became of claimed rows until that is recorded: the broker has what it took, whatever the database does."""

    def __init__(self, using: str) -> None:
        self.using = using
        self._kept: list[tuple[float, Outcome]] = []

    def keep(self, outcomes: Iterable[Outcome], seconds: float) -> None:
        """Keep outcomes until they are recorded, for no longer than a lease of that many seconds."""
        until = time.monotonic() + seconds
        self._kept += [(until, outcome) for outcome in outcomes]

    def settle(self) -> list[Outcome]:
        """Record what is kept; return what was still ours.

        Raises what the database raises. Then all is kept for another time while its lease may hold, with the errors in
        letters that every table takes; afterwards another relay may have published it.
        """
        try:
            settled = settle(self.using, [outcome for _, outcome in self._kept]) if self._kept else []
        except (DatabaseError, InterfaceError):
            self._kept = [(until, replace(each, error=ascii_only(each.error))) for until, each in self._kept]
            self._forget_expired()
            raise
        self._kept.clear()
        return settled

    def _forget_expired(self) -> None:
        now, kept = time.monotonic(), self._kept
        self._kept = [(until, each) for until, each in kept if until >= now]
        if forgotten := len(kept) - len(self._kept):
            logger.error(
                "What became of %d messages could not be recorded while their lease held: they may be published twice.",
                forgotten,
            )


def _write(using: str, members: list[Outcome]) -> int:
    ids = [member.message.pk for member in members]
    rows = OutboxMessage.objects.using(using).filter(
        pk__in=ids, status=Status.CLAIMED, lease_token=members[0].message.lease_token
    )
    return rows.update(**members[0].columns(), lease_token=None, lease_expires_at=None)


def _still_ours(using: str, members: list[Outcome]) -> list[Outcome]:
    ids = [member.message.pk for member in members]
    rows = OutboxMessage.objects.using(using).filter(pk__in=ids, status=members[0].status)
    ours = set(rows.values_list("pk", flat=True))
    if len(ours) < len(members):
        logger.warning(
            "%d of %d messages were settled after their lease ran out, and may be published twice: "
            'raise DISPATCH["RELAY_LEASE"], or lower RELAY_BATCH_SIZE.',
            len(members) - len(ours),
            len(members),
        )
    return [member for member in members if member.message.pk in ours]
