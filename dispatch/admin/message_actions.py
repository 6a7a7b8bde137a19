"""Requeueing, cancelling and revoking from the admin: written into its history, told in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from django.contrib import messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext, ngettext_lazy

from dispatch import outbox
from dispatch.admin import history, widgets
from dispatch.models import OutboxMessage
from dispatch.models.write_transactions import write_transaction
from dispatch.outbox.revocation import Revocation, revoke

Status = OutboxMessage.Status


@dataclass(slots=True)
class Tally:
    """What is to be done, or was done, with how many messages.

    ``able`` are those that allow it and ``refused`` the others, by their status; ``empty`` ones hold nothing to send.
    ``revocation`` is what came of it where they were revoked.
    """

    done: int = 0
    able: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    empty: int = 0
    revocation: Revocation = field(default_factory=Revocation)

    def add(self, other: Tally) -> None:
        """Add what there is to tell of further messages."""
        self.done += other.done
        self.able += other.able
        self.refused += other.refused
        self.empty += other.empty
        self.revocation.add(other.revocation)


@dataclass(frozen=True, slots=True)
class Move:
    """One of the things that operators may do to messages; of many they are asked ``question`` before."""

    label: Any
    question: Any
    consequence: Any
    consent: Any
    run: Callable[[Any], Any]
    statuses: tuple[str, ...]
    refused: Any
    history: Any
    done: Any = ""

    def applies(self, message: OutboxMessage) -> bool:
        """Tell whether it can be done to this message."""
        return message.status in self.statuses and (self.run is not outbox.requeue or bool(message.broker))

    def perform(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        """Do it to all rows that allow it, and tell the user how many did and why others did not."""
        self.tell(request, self.carry_out(request, rows))

    def forecast(self, rows: QuerySet[Any]) -> Tally:
        """Return to how many rows it can be done, and to which it cannot."""
        tally = Tally()
        for status, count in rows.order_by().values_list("status").annotate(Count("pk")):
            (tally.able if status in self.statuses else tally.refused)[status] = count
        if self.run is outbox.requeue:
            tally.empty = rows.filter(broker="", status__in=self.statuses).count()
        return tally

    def carry_out(self, request: HttpRequest, rows: QuerySet[Any]) -> Tally:
        """Do it to all rows that allow it, and write that into the history."""
        with write_transaction(rows.db):
            tally = self.forecast(rows)
            single = _single(rows, tally)
            tally.done = self.run(rows)
            _write_history(request, self.history, tally.done, single)
        return tally

    def tell(self, request: HttpRequest, tally: Tally) -> None:
        """Tell the user what was done, and why not to the others."""
        if tally.done:
            messages.success(request, str(self.done % {"count": tally.done}))
        for text in self.obstacles(tally):
            messages.warning(request, text)

    def obstacles(self, tally: Tally) -> Iterator[str]:
        """Yield why it is not done to some of the messages."""
        if tally.refused:
            yield self.refused % {"counts": in_words(tally.refused)}
        if tally.empty:
            yield _empty(tally.empty)


class Revoking(Move):
    """Brokers are asked, so that no transaction may be open meanwhile, and there is more to tell than a number."""

    def carry_out(self, request: HttpRequest, rows: QuerySet[Any]) -> Tally:
        tally = self.forecast(rows)
        single = _single(rows, tally)
        tally.revocation = self.run(rows)
        _write_history(request, MOVES["cancel"].history, tally.revocation.cancelled, single)
        _write_history(request, self.history, tally.revocation.revoked, single)
        return tally

    def tell(self, request: HttpRequest, tally: Tally) -> None:
        _tell_revoked(request, tally.revocation)
        super().tell(request, tally)


MOVES = {
    "requeue": Move(
        label=_("Requeue"),
        question=ngettext_lazy("Requeue %(count)s message?", "Requeue %(count)s messages?", "count"),
        consequence=_(
            "They go back to pending, with all attempts before them, and the relay publishes them."
        ),
        consent=_("Yes, requeue them"),
        run=outbox.requeue,
        statuses=tuple(OutboxMessage.REQUEUEABLE),
        done=ngettext_lazy(
            "%(count)s message is pending again: the relay publishes it, with all attempts before it.",
            "%(count)s messages are pending again: the relay publishes them, with all attempts before them.",
            "count",
        ),
        refused=_(
            "Not requeued: %(counts)s. Only dead and cancelled messages can be; the others are on their way already."
        ),
        history=_("Requeued."),
    ),
    "cancel": Move(
        label=_("Cancel"),
        question=ngettext_lazy("Cancel %(count)s message?", "Cancel %(count)s messages?", "count"),
        consequence=_("They are not sent, unless you requeue them."),
        consent=_("Yes, cancel them"),
        run=outbox.cancel,
        statuses=tuple(OutboxMessage.CANCELLABLE),
        done=ngettext_lazy(
            "%(count)s message is cancelled: it is not sent unless you requeue it.",
            "%(count)s messages are cancelled: they are not sent unless you requeue them.",
            "count",
        ),
        refused=_(
            "Not cancelled: %(counts)s. Only pending and dead messages can be: a claimed one is being published at "
            "this moment, a published one is with the broker."
        ),
        history=_("Cancelled."),
    ),
}


REVOKE = Revoking(
    label=_("Revoke"),
    question=ngettext_lazy("Revoke %(count)s message?", "Revoke %(count)s messages?", "count"),
    consequence=_(
        "What waits is cancelled, and the running workers are told not to run what is published. What runs already "
        "goes on, and a worker that starts later knows nothing of it, unless it keeps a --statedb."
    ),
    consent=_("Yes, revoke them"),
    run=revoke,
    statuses=(Status.PENDING, Status.CLAIMED, Status.PUBLISHED),
    refused=_(
        "Not revoked: %(counts)s. These are not on their way, or wait in their chain: revoke its first message."
    ),
    history=_("Revoked."),
)
#: Ends what runs already, too, as Celery does it unless told otherwise.
REVOKE_AND_END = replace(REVOKE, run=partial(revoke, signal="SIGTERM"))


def in_words(counts: Counter[str]) -> str:
    """Return numbers of statuses as an enumeration."""
    return ", ".join(f"{widgets.number(count)} {Status(status).label}" for status, count in counts.items())


def _empty(count: int) -> str:
    return ngettext(
        "%(count)s message has nothing to send, because its trigger could not make it: correct the trigger as the last "
        "error says, then save the object again.",
        "%(count)s messages have nothing to send, because their triggers could not make them: correct the triggers as "
        "the last errors say, then save the objects again.",
        count,
    ) % {"count": count}


def _single(rows: QuerySet[Any], tally: Tally) -> OutboxMessage | None:
    """Return the message, if there is but one: it has a history of its own."""
    return rows.order_by().first() if tally.able.total() + tally.refused.total() == 1 else None


def _write_history(request: HttpRequest, what: Any, count: int, single: OutboxMessage | None) -> None:
    """Write one entry, however many messages there were: a million of them must not make a million entries."""
    if count:
        many = ngettext("%(count)d message", "%(count)d messages", count) % {"count": count}
        history.write(request, OutboxMessage, str(what), str(single) if single else many, single)


def _tell_revoked(request: HttpRequest, result: Revocation) -> None:
    """Tell the user what came of a revocation."""
    workers = ", ".join(sorted(result.workers))
    found = [
        (
            messages.SUCCESS,
            result.cancelled,
            ngettext(
                "%(count)s message was cancelled before it was published.",
                "%(count)s messages were cancelled before they were published.",
                result.cancelled,
            ),
        ),
        (
            messages.SUCCESS,
            result.revoked,
            ngettext(
                "%(count)s message is revoked: %(workers)s will not run it. A worker that starts later does not "
                "know, unless it has a --statedb.",
                "%(count)s messages are revoked: %(workers)s will not run them. A worker that starts later does not "
                "know, unless it has a --statedb.",
                result.revoked,
            ),
        ),
        (
            messages.INFO,
            result.done,
            ngettext(
                "%(count)s message had a result already.",
                "%(count)s messages had a result already.",
                result.done,
            ),
        ),
        (
            messages.WARNING,
            result.in_hand,
            ngettext(
                "%(count)s message is in the hands of a relay at this moment: revoke it again in a second.",
                "%(count)s messages are in the hands of a relay at this moment: revoke them again in a second.",
                result.in_hand,
            ),
        ),
    ]
    for level, count, text in found:
        if count:
            messages.add_message(request, level, text % {"count": count, "workers": workers})
    for problem in sorted(result.problems):
        messages.error(request, problem)
