"""Declaring, purging and applying from the admin: a page says what will happen, and then what became of each queue.

The page asks brokers and workers, for no longer than a few times ``BROKER_TIMEOUT``, as the commands do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from dispatch.admin import base, broker_state, history, links, widgets
from dispatch.admin.explanations.section import Note
from dispatch.admin.links import Link
from dispatch.admin.tables import Table
from dispatch.exceptions import ConfigurationError
from dispatch.models import Queue

if TYPE_CHECKING:
    from dispatch.queues import Outcome, Step

#: Queues of one action.
MOST = 100


@dataclass(slots=True)
class Intent:
    """What an action is going to do: ``button`` is "" where there is nothing to do."""

    text: str
    button: str
    tables: list[Table] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Action:
    """One of the things that operators do with queues on brokers and workers."""

    label: Any
    permission: str
    look: Callable[[Sequence[str]], Intent]
    act: Callable[[Any, HttpRequest, Sequence[Queue]], None]
    needs_queues: bool = True

    def is_permitted(self, model_admin: Any, request: HttpRequest) -> bool:
        """Tell whether this user may do it, by the admin of queues."""
        return bool(getattr(model_admin, f"has_{self.permission}_permission")(request))


def view(model_admin: Any, verb: str) -> Any:
    """Return the view of an action: ``?pk=1&pk=2`` are the queues; GET shows what it would do, POST does it."""
    action = ACTIONS[verb]

    @transaction.non_atomic_requests
    def page(request: HttpRequest) -> HttpResponse:
        if not (model_admin.has_view_permission(request) and action.is_permitted(model_admin, request)):
            raise PermissionDenied
        keys = [key for key in request.GET.getlist("pk")[:MOST] if base.may_be_key(Queue, key)]
        rows = list(model_admin.get_queryset(request).filter(pk__in=keys))
        to_list = HttpResponseRedirect(links.page("dispatch_queue_changelist", model_admin.admin_site))
        if not rows and (action.needs_queues or request.GET.getlist("pk")):
            messages.warning(request, _("Choose the queues in the list first."))
            return to_list
        try:
            if request.method == "POST":
                _do(action, model_admin, request, rows)
                return to_list
            intent = action.look([row.name for row in rows])
        except ConfigurationError as error:
            messages.error(request, widgets.with_commands(error))
            return to_list
        shown: HttpResponse = model_admin.own_page(
            request, "admin/dispatch/queue/action.html", title=action.label, intent=intent
        )
        return shown

    return model_admin.admin_site.admin_view(page)


def _do(action: Action, model_admin: Any, request: HttpRequest, rows: Sequence[Queue]) -> None:
    from dispatch.queues import sights

    try:
        action.act(model_admin, request, rows)
    finally:
        sights.clear()  # the list is to show what has become of it


# -- declare, purge --------------------------------------------------------------------------------


def _declaring(names: Sequence[str]) -> Intent:
    table, _ready = _seen(names)
    text = gettext(
        "Creates these queues on their brokers, with exchanges and bindings, as the relay does before it publishes. "
        "What is there already stays as it is, with its messages; where it differs, you are told how."
    )
    return Intent(text, gettext("Declare"), [table])


def _declare(model_admin: Any, request: HttpRequest, rows: Sequence[Queue]) -> None:
    from dispatch.queues import declare

    done = _told(request, rows, declare([row.name for row in rows]))
    for row, _outcome in done:
        model_admin.log_change(request, row, gettext("Declared on its broker."))
    if done:
        names = widgets.listed(row.name for row, _outcome in done)
        messages.success(request, gettext("Declared: %(names)s.") % {"names": names})


def _purging(names: Sequence[str]) -> Intent:
    table, ready = _seen(names)
    text = gettext(
        "Throws away what waits in these queues on their brokers. Nothing brings it back. What workers hold "
        "already, and what waits in the outbox, stays."
    )
    button = ngettext("Throw away %(count)s message", "Throw away %(count)s messages", ready)
    return Intent(text, button % {"count": widgets.number(ready)} if ready else gettext("Purge"), [table])


def _purge(model_admin: Any, request: HttpRequest, rows: Sequence[Queue]) -> None:
    from dispatch.queues import purge

    for row, outcome in _told(request, rows, purge([row.name for row in rows])):
        if outcome.messages is None:
            messages.info(request, gettext("Queue %(queue)s is not on its broker.") % {"queue": row.name})
            continue
        gone = ngettext(
            "%(count)s message was thrown away.", "%(count)s messages were thrown away.", outcome.messages
        )
        text = gone % {"count": widgets.number(outcome.messages)}
        model_admin.log_change(request, row, gettext("Purged: %(text)s") % {"text": text})
        messages.success(request, _about(row.name, text))


def _seen(names: Sequence[str]) -> tuple[Table, int]:
    """Return what the brokers show of the queues, and how many messages wait there as far as they say."""
    from dispatch.queues import look

    found = sorted(look(names), key=lambda pair: pair[0].name)
    rows = [
        [
            Link(queue.name),
            Link(queue.broker),
            Link(broker_state.in_words(seen)),
            Link(widgets.with_commands(seen.note)),
        ]
        for queue, seen in found
    ]
    columns = (_("queue"), _("broker"), _("on the broker"), _("note"))
    table = Table(gettext("What the brokers show now"), columns, rows)
    return table, sum(seen.ready or 0 for _queue, seen in found)


def _told(
    request: HttpRequest, rows: Sequence[Queue], outcomes: Iterable[Outcome]
) -> list[tuple[Queue, Outcome]]:
    """Tell the user what failed, and return the rest with the rows."""
    by_name, done = {row.name: row for row in rows}, []
    for outcome in outcomes:
        if outcome.error:
            messages.error(request, _about(outcome.queue, outcome.error))
        else:
            done.append((by_name[outcome.queue], outcome))
    return done


def _about(queue: str, text: str) -> str:
    return widgets.with_commands(gettext("Queue %(queue)s: %(text)s") % {"queue": queue, "text": text})


# -- apply -----------------------------------------------------------------------------------------


def _applying(names: Sequence[str]) -> Intent:
    from dispatch.queues import plan

    found = plan(names or None)
    rows = [
        [
            Link(step.worker),
            Link(gettext("consumes it from now on") if step.action == "consume" else gettext("leaves it")),
            Link(step.queue),
            Link(step.broker),
            Link(widgets.number(step.messages)),
        ]
        for step in found.steps
    ]
    columns = (_("worker"), _("change"), _("queue"), _("broker"), _("messages"))
    text = gettext(
        "Tells running workers which queues of the registry they should consume, and which they should leave. A worker "
        "forgets it when it restarts: give it the queues too, by routing.json or -Q."
    )
    notes = [Note("warning", _("problem"), each) for each in found.problems]
    notes += [Note("cancelled", _("note"), each) for each in found.notes]
    if not rows and not notes:
        notes = [
            Note("active", _("nothing to do"), gettext("The running workers consume what the registry has."))
        ]
    tables = [Table(gettext("What the workers are told"), columns, rows)] if rows else []
    button = ngettext("Make %(count)s change", "Make %(count)s changes", len(rows)) % {"count": len(rows)}
    return Intent(text, button if rows else "", tables, notes, [_key(step) for step in found.steps])


def _apply(model_admin: Any, request: HttpRequest, rows: Sequence[Queue]) -> None:
    """Do what was shown, as far as it is still to be done."""
    from dispatch.queues import carry_out, plan, renew_pools

    shown = set(request.POST.getlist("step"))
    found = [step for step in plan([row.name for row in rows] or None).steps if _key(step) in shown]
    steps = list(carry_out(found))
    if not steps:
        messages.info(request, _("Nothing to do any more: what was shown is done, or its workers are gone."))
    known = {row.name: row for row in Queue.objects.filter(name__in={step.queue for step in steps})}
    for step in steps:
        if step.error:
            messages.error(request, _about(step.queue, step.error))
            continue
        text = (
            gettext("Worker %(worker)s consumes %(queue)s.")
            if step.action == "consume"
            else gettext("Worker %(worker)s has left %(queue)s.")
        )
        told = text % {"worker": step.worker, "queue": step.queue}
        history.write(request, Queue, told, step.queue, known.get(step.queue))
        messages.success(request, told)
    for news in renew_pools(steps):
        messages.warning(request, widgets.with_commands(news))


def _key(step: Step) -> str:
    return f"{step.worker} {step.action} {step.queue}"


ACTIONS = {
    "declare": Action(_("Declare on the broker"), "declare", _declaring, _declare),
    "purge": Action(_("Purge"), "purge", _purging, _purge),
    "apply": Action(_("Tell workers"), "declare", _applying, _apply, needs_queues=False),
}
