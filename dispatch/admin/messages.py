"""The log of messages: read-only, but for requeueing and cancelling."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from dispatch.admin import base, broker_state, links, widgets
from dispatch.admin.message_actions import MOVES, perform
from dispatch.admin.message_list import BoundedPaginator, LogList, QueueFilter, TaskFilter, search
from dispatch.models import OutboxMessage

#: What the address bar may filter by: any other lookup could read masked arguments letter by letter.
LOOKUPS = frozenset(
    {"status__exact", "origin__exact", "origin_name", "queue", "task_name", "object_model", "object_pk"}
)

#: Messages in these statuses still want a worker: the list warns where their queue has none.
AWAITED = (OutboxMessage.Status.PENDING, OutboxMessage.Status.CLAIMED, OutboxMessage.Status.PUBLISHED)


@admin.register(OutboxMessage)
class OutboxMessageAdmin(base.ReadOnlyAdmin):
    """What was sent, where it is, and what came of it. Deleting a row would lose a message, so none can be deleted."""

    intro = _("Every message that was sent, newest first: where it is, and what the worker made of it.")
    empty_help = _(
        "Nothing was sent yet. Messages appear here when code calls send_task, or when a trigger fires."
    )
    list_display = ("task", "state", "at_queue", "source_object", "times", "attempts")
    list_display_links = None
    list_filter = ("status", QueueFilter, TaskFilter, "origin")
    list_per_page = 50
    search_fields = ("id",)  # turns the search box on; what is searched stands in log.search
    search_help_text = _(
        "A task id, part of a task's name, or an object by its primary key: 42, or notes.note 42."
    )
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    actions = ("requeue", "cancel")
    fieldsets = ((None, {"fields": ("task_name",)}),)
    change_form_template = "admin/dispatch/outboxmessage/change_form.html"

    class Media:
        js = ("dispatch/live.js",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[LogList]:
        return LogList

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        return lookup in LOOKUPS

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (search(queryset, term) if term else queryset), False

    def has_requeue_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dispatch.change_outboxmessage")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dispatch.change_outboxmessage")

    @admin.action(description=_("Requeue selected messages"), permissions=["requeue"])
    def requeue(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        perform("requeue", request, queryset)

    @admin.action(description=_("Cancel selected messages"), permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        perform("cancel", request, queryset)

    def get_urls(self) -> list[Any]:
        buttons = [
            path(f"<uuid:pk>/{verb}/", self._button(verb), name=f"dispatch_outboxmessage_{verb}")
            for verb in MOVES
        ]
        return [*buttons, *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        from dispatch.admin.message_detail import describe

        message = self.get_object(request, object_id)
        if message is not None and self.has_view_permission(request, message):
            detail = describe(message, self.admin_site, request)
            extra_context = {
                "detail": detail,
                "moves": self._moves(request, message),
                **(extra_context or {}),
            }
        return super().change_view(request, object_id, form_url, extra_context)

    def _moves(self, request: HttpRequest, message: OutboxMessage) -> list[tuple[str, Any]]:
        return [
            (verb, move.label)
            for verb, move in MOVES.items()
            if getattr(self, f"has_{verb}_permission")(request) and move.applies(message)
        ]

    def _button(self, verb: str) -> Any:
        @require_POST
        def view(request: HttpRequest, pk: Any) -> HttpResponse:
            if not getattr(self, f"has_{verb}_permission")(request):
                raise PermissionDenied
            rows = self.get_queryset(request).filter(pk=pk)
            message = rows.first()
            if message is None:
                raise Http404
            perform(verb, request, rows)
            return HttpResponseRedirect(links.change_url(message, self.admin_site.name))

        return self.admin_site.admin_view(view)

    @admin.display(description=_("task"))
    def task(self, message: Any) -> SafeString:
        link = format_html('<a href="{}">{}</a>', message.page_url, widgets.dotted(message.task_name))
        if not message.last_error:
            return link
        error = widgets.shortened(message.last_error)
        return format_html('{}<br><small class="dispatch-quiet">{}</small>', link, error)

    @admin.display(description=_("status"))
    def state(self, message: Any) -> SafeString:
        status = widgets.badge(message.status, message.get_status_display())
        if not message.result_status:
            return status
        return format_html(
            "{}<br>{}", status, widgets.badge(message.result_status, message.result_status.lower())
        )

    @admin.display(description=_("queue"))
    def at_queue(self, message: Any) -> SafeString | str:
        if message.status not in AWAITED or message.result_status:
            return message.queue or widgets.EMPTY
        warning = broker_state.look([message.queue] if message.queue else [], "brief")
        return format_html("{} {}", message.queue or widgets.EMPTY, warning)

    @admin.display(description=_("object"))
    def source_object(self, message: Any) -> SafeString | str:
        if not message.object_model:
            return widgets.EMPTY
        label = format_html(
            "{} {}", widgets.dotted(message.object_model), widgets.shortened(message.object_pk, 9)
        )
        return format_html('<a href="{}">{}</a>', message.object_url, label) if message.object_url else label

    @admin.display(description=_("enqueued, published"))
    def times(self, message: OutboxMessage) -> SafeString:
        enqueued = widgets.moment(message.created_at, _("enqueued"))
        if message.published_at is None:
            return enqueued
        return format_html("{}<br>{}", enqueued, widgets.moment(message.published_at, _("published")))
