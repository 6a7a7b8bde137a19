"""What became of each claimed row, and the UPDATEs that record it under the fencing token."""

from __future__ import annotations

import datetime as dt
import logging
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, connections
from django.db.models import F
from django.db.models.expressions import RawSQL

from dispatch import outbox
from dispatch.core.redaction import ascii_only, redact, storable
from dispatch.core.routing import Destination
from dispatch.heartbeats import Outcome as Counted
from dispatch.heartbeats import Tally
from dispatch.models import OutboxMessage
from dispatch.models.database import close_broken_connections, database_now
from dispatch.models.outbox_message import OutboxQuerySet
from dispatch.models.write_transactions import write_transaction
from dispatch.relay import failed_attempts
from dispatch.relay.claims import Claimed

logger = logging.getLogger("dispatch.relay")
Status = OutboxMessage.Status


class Outcome(NamedTuple):
    """What became of one claimed row.

    ``wait`` seconds pass before it is due again; ``stamp`` is the broker and the queue it waits under from now on.
    """

    message: Claimed
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
        if self.wait or self.status in OutboxMessage.REQUEUEABLE:
            columns["available_at"] = database_now() + dt.timedelta(seconds=self.wait)
        if self.stamp:
            columns |= dict(zip(("broker", "queue"), self.stamp, strict=True))
        if self.destination:
            columns |= {"broker": self.destination.broker, "queue": self.destination.queue}
            columns |= {"published_at": database_now(), "published_to": asdict(self.destination)}
        return columns

    def group(self) -> Hashable:
        """Return a key that rows with the same columns share."""
        return self.message.lease_token, self[1:]  # of one claim: several may be settled together

    def tally(self) -> Tally | None:
        """Return what heartbeats count; None for what was put back untried."""
        row = self.message
        if self.destination:
            return Tally(self.destination.queue, self.status, "", row.due, row)
        if self.status != Status.PENDING:
            return Tally(row.queue, self.status, self.error, message=row)
        return None if self.stamp else Tally(row.queue, Counted.FAILED, self.error, message=row)


def settle(using: str, outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Record outcomes in one transaction; return those that were still ours.

    A row whose lease ran out belongs to another relay by now: its token differs, and it is left alone. What was
    recorded may be recorded once more: nobody knows of a commit whether it came before the connection broke.
    """
    settled: list[Outcome] = []
    with write_transaction(using):
        for members in _alike(outcomes):
            settled += members if _write(using, members) == len(members) else _still_ours(using, members)
        outbox.promote(using, _carrying(settled))
        failed_attempts.record(using, ((each.message, each.error, each.counted) for each in settled))
    return settled


def _carrying(settled: Iterable[Outcome]) -> Iterator[tuple[str, str]]:
    """Yield the options of each message that a broker has, which may be the first of a chain, and the broker."""
    for each in settled:
        if each.destination:
            yield each.message.options, each.destination.broker


def _alike(outcomes: Iterable[Outcome]) -> Iterable[list[Outcome]]:
    groups: dict[Hashable, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.group()].append(outcome)
    return groups.values()


class Unsettled:
    """What became of claimed rows until that is recorded: the broker has what it took, whatever the database does."""

    def __init__(self, using: str) -> None:
        self.using = using
        self._kept: list[Outcome] = []

    def keep(self, outcomes: Iterable[Outcome]) -> None:
        """Keep outcomes for the next time that something is recorded."""
        self._kept += outcomes

    def record(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Keep outcomes and settle all that is kept, a second time after an error; return what was still ours."""
        self.keep(outcomes)
        try:
            return self._settle()
        except (DatabaseError, InterfaceError):  # a conflict, or a lost connection, is over the second time
            close_broken_connections()
            return self._settle()

    def _settle(self) -> list[Outcome]:
        """Record what is kept; return what was still ours.

        Raises what the database raises. Then all is kept for another time, with the errors in letters that every table
        takes. Who keeps some claims no more: it would have more and more to keep.
        """
        try:
            settled = settle(self.using, self._kept) if self._kept else []
        except (DataError, IntegrityError):  # of one, which must not keep the others
            settled = [each for outcome in self._kept for each in _settle_alone(self.using, outcome)]
        except (DatabaseError, InterfaceError):
            self._kept = [each._replace(error=ascii_only(each.error)) for each in self._kept]
            raise
        self._kept = []
        return settled


def _settle_alone(using: str, outcome: Outcome) -> list[Outcome]:
    """Record one outcome; if its row does not take that, it is dead and says so."""
    for known in (outcome, outcome._replace(error=ascii_only(outcome.error))):
        try:
            return settle(using, [known])
        except (DataError, IntegrityError) as error:
            problem = ascii_only(redact(f"It is {outcome.status}, which cannot be recorded: {error}"))
    pk = outcome.message.pk
    logger.error("%s: %s", outcome.message, problem, extra=outbox.stored_log_fields(using, [pk])[str(pk)])
    try:
        return settle(using, [Outcome(outcome.message, Status.DEAD, problem)])
    except (DataError, IntegrityError):
        return []


def _write(using: str, members: list[Outcome]) -> int:
    rows = _of(using, members).filter(status=Status.CLAIMED, lease_token=members[0].message.lease_token)
    return rows.update(**members[0].columns(), lease_token=None, lease_expires_at=None)


def _still_ours(using: str, members: list[Outcome]) -> list[Outcome]:
    ours = set(_of(using, members).filter(status=members[0].status).values_list("pk", flat=True))
    if len(ours) < len(members):
        logger.warning(
            "%d of %d messages were settled after their lease ran out, and may be published twice: "
            'raise DISPATCH["RELAY_LEASE"], or lower RELAY_BATCH_SIZE.',
            len(members) - len(ours),
            len(members),
        )
    return [member for member in members if member.message.pk in ours]


def _of(using: str, members: list[Outcome]) -> OutboxQuerySet:
    ids: Any = [member.message.pk for member in members]
    if connections[using].vendor == "postgresql":  # one parameter, where Django would look at each id
        ids = RawSQL("SELECT UNNEST(%s)", [ids])
    return OutboxMessage.objects.using(using).filter(pk__in=ids)
