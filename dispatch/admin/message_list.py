"""The list of messages, made for a table of a million rows: nothing counts, sorts or searches all of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib import messages
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.db import DatabaseError, connections, router, transaction
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext

from dispatch import registry
from dispatch.admin import lifecycle_status, links, message_window
from dispatch.admin.lifecycle_status import STATES
from dispatch.admin.links import Viewer
from dispatch.admin.message_filters import StatusFilter, TimeFilter
from dispatch.admin.message_window import START, Window
from dispatch.models import OutboxMessage
from dispatch.models.database import schema_name
from dispatch.models.outbox_message import of_object


class LogList(ChangeList):
    """One page of messages with their results and the addresses of their objects, newest first.

    ``older`` is the address of what lies behind the window, "" where nothing does.
    """

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return {name: value for name, value in super().get_filters_params(params).items() if name != START}

    def get_query_string(self, new_params: Any = None, remove: Any = None) -> str:
        """Return the address of another page of this window, or of another list, which begins anew."""
        new_params = new_params or {}
        anew = {} if new_params.keys() <= {PAGE_VAR, START} and not remove else {START: None}
        return str(super().get_query_string({**new_params, **anew}, remove))

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        found = super().get_queryset(request, *args, **kwargs)
        window = self._window(request, found)
        self.older = self.get_query_string({START: window.further}) if window.further else ""
        rows = found.filter(window.within).order_by(*window.order)
        return rows.defer("args", "kwargs", "options", "headers")

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows, viewer = list(self.result_list), Viewer(self.model_admin.admin_site, request)
        self.result_list = rows
        states = results(rows, request)
        for row in rows:
            row.lifecycle = lifecycle_status.of(row, states.get(str(row.pk), ""))
            row.object_url = object_url(viewer, row)
            row.page_url = links.with_filters(self.model_admin, request, links.change_url(row, viewer.site))

    def _window(self, request: HttpRequest, found: QuerySet[Any]) -> Window:
        """Return what is looked through: rows that an index leads to, before any filter that none serves."""
        asked, start = request.GET, request.GET.get(START, "")
        status = asked.get(StatusFilter.parameter_name, "")
        if status in STATES:
            rows = result_model()._default_manager.using(found.db)
            with readable_results(found.db, request):
                return message_window.of_results(rows.filter(status__in=STATES[status]), start)
            return Window(Q(pk__in=[]))
        if self.query and sought(self.query.strip()).is_indexed:
            return message_window.of_messages(found, "created_at", start, found)
        rows = self.root_queryset
        if asked.get("object_model") and asked.get("object_pk"):
            rows = rows.filter(of_object([asked["object_model"]], asked["object_pk"]))
            return message_window.of_messages(rows, "created_at", start, found)
        if column := message_window.INDEXED_BY.get(status):
            rows = rows.filter(**lifecycle_status.CONDITIONS[status])
            if status == OutboxMessage.Status.PENDING and asked.get("queue"):
                rows = rows.filter(queue=asked["queue"])
            return message_window.of_messages(rows, column, start, found)
        for spec in self.filter_specs:
            if isinstance(spec, TimeFilter):
                rows = rows.filter(spec.ids)
        return message_window.of_messages(rows, "pk", start, found)


@dataclass(frozen=True, slots=True)
class Sought:
    """What a search stands for, and whether an index leads to these rows."""

    condition: Q
    is_indexed: bool = True


def sought(term: str) -> Sought:
    """Return what a term stands for: a task id, a task's name or part of it, or an object.

    What it stands for is settled by its form and by the registry, so that no text column is scanned for it.
    """
    model, _space, pk = term.replace(":", " ").rpartition(" ")
    if model and links.find(model.strip()) is not None:
        return Sought(of_object([model.strip().lower()], pk))
    if (task_id := message_window.as_uuid(term)) is not None:
        return Sought(Q(pk=task_id) | _of_object(str(task_id)))
    if not term.isdecimal() and (names := _task_names(term)):
        return Sought(Q(task_name__in=names), is_indexed=False)
    return Sought(Q(task_name=term), is_indexed=False) if "." in term else Sought(_of_object(term))


def results(rows: Iterable[OutboxMessage], request: HttpRequest | None = None) -> dict[str, str]:
    """Return task id → status of the result, for those that have one, in one query for each database."""
    found: dict[str, str] = {}
    by_database: dict[str, list[str]] = {}
    for message in rows:
        by_database.setdefault(message._state.db or "default", []).append(str(message.pk))
    for using, ids in by_database.items():
        stored = result_model()._default_manager.using(using).filter(task_id__in=ids)
        with readable_results(using, request):
            found |= dict(stored.values_list("task_id", "status"))
    return found


def result_model() -> type[Model]:
    """Return django-celery-results' ``TaskResult``."""
    return apps.get_model("django_celery_results", "TaskResult")


@contextmanager
def readable_results(using: str, request: HttpRequest | None) -> Iterator[None]:
    """Read results in this block; where their table cannot be read, the block ends, and the user is told."""
    is_open = connections[using].in_atomic_block
    try:
        with transaction.atomic(using=using) if is_open else nullcontext():
            yield
    except DatabaseError:
        if request is None:
            return
        text = gettext(
            "The table of results cannot be read in database %(alias)s, so that it is not known how tasks ended: "
            "manage.py migrate django_celery_results --database %(alias)s makes it."
        )
        messages.warning(request, text % {"alias": using})


def object_url(viewer: Viewer, message: OutboxMessage) -> str:
    """Return the address of the object a message came from, "" where this user may not see it.

    In another tenant's schema there is no such object, or another one with this key.
    """
    model = links.find(message.object_model) if message.object_model else None
    if model is None or not viewer.may_open(model):
        return ""
    if message.object_schema != schema_name(router.db_for_read(model)):
        return ""
    return links.url(model, message.object_pk, viewer.site)


def _of_object(pk: str) -> Q:
    labels = [model._meta.label_lower for model in apps.get_models()]  # the index begins with the model
    return of_object(labels, pk)


def _task_names(part: str) -> list[str]:
    return [name for name in registry.current().tasks if part.lower() in name.lower()]
