"""The list of relays and collectors."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import path
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from dispatch import health
from dispatch.admin import base, overview, widgets
from dispatch.models import Process
from dispatch.models.database import database_now


class ProcessList(ChangeList):
    """Processes with what each did in the last minutes."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        done = health.did(self.queryset.db)
        for row in rows:
            row.did = done.get(row.pk, {})
        self.result_list = rows


@admin.register(Process)
class ProcessAdmin(base.ReadOnlyAdmin):
    """Which relays and collectors run, as they tell of themselves every few seconds."""

    intro = _(
        "The relays and collectors of the last day. One that is silent was killed, hangs, or cannot reach the database."
    )
    empty_help = _(
        "No relay or collector has run. Start them: manage.py dispatch relay, and manage.py dispatch results."
    )
    list_class = ProcessList
    list_display = ("kind", "state", "where", "version", "since", "last_seen", "lately")
    list_display_links = None
    sortable_by = ()

    def get_urls(self) -> list[Any]:
        return [
            path("overview/", overview.view(self.admin_site), name="dispatch_overview"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).annotate(now=database_now())
        return rows

    @admin.display(description=_("state"))
    def state(self, process: Any) -> SafeString:
        return widgets.badge(*overview.STATES[health.state(process, process.now)])

    @admin.display(description=_("host and process id"))
    def where(self, process: Process) -> str:
        return f"{process.host}:{process.pid}"

    @admin.display(description=_("since"))
    def since(self, process: Process) -> SafeString:
        return widgets.moment(process.started_at, _("started"))

    @admin.display(description=_("last seen"))
    def last_seen(self, process: Process) -> SafeString:
        return widgets.moment(process.seen_at, _("last seen"))

    @admin.display(description=_("in the last minutes"))
    def lately(self, process: Any) -> str:
        return health.in_words(process.did) or widgets.EMPTY
