"""The overview: the picture of the whole on the app's own page, and in short on the site's index.

No page waits for a broker: ``live.js`` fills in what they show, and ``overview.js`` reads the rest anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, InterfaceError, connections, router, transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from dispatch import health, registry
from dispatch.admin import broker_state, charts, first_steps, links, object_messages, widgets
from dispatch.admin.links import Link, Viewer
from dispatch.admin.tables import Table
from dispatch.conf import conf
from dispatch.core.redaction import redact
from dispatch.core.sentences import duration
from dispatch.exceptions import ConfigurationError
from dispatch.health import Health, Problem, ProcessLine, QueueLine
from dispatch.models import Manifest, MinuteCount, OutboxMessage, Process, Queue, TaskDefinition

Status, Kind = OutboxMessage.Status, Process.Kind

#: So many processes and queues are shown; their own lists have all.
MOST_SHOWN = 25
#: Whom a problem concerns: those who may view one of these models.
CONCERNS: dict[str, tuple[type[Model], ...]] = {
    "relay": (Process, Queue, OutboxMessage),
    "collector": (Process, OutboxMessage),
    "overdue": (Queue, OutboxMessage),
    "dead": (OutboxMessage,),
}
#: The models of the parts.
SHOWN: tuple[type[Model], ...] = (Process, Queue, OutboxMessage, MinuteCount)
#: The badge of each state of a process, and its word.
STATES = {
    "alive": ("active", _("alive")),
    "silent": ("failure", _("silent")),
    "stopped": ("cancelled", _("stopped")),
}
QUEUE_COLUMNS = (
    _("queue"),
    _("state"),
    _("waiting"),
    _("oldest due for"),
    _("claimed"),
    _("published a minute"),
    _("failed attempts"),
    _("last error"),
    _("on the broker"),
)
PROCESS_COLUMNS = (
    _("process"),
    _("state"),
    _("host and process id"),
    _("last seen"),
    _("in the last minutes"),
    _("last errors"),
)


def view(site: admin.AdminSite) -> Any:
    """Return the view that the page's script asks for the overview as it is now."""

    @transaction.non_atomic_requests
    def overview(request: HttpRequest) -> HttpResponse:
        request.current_app = site.name
        viewer = Viewer(site, request)
        if not may_see(viewer):
            raise PermissionDenied
        shown = look(viewer, ask=True)
        return render(
            request, "dispatch/overview_parts.html", shown, status=503 if "failure" in shown else 200
        )

    return site.admin_view(overview)


def may_see(viewer: Viewer) -> bool:
    """Tell whether this user may see a part of the overview."""
    return any(map(viewer.may_view, SHOWN))


def look(viewer: Viewer, *, ask: bool = False, brief: bool = False) -> dict[str, Any]:
    """Return what this user may see, or the ``failure`` for which nothing can be.

    ``ask``: whether the brokers may be asked meanwhile. ``brief``: what is wrong, and the numbers of the whole.
    """
    using = router.db_for_read(OutboxMessage)
    try:
        with _savepoint(using):
            return {"at": timezone.localtime(), **_Picture(viewer, using).shown(ask=ask, brief=brief)}
    except ConfigurationError as error:
        return {"failure": str(error)}
    except (DatabaseError, InterfaceError) as error:
        text = gettext("The database of the outbox cannot be read: %(error)s")
        return {"failure": text % {"error": redact(str(error)).strip()}}


def drift(viewer: Viewer) -> dict[str, Any] | None:
    """Return where registry and manifests disagree, in numbers, for those who may see it; nobody is asked."""
    if not any(map(viewer.may_open, (Manifest, TaskDefinition))):
        return None
    from dispatch.contract.verification.periodic_tasks import last_change

    report = _report(registry.current(), last_change(), router.db_for_read(OutboxMessage))
    return {"report": report, "url": links.page("dispatch_contract", viewer.site)}


@lru_cache(maxsize=1)
def _report(snapshot: registry.Snapshot, periodic_tasks: Any, using: str) -> Any:
    """Verify each state of registry and periodic tasks once. What relay and collector lack is told by the notices."""
    from dispatch.contract import verify
    from dispatch.triggers.code_triggers import task_uses

    return verify(using, code=task_uses(), messages=False, processes=False)


@lru_cache(maxsize=1)
def _queue_keys(snapshot: registry.Snapshot) -> dict[str, int]:
    return dict(Queue.objects.values_list("name", "pk"))


