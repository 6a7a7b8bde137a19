"""The log of messages: read-only, but for requeueing and cancelling."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from dispatch.admin import broker_state, widgets
from dispatch.admin.bulk_actions import BulkActions
from dispatch.admin.lifecycle_status import Lifecycle
from dispatch.admin.message_filters import ObjectFilter, QueueFilter, StatusFilter, TaskFilter, TimeFilter
from dispatch.admin.message_list import LogList, sought
from dispatch.admin.message_page import MessagePage
from dispatch.models import OutboxMessage

#: What the address bar may filter by: any other lookup could read masked arguments letter by letter.
LOOKUPS = frozenset(
    {
        "status__exact",
        "origin__exact",
        "origin_name",
        "queue",
        "task_name",
        "object_model",
        "object_pk",
        "object_schema",
        "since",
        "until",
    }
)

#: Messages in these statuses still want a worker: the list warns where their queue has none.
AWAITED = (Lifecycle.PENDING, Lifecycle.CLAIMED, Lifecycle.PUBLISHED, Lifecycle.UNAWAITED)


@admin.register(OutboxMessage)
class OutboxMessageAdmin(BulkActions, MessagePage):
    """What was sent, where it is, and what came of it. Deleting a row would lose a message, so none can be deleted."""

    intro = _("Every message that was sent, newest first: where it is, and what the worker made of it.")
    empty_help = _(
        "Nothing was sent yet. Messages appear here when code calls send_task, or when a trigger fires."
    )
    list_class = LogList
    list_display = ("task", "state", "at_queue", "source_object", "times")
    list_display_links = None
    list_filter = (StatusFilter, TimeFilter, QueueFilter, TaskFilter, ObjectFilter, "origin")
    list_per_page = 50
    search_fields = ("id",)  # turns the search box on; what is searched stands in log.search
    search_help_text = _(
        "A task id, part of a task's name, or an object by its primary key: 42, or notes.note 42."
    )
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    change_list_template = "admin/dispatch/outboxmessage/change_list.html"

    class Media:
        js = ("dispatch/live.js",)

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        return lookup in LOOKUPS

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(sought(term).condition) if term else queryset), False

    @admin.display(description=_("task"))
    def task(self, message: Any) -> SafeString:
        link = format_html('<a href="{}">{}</a>', message.page_url, widgets.dotted(message.task_name))
        if not message.last_error:
            return link
        return widgets.subtitled(link, widgets.shortened(message.last_error))

    @admin.display(description=_("status"))
    def state(self, message: Any) -> SafeString:
        badge = widgets.badge(*message.lifecycle)
        if message.attempts < 2:
            return badge
        text = ngettext("%(count)s attempt", "%(count)s attempts", message.attempts)
        return widgets.subtitled(badge, text % {"count": message.attempts})

    @admin.display(description=_("queue"))
    def at_queue(self, message: Any) -> SafeString | str:
        if not message.queue:
            return widgets.EMPTY
        name = widgets.dotted(message.queue)
        if message.lifecycle[0] not in AWAITED:
            return name
        return format_html("{} {}", name, broker_state.look(self.admin_site, [message.queue], "brief"))

    @admin.display(description=_("object"))
    def source_object(self, message: Any) -> SafeString | str:
        if not message.object_model:
            return widgets.EMPTY
        label = format_html(
            "{} {}", widgets.dotted(message.object_model), widgets.shortened(message.object_pk, 9)
        )
        return format_html('<a href="{}">{}</a>', message.object_url, label) if message.object_url else label

    @admin.display(description=_("enqueued, published, handled"))
    def times(self, message: OutboxMessage) -> SafeString:
        moments = (
            (message.created_at, _("enqueued")),
            (message.published_at, _("published")),
            (message.handled_at, _("result handled")),
        )
        return format_html_join(
            SafeString("<br>"), "{}", ((widgets.moment(at, label),) for at, label in moments if at)
        )
