"""The section of a page that explains where messages go: its parts, and the base of the pages that have it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.contrib import messages
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from dispatch import registry
from dispatch.admin import base, broker_state, links, object_messages
from dispatch.admin.explanations import rule_names
from dispatch.admin.links import Link, Viewer
from dispatch.admin.tables import Table, Text
from dispatch.core import routing
from dispatch.exceptions import ConfigurationError
from dispatch.models import OutboxMessage, Queue, Route, TaskDefinition, Trigger
from dispatch.registry import priority_warnings
from dispatch.registry.routing_explanation import rule
from dispatch.registry.senders_by_destination import Sender

MOST_SHOWN = 25
MOST_UNFOLDED = 10


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence with a badge."""

    kind: str
    label: Text
    text: Text = ""


@dataclass(slots=True)
class Explained:
    """What the section shows, from the top down."""

    title: Text
    notes: list[Note] = field(default_factory=list)
    facts: list[tuple[Text, SafeString | str]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


class Pages:
    """Links to the pages of tasks, triggers, queues and routes by what they are called, one query for each kind."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._urls: dict[tuple[str, str], str] = {}

    def learn(
        self, senders: Iterable[Sender] = (), rules: Iterable[str] = (), names: Iterable[str] = ()
    ) -> None:
        """Find the addresses of what is going to be shown; ``names`` are those of queues."""
        senders = list(senders)
        self._learn(TaskDefinition, "task", {sender.task for sender in senders})
        self._learn(Trigger, "trigger", {sender.trigger for sender in senders if sender.trigger})
        self._learn(Queue, "queue", set(names))
        self._learn_routes({*rules, *(sender.place_rule() for sender in senders)})

    def sender(self, sender: Sender) -> Link:
        """Return a link to the task, or to the trigger that sends it."""
        kind, name = ("trigger", sender.trigger) if sender.trigger else ("task", sender.task)
        text = rule_names.rule(str(sender)) if sender.trigger else sender.task
        return Link(text, self._urls.get((kind, name), ""))

    def rule(self, text: str) -> Link:
        """Return a link to a route that is named as explanations do; any other rule is a text."""
        return Link(rule_names.rule(text), self._urls.get(("route", text), ""))

    def queue(self, name: str) -> Link:
        """Return a link to a queue."""
        return Link(name, self._urls.get(("queue", name), ""))

    def seen(self, names: Iterable[str]) -> list[tuple[Text, SafeString | str]]:
        """Return a fact per queue, which the page's script fills with what the broker shows of it."""
        return [(name, broker_state.look(self._viewer.site, [name])) for name in list(names)[:MOST_SHOWN]]

    def _learn(self, model: Any, kind: str, names: set[str]) -> None:
        for name, url in self._viewer.urls(model, names).items():
            self._urls[kind, name] = url

    def _learn_routes(self, rules: set[str]) -> None:
        known = {rule(route): route.pattern for route in registry.current().table.routes}
        patterns = {known[text] for text in rules if text in known}
        if not patterns or not self._viewer.may_open(Route):
            return
        for row in Route.objects.filter(pattern__in=patterns).only("pattern", "kind"):
            name = rule(routing.Route(row.pattern, row.kind))
            self._urls["route", name] = links.change_url(row, self._viewer.site)


class ExplainedAdmin(base.Admin):
    """Base of the pages that explain where messages go. By ``log_lookup`` the log finds those of a row's name."""

    log_lookup = ""
    change_form_template = "admin/dispatch/explained_form.html"

    class Media:
        js = ("dispatch/live.js",)

    def explain(self, request: HttpRequest, row: Any) -> Explained:
        """Return the section of one row's page."""
        raise NotImplementedError

    def tools(self, request: HttpRequest, row: Any) -> list[Link]:
        """Return what one can go to from the row's page."""
        if not self.log_lookup or not self.viewer(request).may_open(OutboxMessage):
            return []
        lookups = {self.log_lookup: row.name}
        return [Link(pgettext("outbox", "Messages"), object_messages.log_url(self.admin_site, **lookups))]

    def concerned_queues(self, row: Any) -> Iterable[str]:
        """Return the queues whose priorities are looked at when the row was saved."""
        raise NotImplementedError

    def row_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return {"explained": self.explain(request, row), "tools": self.tools(request, row)}

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        sets_priority = getattr(form.instance, "priority", None) is not None
        warn(
            request,
            self.concerned_queues(form.instance),
            is_all=sets_priority or isinstance(form.instance, Queue),
        )


def warn(request: HttpRequest, names: Iterable[str], *, is_all: bool) -> None:
    """Tell where priorities are mixed in these queues; with ``is_all``, also where they would be ignored."""
    for concern in _concerns(names):
        if is_all or concern.kind == priority_warnings.MIXED:
            messages.warning(request, concern.text)


def concern_notes(names: Iterable[str]) -> list[Note]:
    """Return what is to be said of the priorities in these queues."""
    return [Note("warning", _("priority"), concern.text) for concern in _concerns(names)]


def _concerns(names: Iterable[str]) -> Iterator[priority_warnings.Concern]:
    snapshot = registry.current()
    known = [name for name in dict.fromkeys(names) if name in snapshot.table.queues]
    for name in known[:MOST_SHOWN]:
        yield from priority_warnings.concerns(snapshot, name)


def commands(destination: routing.Destination) -> list[str]:
    """Return the command lines of the workers that would consume what is sent there."""
    from dispatch.queues import launches_for

    try:
        return [launch.command for launch in launches_for(destination)]
    except ConfigurationError as error:
        return [f"# {error}"]