class _Picture:
    """What is seen of one outbox, each part for those who may view its model."""

    def __init__(self, viewer: Viewer, using: str) -> None:
        self.viewer = viewer
        self.using = using
        self.seen: Health = health.look(using)

    def shown(self, *, ask: bool, brief: bool) -> dict[str, Any]:
        problems = self._problems()
        notices = [
            (problem.sentence, widgets.with_commands(problem.remedy))
            for problem in problems
            if any(map(self._may, CONCERNS[problem.kind]))
        ]
        short = {"is_well": not problems, "notices": notices, "facts": [*self._facts()]}
        if brief:
            return short
        steps = first_steps.steps(self.viewer, self.seen, self.using, ask=ask)
        return {**short, "steps": steps, "tables": [*self._tables()]}

    def _may(self, model: type[Model]) -> bool:
        return self.viewer.may_view(model)

    def _list(self, model: type[Model]) -> str:
        """Return the address of a model's list, "" where this user may not follow it."""
        if not self.viewer.may_open(model):
            return ""
        return links.page(f"dispatch_{model._meta.model_name}_changelist", self.viewer.site)

    def _messages(self, text: str, **lookups: str) -> Link:
        may = self.viewer.may_open(OutboxMessage)
        return Link(text, object_messages.log_url(self.viewer.site, **lookups) if may else "")

    def _problems(self) -> list[Problem]:
        problems = [*self.seen.problems()]
        return problems if any(each.kind == "relay" for each in problems) else [*self._no_relay(), *problems]

    def _no_relay(self) -> Iterator[Problem]:
        """Yield that no relay runs, though nothing waits for it."""
        relays = [line for line in self.seen.processes if line.kind == Kind.RELAY]
        if conf.DELIVERY == "console" or any(line.state == "alive" for line in relays):
            return
        text = gettext("No relay runs, and none has run yet: what is sent waits in the outbox.")
        if relays:
            text = gettext("No relay runs, the last was seen %(age)s ago: what is sent waits in the outbox.")
            text %= {"age": duration(min(line.seen for line in relays))}
        yield Problem("relay", Kind.RELAY, text, gettext(health.START_RELAY))

    def _facts(self) -> Iterator[tuple[str | Promise, Link]]:
        if self._may(Process):
            yield _("Relays alive"), Link(self._alive(Kind.RELAY), self._list(Process))
            yield _("Collectors alive"), Link(self._alive(Kind.COLLECTOR), self._list(Process))
        if self._may(OutboxMessage):
            waits = sum(line.pending for line in self.seen.queues)
            is_more = any(line.pending >= health.MOST_COUNTED for line in self.seen.queues)
            pending = f"{widgets.number(waits)}{'+' * is_more}"
            yield _("Messages that wait"), self._messages(pending, status__exact=Status.PENDING)
            yield _("Dead messages"), self._messages(_counted(self.seen.dead), status__exact=Status.DEAD)
            yield _("Results awaited"), Link(_counted(self.seen.awaited))

    def _alive(self, kind: str) -> str:
        return widgets.number(
            sum(each.kind == kind and each.state == "alive" for each in self.seen.processes)
        )

    def _tables(self) -> Iterator[Table]:
        if self._may(Queue):
            empty = _("No queue is known: add the default one.")
            yield _table(_("Queues"), QUEUE_COLUMNS, self._queue_rows(), empty)
        if self._may(MinuteCount):
            yield charts.throughput_table(self.using)
        if self._may(Process):
            empty = _("None has run. Start them: manage.py dispatch relay, and manage.py dispatch results.")
            rows = [*map(_process, self.seen.processes)]
            yield _table(_("Relays and collectors"), PROCESS_COLUMNS, rows, empty)

    def _queue_rows(self) -> list[list[Link]]:
        """Return a row for each queue, those first where something waits or fails."""
        lines = sorted(self.seen.queues, key=lambda line: not (line.pending or line.error))
        may_follow = self.viewer.may_open(Queue)
        keys = _queue_keys(registry.current()) if may_follow else {}
        pages = {name: links.url(Queue, key, self.viewer.site) for name, key in keys.items()}
        return [self._queue(line, pages.get(line.queue, "")) for line in lines]

    def _queue(self, line: QueueLine, url: str) -> list[Link]:
        pending = _counted(line.pending)
        may_filter = line.pending and line.queue
        return [
            Link(line.queue or gettext("(none)"), url),
            Link(widgets.badge("paused", _("paused")) if line.paused else ""),
            self._messages(pending, status__exact=Status.PENDING, queue=line.queue)
            if may_filter
            else Link(pending),
            Link("" if line.oldest_due is None else duration(line.oldest_due)),
            Link(widgets.number(line.claimed) if line.claimed else ""),
            Link(widgets.number(line.published / health.MINUTES, 1) if line.published else ""),
            Link(widgets.number(line.failed) if line.failed else ""),
            Link(widgets.shortened(line.error) if line.error else ""),
            Link(broker_state.look(self.viewer.site, [line.queue], "short") if url else ""),
        ]


def _table(title: Promise, columns: tuple[Any, ...], rows: list[list[Link]], empty: Promise) -> Table:
    more = max(len(rows) - MOST_SHOWN, 0)
    return Table(title, columns, rows[:MOST_SHOWN], more, empty=empty).without_empty_columns()


def _process(line: ProcessLine) -> list[Link]:
    errors = (f"{queue}: {error}" for queue, error in line.errors.items())
    return [
        Link(str(dict(Kind.choices).get(line.kind, line.kind))),
        Link(widgets.badge(*STATES[line.state])),
        Link(f"{line.host}:{line.pid}"),
        Link(gettext("%(age)s ago") % {"age": duration(line.seen)}),
        Link(health.in_words(line.did)),
        Link(widgets.shortened("; ".join(errors)) if line.errors else ""),
    ]


def _counted(number: int) -> str:
    return f"{widgets.number(number)}{'+' * (number >= health.MOST_COUNTED)}"


def _savepoint(using: str) -> AbstractContextManager[None]:
    """Let an error of the database leave the page's own transaction as it is, if there is one."""
    return transaction.atomic(using) if connections[using].in_atomic_block else nullcontext()
