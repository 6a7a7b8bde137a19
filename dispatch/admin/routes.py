"""Routes, in their order: what each decides, which one shadows another, and which would take a name."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Max
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from dispatch import registry
from dispatch.admin import base, broker_state, widgets
from dispatch.admin.explanations import of_tasks_and_routes
from dispatch.admin.explanations.of_tasks_and_routes import matched, shadows
from dispatch.admin.explanations.section import Explained, ExplainedAdmin, Pages
from dispatch.core.redaction import storable
from dispatch.models import Route
from dispatch.models.outbox_message import TASK_LENGTH

MOST_NAMED, MOST_IN_TOOLTIP = 3, 100


class RouteForm(base.Form):
    """Patterns are as long as task names."""

    class Meta:
        widgets = {"pattern": widgets.WIDE}


class RouteList(ChangeList):
    """The list, which a question in its address does not filter."""

    ASKED = "would_take"

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        found: dict[str, Any] = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name != self.ASKED}


@admin.register(Route)
class RouteAdmin(ExplainedAdmin):
    """Routes, in the order in which they are tried."""

    intro = _(
        "Routes are tried from the lowest position up; the first whose pattern matches a task's name decides."
    )
    empty_help = _(
        "No route yet: every task goes to the default queue, or to the queue of its own definition."
    )
    list_class = RouteList
    form = RouteForm
    list_display = ("shown_pattern", "position", "enabled", "goes_to", "matching")
    list_display_links = ("shown_pattern",)
    list_editable = ("position", "enabled")
    list_filter = ("enabled", "kind", ("queue", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("queue", "exchange")
    search_fields = ("pattern", "queue__name", "exchange__name")
    ordering = ("position", "pk")
    autocomplete_fields = ("queue", "exchange")
    change_list_template = "admin/dispatch/route/change_list.html"
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

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Answer which route a task would take, beside the list."""
        asked = storable(request.GET.get(RouteList.ASKED, "").strip(), TASK_LENGTH)
        answer = of_tasks_and_routes.of_task(asked, Pages(self.viewer(request))) if asked else None
        return super().changelist_view(request, {"asked": asked, "answer": answer, **(extra_context or {})})

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        last = Route.objects.aggregate(last=Max("position"))["last"]
        return {"position": 0 if last is None else last + 10, **super().get_changeform_initial_data(request)}

    def explain(self, request: HttpRequest, row: Route) -> Explained:
        return of_tasks_and_routes.of_route(row, Pages(self.viewer(request)))

    def concerned_queues(self, row: Route) -> list[str]:
        return of_tasks_and_routes.queues_of_route(row) if row.enabled else []

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if text := of_tasks_and_routes.concern_to_come(form.instance):
            messages.warning(request, text)

    def save_model(self, request: HttpRequest, obj: Route, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        names = registry.current().tasks
        if not obj.enabled or not names or _is_router(obj):
            return
        found = matched(obj)
        if not found:
            close = widgets.suggestion(obj.pattern, names)
            text = _(
                "No task in the registry matches %(pattern)s%(close)s: correct the pattern unless the task comes later."
            )
            messages.warning(request, text % {"pattern": obj.pattern, "close": close})
        elif before := shadows(obj, found):
            text = _(
                "%(pattern)s decides nothing: %(others)s, tried before it, take every task that it matches."
            )
            words = {"pattern": obj.pattern, "others": widgets.listed(before, MOST_NAMED)}
            messages.warning(
                request, " ".join((text % words, gettext("Give it a lower position, or delete it.")))
            )

    @admin.display(description=_("pattern"), ordering="pattern")
    def shown_pattern(self, route: Route) -> SafeString:
        return widgets.remarked(widgets.dotted(route.pattern), route.kind)

    @admin.display(description=_("goes to"), ordering="queue__name")
    def goes_to(self, route: Route) -> SafeString | str:
        if _is_router(route):
            return gettext("as the router decides")
        priority = (
            "" if route.priority is None else gettext("priority %(number)s") % {"number": route.priority}
        )
        if route.queue:
            warning = broker_state.look(self.admin_site, [route.queue.name], "brief")
            place = format_html('<span class="dispatch-whole">→ {}</span> {}', route.queue, warning)
        elif route.exchange:
            names = {"exchange": route.exchange, "key": route.routing_key}
            place = format_html("{}", gettext("→ exchange %(exchange)s, key “%(key)s”") % names)
        else:
            return gettext("only a priority: %(number)s") % {"number": route.priority}
        return widgets.remarked(place, priority)

    @admin.display(description=_("tasks"))
    def matching(self, route: Route) -> SafeString | str:
        if _is_router(route):
            return gettext("asked for all")
        names = matched(route)
        if not names:
            return widgets.badge("warning", _("none"))
        count = format_html(
            '<span title="{}">{}</span>', widgets.listed(names, MOST_IN_TOOLTIP), widgets.number(len(names))
        )
        if not route.enabled or not (before := shadows(route, names)):
            return count
        by = _("%(others)s before it") % {"others": widgets.listed(before, MOST_NAMED)}
        return widgets.subtitled(format_html("{} {}", count, widgets.badge("warning", _("shadowed"))), by)


def _is_router(route: Route) -> bool:
    return route.kind == Route.Kind.CALLABLE
