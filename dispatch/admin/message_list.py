"""The list of messages, made for a table of a million rows: nothing counts, sorts or searches all of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from dispatch import registry
from dispatch.admin import links
from dispatch.models import OutboxMessage

MOST_COUNTED = 10_000

if TYPE_CHECKING:
    Base = Paginator[Any]
else:
    Base = Paginator


class AtLeast(int):
    """A count that was given up: a number for the pages, ``10000+`` for people."""

    def __str__(self) -> str:
        return f"{int(self)}+"


class BoundedPaginator(Base):
    """Counts no further than ``MOST_COUNTED``."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        found = rows.order_by().values("pk")[: MOST_COUNTED + 1].count()
        return AtLeast(MOST_COUNTED) if found > MOST_COUNTED else int(found)


class LogList(ChangeList):
    """One page of messages with their results and the addresses of their objects, newest first."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return ["-id"]  # the address bar may ask for others, which no index serves

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        return super().get_queryset(request, *args, **kwargs).defer("args", "kwargs", "options", "headers")

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        self.result_list = rows
        outcomes = results(rows)
        for row in rows:
            row.result_status = outcomes.get(str(row.pk), "")
            row.object_url = object_url(self.model_admin.admin_site, request, row)
            row.page_url = self._page_url(request, row)

    def _page_url(self, request: HttpRequest, row: OutboxMessage) -> str:
        """Return the address of the message's page, from which one comes back to this list as it is now."""
        context: dict[str, Any] = {
            "opts": self.opts,
            "preserved_filters": self.model_admin.get_preserved_filters(request),
        }
        return add_preserved_filters(context, links.change_url(row, self.model_admin.admin_site.name))


class FromRegistry(admin.SimpleListFilter):
    """A filter whose choices are read from the registry's snapshot instead of from the log."""

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


def search(rows: QuerySet[Any], term: str) -> QuerySet[Any]:
    """Return the rows that a term stands for: a task id, a task's name or part of it, or an object.

    What it stands for is settled by its form and by the registry, so that no text column is scanned for it.
    """
    model, _space, pk = term.replace(":", " ").rpartition(" ")
    if model and links.find(model.strip()) is not None:
        return rows.filter(object_model=model.strip().lower(), object_pk=pk)
    if (task_id := _uuid(term)) is not None:
        return rows.filter(pk=task_id) | _of_object(rows, str(task_id))
    names = [] if term.isdecimal() else _task_names(term)
    if names:
        return rows.filter(task_name__in=names)
    return rows.filter(task_name=term) if "." in term else _of_object(rows, term)


def results(messages: Iterable[OutboxMessage]) -> dict[str, str]:
    """Return task id → status of the result, for those that have one, in one query for each database."""
    found: dict[str, str] = {}
    by_database: dict[str, list[str]] = {}
    for message in messages:
        by_database.setdefault(message._state.db or "default", []).append(str(message.pk))
    for using, ids in by_database.items():
        rows = result_model()._default_manager.using(using).filter(task_id__in=ids)
        found |= dict(rows.values_list("task_id", "status"))
    return found


def result_model() -> type[Model]:
    """Return django-celery-results' ``TaskResult``."""
    return apps.get_model("django_celery_results", "TaskResult")


def object_url(site: admin.AdminSite, request: HttpRequest, message: OutboxMessage) -> str:
    """Return the address of the object a message came from, "" where this user may not see it."""
    model = links.find(message.object_model) if message.object_model else None
    if model is None or not links.viewable(site, request, model):
        return ""
    return links.url(model, message.object_pk, site.name)


def _of_object(rows: QuerySet[Any], pk: str) -> QuerySet[Any]:
    labels = [model._meta.label_lower for model in apps.get_models()]  # the index begins with the model
    return rows.filter(object_model__in=labels, object_pk=pk)


def _task_names(part: str) -> list[str]:
    return [name for name in registry.current().tasks if part.lower() in name.lower()]


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
