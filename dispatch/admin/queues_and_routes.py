"""Exchanges, queues with their bindings, and routes."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Max, QuerySet
from django.http import HttpRequest
from django.urls import path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from dispatch import registry
from dispatch.admin import base, broker_state, widgets
from dispatch.admin.explanations import of_queues_and_exchanges, of_tasks_and_routes
from dispatch.admin.explanations.section import Explained, ExplainedAdmin, Pages
from dispatch.admin.pause_actions import PausingAdmin
from dispatch.core import route_patterns
from dispatch.core.suggestions import suggest
from dispatch.exceptions import ConfigurationError
from dispatch.models import Binding, Exchange, Queue, Route

DECLARED_ONCE = _(
    "A broker keeps what a queue or exchange was first declared with, and refuses other values later. Settle these "
    "before it is first used, or delete it on the broker."
)


@admin.register(Exchange)
class ExchangeAdmin(ExplainedAdmin):
    """Exchanges: only needed where a message goes to several queues, or is chosen by its routing key."""

    intro = _(
        "Exchanges pass messages on to the queues bound to them. Without one, a message goes straight to its queue."
    )
    empty_help = _(
        "No exchange is needed unless messages are to reach several queues, or queues by routing key."
    )
    form = base.BrokerForm
    list_display = ("name", "type", "broker", "durable", "bound_queues")
    list_filter = ("type", "broker")
    search_fields = ("name",)
    ordering = ("name",)
    fieldsets = (
        (
            None,
            {
                "fields": ("name", "broker", "type"),
                "description": _("Bind queues to this exchange on the page of each queue."),
            },
        ),
        (
            _("Declaration"),
            {"fields": ("durable", "arguments"), "classes": ("collapse",), "description": DECLARED_ONCE},
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("bindings__queue")

    def explain(self, request: HttpRequest, row: Exchange) -> Explained:
        return of_queues_and_exchanges.of_exchange(row.name, Pages(self.admin_site, request))

    def concerned_queues(self, row: Exchange) -> list[str]:
        return []

    @admin.display(description=_("bound queues"))
    def bound_queues(self, exchange: Exchange) -> str:
        return widgets.listed(sorted({binding.queue.name for binding in exchange.bindings.all()}))


class QueueForm(base.BrokerForm):
    """Queues that are not the default one have no flag at all: a unique check sees no two of them as equal."""

    def clean_is_default(self) -> bool | None:
        return self.cleaned_data["is_default"] or None


class BindingInline(base.TabularInline):
    """The exchanges a queue takes messages from."""

    model = Binding
    extra = 0
    autocomplete_fields = ("exchange",)
    formfield_overrides = widgets.JSON_IN_A_LINE
    verbose_name_plural = _("bindings: none is needed for messages that are routed to this queue by name")


@admin.register(Queue)
class QueueAdmin(PausingAdmin):
    """Queues; pausing one holds its messages in the outbox."""

    intro = _(
        "Queues are what workers consume. A paused queue loses nothing: its messages wait in the outbox."
    )
    empty_help = _("No queue yet: add one, and mark it as default to take what no route sends elsewhere.")
    form = QueueForm
    list_display = ("name", "state", "on_broker", "broker", "queue_type", "priorities", "bound_to")
    list_filter = ("paused", "broker", "queue_type")
    search_fields = ("name",)
    ordering = ("name",)
    inlines = (BindingInline,)
    fieldsets = (
        (None, {"fields": ("name", "broker", "is_default", "paused")}),
        (
            _("Priorities"),
            {
                "fields": ("default_priority", "max_priority"),
                "description": _(
                    "Leave both empty if the order of messages does not matter. The higher, the more urgent, on every "
                    "broker: up to 9 on Redis, up to the highest priority on RabbitMQ."
                ),
            },
        ),
        (
            _("Declaration"),
            {
                "fields": ("queue_type", "durable", "arguments"),
                "classes": ("collapse",),
                "description": DECLARED_ONCE,
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("bindings__exchange")

    def get_urls(self) -> list[Any]:
        return [
            path("seen/", broker_state.view(self.admin_site), name="dispatch_queue_seen"),
            *super().get_urls(),
        ]

    def explain(self, request: HttpRequest, row: Queue) -> Explained:
        return of_queues_and_exchanges.of_queue(row.name, Pages(self.admin_site, request))

    def concerned_queues(self, row: Queue) -> list[str]:
        return [row.name]

    @admin.display(description=_("on the broker"))
    def on_broker(self, queue: Queue) -> SafeString:
        return broker_state.look([queue.name], "short")

    @admin.display(description=_("state"), ordering="paused")
    def state(self, queue: Queue) -> SafeString:
        state = super().state(queue)
        return (
            format_html("{} {}", state, widgets.badge("default", _("default queue")))
            if queue.is_default
            else state
        )

    @admin.display(description=_("priority: default, highest"))
    def priorities(self, queue: Queue) -> str:
        if queue.default_priority is None and queue.max_priority is None:
            return widgets.EMPTY
        return " / ".join(
            widgets.EMPTY if value is None else str(value)
            for value in (queue.default_priority, queue.max_priority)
        )

    @admin.display(description=_("bound to"))
    def bound_to(self, queue: Queue) -> str:
        return widgets.listed(f"{row.exchange.name} ({row.routing_key})" for row in queue.bindings.all())


class RouteForm(base.Form):
    """Patterns are as long as task names."""

    class Meta:
        widgets = {"pattern": widgets.WIDE}


@admin.register(Route)
class RouteAdmin(ExplainedAdmin):
    """Routes, in the order in which they are tried."""

    intro = _(
        "Routes are tried from the lowest position up; the first whose pattern matches a task's name decides."
    )
    empty_help = _(
        "No route yet: every task goes to the default queue, or to the queue of its own definition."
    )
    form = RouteForm
    list_display = ("shown_pattern", "kind_name", "position", "enabled", "goes_to", "priority", "matching")
    list_display_links = ("shown_pattern",)
    list_editable = ("position", "enabled")
    list_filter = ("enabled", "kind", ("queue", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("queue", "exchange")
    search_fields = ("pattern", "queue__name", "exchange__name")
    ordering = ("position", "pk")
    autocomplete_fields = ("queue", "exchange")
    fieldsets = (
        (None, {"fields": ("pattern", "kind", "position", "enabled")}),
        (
            _("Where matching tasks go"),
            {
                "fields": ("queue", "exchange", "routing_key", "priority"),
                "description": _(
                    "Choose a queue, or an exchange with a routing key; or only a priority, to leave the queue to "
                    "later levels. What the sender's code or the task's own definition says comes before any route."
                ),
            },
        ),
    )

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        last = Route.objects.aggregate(last=Max("position"))["last"]
        return {"position": 0 if last is None else last + 10, **super().get_changeform_initial_data(request)}

    def explain(self, request: HttpRequest, row: Route) -> Explained:
        return of_tasks_and_routes.of_route(row, Pages(self.admin_site, request))

    def concerned_queues(self, row: Route) -> list[str]:
        return of_tasks_and_routes.queues_of_route(row) if row.enabled else []

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if text := of_tasks_and_routes.concern_to_come(form.instance):
            messages.warning(request, text)

    def save_model(self, request: HttpRequest, obj: Route, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        names = registry.current().tasks
        if obj.enabled and names and not _is_router(obj) and not _matches(obj):
            close = suggest(obj.pattern, names)
            text = _(
                "No task in the registry matches %(pattern)s%(close)s: correct the pattern unless the task comes later."
            )
            messages.warning(request, text % {"pattern": obj.pattern, "close": close})

    @admin.display(description=_("pattern"), ordering="pattern")
    def shown_pattern(self, route: Route) -> SafeString:
        return widgets.dotted(route.pattern)

    @admin.display(description=_("kind"), ordering="kind")
    def kind_name(self, route: Route) -> str:
        return route.kind

    @admin.display(description=_("goes to"), ordering="queue__name")
    def goes_to(self, route: Route) -> SafeString | str:
        if _is_router(route):
            return _t("as the router decides")
        if route.queue:
            warning = broker_state.look([route.queue.name], "brief")
            return format_html('<span class="dispatch-whole">→ {}</span> {}', route.queue, warning)
        if route.exchange:
            return _t("→ exchange %(exchange)s, key “%(key)s”") % {
                "exchange": route.exchange,
                "key": route.routing_key,
            }
        return _t("priority only")

    @admin.display(description=_("tasks"))
    def matching(self, route: Route) -> SafeString | str:
        if _is_router(route):
            return _t("asked for all")
        names = _matches(route)
        if not names:
            return widgets.badge("warning", _("none"))
        return format_html('<span title="{}">{}</span>', ", ".join(names), widgets.number(len(names)))


def _is_router(route: Route) -> bool:
    return route.kind == Route.Kind.CALLABLE


def _matches(route: Route) -> list[str]:
    """Return the registered names that the pattern matches; an earlier route may take them first."""
    try:
        matches = route_patterns.compile_pattern(route.kind, route.pattern)
    except ConfigurationError:
        return []
    return [name for name in registry.current().tasks if matches(name)]
