"""From an object to its messages: a base for users' own admins, and what the template tag shows."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.loader import select_template
from django.utils.translation import gettext_lazy as _

from dispatch.admin import base, lifecycle_status, links, message_list, widgets
from dispatch.admin.links import Link
from dispatch.admin.tables import Table
from dispatch.models import OutboxMessage
from dispatch.models.database import schema_name
from dispatch.models.outbox_message import OutboxQuerySet, of_object

COLUMNS = (_("task"), _("status"), _("sent by"), _("enqueued"))


class DispatchedAdmin(base.ModelAdmin):
    """A ModelAdmin that shows, below the form, what was sent for the object, and leads to what triggers would send.

    For those who may view outbox messages, or triggers. An admin with a ``change_form_template`` of its own uses the
    template tag ``{% dispatch_messages original %}`` instead; what another base has, if it stands after this one, is
    extended.
    """

    change_form_template = "admin/dispatch/dispatched_change_form.html"

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Have our template extend the one that the page has without us."""
        if others := super().change_form_template:
            context["dispatch_extends"] = (
                select_template(others) if isinstance(others, (list, tuple)) else others
            )
        return super().render_change_form(request, context, *args, **kwargs)

    class Media:
        css = {"all": ("dispatch/admin.css",)}


def messages_of(instance: Model, trigger: str = "") -> OutboxQuerySet:
    """Return the messages that were sent for an object, by one trigger or by all, newest first."""
    rows = OutboxMessage.objects.filter(
        of_object(_labels(type(instance)), str(instance.pk)),
        object_schema=schema_name(instance._state.db or DEFAULT_DB_ALIAS),
    )
    if trigger:
        rows = rows.filter(origin=OutboxMessage.Origin.TRIGGER, origin_name=trigger)
    return rows.order_by("-id").defer("args", "kwargs", "options", "headers")


def table(rows: OutboxQuerySet, limit: int, site: admin.AdminSite) -> Table:
    """Return the first messages, each in short, with its result and address."""
    found = list(rows[:limit])
    results = message_list.results(found)
    cells = [
        [
            Link(row.task_name, links.change_url(row, site)),
            Link(widgets.badge(*lifecycle_status.of(row, results.get(str(row.pk), "")))),
            Link(row.origin_name or row.get_origin_display()),
            Link(widgets.moment(row.created_at, _("enqueued"))),
        ]
        for row in found
    ]
    return Table("", COLUMNS, cells, empty=_("None was sent for it."))


def log_url(site: admin.AdminSite, **lookups: Any) -> str:
    """Return the address of the log, filtered."""
    return links.page("dispatch_outboxmessage_changelist", site, **lookups)


def _labels(model: type[Model]) -> list[str]:
    """Return the models whose rows are this object: itself, its proxies, parents and children share one key."""
    concrete = model._meta.concrete_model or model
    related = (each for each in apps.get_models() if issubclass(each, concrete) or issubclass(concrete, each))
    return [each._meta.label_lower for each in related]
