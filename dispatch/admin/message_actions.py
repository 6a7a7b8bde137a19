"""Requeueing and cancelling from the admin: done in one transaction, written into its history, told in numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext, ngettext_lazy

from dispatch import outbox
from dispatch.admin import widgets
from dispatch.models import OutboxMessage
from dispatch.models.write_transactions import write_transaction

Status = OutboxMessage.Status


@dataclass(frozen=True, slots=True)
class Move:
    """One of the two things that operators may do to messages."""

    label: Any
    run: Callable[[Any], int]
    statuses: tuple[str, ...]
    done: Any
    refused: Any
    history: Any

    def applies(self, message: OutboxMessage) -> bool:
        """Tell whether it can be done to this message."""
        return message.status in self.statuses and (self.run is not requeue or bool(message.broker))


def requeue(rows: Any) -> int:
    """Requeue those that have something to send.

    A row without a broker stands for a message that a trigger could not make: it holds an error, and no arguments.
    """
    return outbox.requeue(rows.exclude(broker=""))


MOVES = {
    "requeue": Move(
        label=_("Requeue"),
        run=requeue,
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
        run=outbox.cancel,
        statuses=(Status.PENDING, Status.DEAD),
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


def perform(verb: str, request: HttpRequest, rows: QuerySet[Any]) -> None:
    """Do it to all rows that allow it, and tell the user how many did and why others did not."""
    move = MOVES[verb]
    with write_transaction(rows.db):
        before = _counts(rows)
        empty = 0 if move.run is not requeue else rows.filter(broker="", status__in=move.statuses).count()
        single = rows.order_by().first() if sum(before.values()) == 1 else None
        done = move.run(rows)
        if done:
            _write_history(request, move, done, single)
    if done:
        messages.success(request, str(move.done % {"count": done}))
    _tell_refused(request, move, before)
    if empty:
        messages.warning(request, _empty(empty))


def _counts(rows: QuerySet[Any]) -> dict[str, int]:
    return dict(rows.order_by().values_list("status").annotate(Count("pk")))


def _tell_refused(request: HttpRequest, move: Move, before: dict[str, int]) -> None:
    refused = {status: count for status, count in before.items() if status not in move.statuses}
    if refused:
        counts = ", ".join(
            f"{widgets.number(count)} {Status(status).label}" for status, count in refused.items()
        )
        messages.warning(request, move.refused % {"counts": counts})


def _empty(count: int) -> str:
    return ngettext(
        "%(count)s message has nothing to send, because its trigger could not make it: correct the trigger as the last "
        "error says, then save the object again.",
        "%(count)s messages have nothing to send, because their triggers could not make them: correct the triggers as "
        "the last errors say, then save the objects again.",
        count,
    ) % {"count": count}


def _write_history(request: HttpRequest, move: Move, count: int, single: OutboxMessage | None) -> None:
    """Write one entry, however many messages there were: a million of them must not make a million entries."""
    what = str(single) if single else _t("%(count)d messages") % {"count": count}
    LogEntry.objects.create(
        user_id=request.user.pk or 0,  # the admin lets nobody in without a row
        content_type=ContentType.objects.get_for_model(OutboxMessage),
        object_id=str(single.pk) if single else None,
        object_repr=what[:200],
        action_flag=CHANGE,
        change_message=str(move.history),
    )
