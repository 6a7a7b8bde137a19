"""The filters beside the list of messages. What they offer is read from the registry, never from the outbox."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from dispatch import registry
from dispatch.admin.lifecycle_status import CONDITIONS, Lifecycle
from dispatch.admin.message_window import START
from dispatch.models import OutboxMessage
from dispatch.outbox.retention import CLOCKS, first_id


class StatusFilter(admin.SimpleListFilter):
    """Messages of one status; which of them have a result that says so is found by the window (``message_window``)."""

    title = _("status")
    parameter_name = "status__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return Lifecycle.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        if value not in Lifecycle.values:
            raise IncorrectLookupParameters
        return queryset.filter(**CONDITIONS.get(value, {"status": OutboxMessage.Status.PUBLISHED}))


class FromRegistry(admin.SimpleListFilter):
    """A filter whose choices are read from the registry's snapshot."""

    names: Callable[[registry.Snapshot], Iterable[str]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        known = set(type(self).names(registry.current()))
        chosen = {value for value in [self.value()] if value}
        return [(name, name) for name in sorted(known | chosen)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(**{self.parameter_name or "": value}) if value else queryset


class QueueFilter(FromRegistry):
    """Messages for one queue."""

    title = _("queue")
    parameter_name = "queue"

    @staticmethod
    def names(snapshot: registry.Snapshot) -> Iterable[str]:
        return snapshot.table.queues


class TaskFilter(FromRegistry):
    """Messages of one task."""

    title = _("task")
    parameter_name = "task_name"

    @staticmethod
    def names(snapshot: registry.Snapshot) -> Iterable[str]:
        return snapshot.tasks


class ObjectFilter(FromRegistry):
    """Messages of one model's objects."""

    title = _("model of the object")
    parameter_name = "object_model"

    @staticmethod
    def names(snapshot: registry.Snapshot) -> Iterable[str]:
        return (trigger.model for trigger in snapshot.triggers)


class TimeFilter(admin.ListFilter):
    """Messages that were enqueued in a span of time: the last hour, or from one moment to another.

    ``ids`` is the condition of their ids, which are in the order of time.
    """

    title = _("time of enqueueing")
    template = "admin/dispatch/time_filter.html"
    SPANS = (
        ("1h", _("Past hour"), dt.timedelta(hours=1)),
        ("24h", _("Past 24 hours"), dt.timedelta(hours=24)),
        ("7d", _("Past 7 days"), dt.timedelta(days=7)),
        ("30d", _("Past 30 days"), dt.timedelta(days=30)),
    )
    #: An id and the moment beside it are not of the same instant.
    MARGIN = dt.timedelta(minutes=1)

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        for name in ("since", "until"):
            if text := params.pop(name, [""])[-1]:
                self.used_parameters[name] = text
        self.since, self.until = (self._moment(self.text(name)) for name in ("since", "until"))
        self.ids = Q()

    def expected_parameters(self) -> list[str | None]:
        return ["since", "until"]

    def has_output(self) -> bool:
        return True

    def text(self, name: str) -> str:
        """Return a parameter as the address has it."""
        return str(self.used_parameters.get(name, ""))

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        chosen = self.text("since")
        for value, name, _span in ((None, gettext("Any date"), None), *self.SPANS):
            yield {
                "selected": (chosen or None) == value and not self.until,
                "query_string": changelist.get_query_string({"since": value, "until": None}),
                "display": name,
            }
        own = (*self.expected_parameters(), START)
        others = ((name, each) for name, values in changelist.filter_params.items() for each in values)
        yield {
            "form": [(name, value) for name, value in others if name not in own],
            "since": _written(self.since),
            "until": _written(self.until),
        }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.since:
            queryset = queryset.filter(created_at__gte=self.since)
        if self.until:
            queryset = queryset.filter(created_at__lt=self.until)
        self.ids = self._ids(queryset)
        return queryset.filter(self.ids)

    def _ids(self, rows: QuerySet[Any]) -> Q:
        """Return the condition of ids of this time; those that callers gave stand after today's, of whatever time."""
        ids = Q(pk__gte=first_id(self.since - self.MARGIN)) if self.since else Q()
        if self.until and not rows.filter(pk__gte=first_id(timezone.now() + CLOCKS)).exists():
            ids &= Q(pk__lt=first_id(self.until + self.MARGIN))
        return ids

    def _moment(self, text: str) -> dt.datetime | None:
        """Return the moment that a parameter stands for: a span until now, or a time in the reader's zone."""
        if not text:
            return None
        if span := next((span for value, _name, span in self.SPANS if value == text), None):
            return timezone.now() - span
        try:
            moment = parse_datetime(text)
        except ValueError:
            moment = None
        if moment is None:
            raise IncorrectLookupParameters
        return timezone.make_aware(moment) if timezone.is_naive(moment) else moment


def _written(moment: dt.datetime | None) -> str:
    """Return a moment as ``<input type="datetime-local">`` takes it."""
    return f"{timezone.localtime(moment):%Y-%m-%dT%H:%M}" if moment else ""
