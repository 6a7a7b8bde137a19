"""Exchanges, and queues with their bindings."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from dispatch import health
from dispatch.admin import base, broker_state, links, object_messages, queue_actions, widgets
from dispatch.admin.explanations import of_queues_and_exchanges
from dispatch.admin.explanations.section import Explained, ExplainedAdmin, Pages
from dispatch.admin.links import Link, Viewer
from dispatch.admin.pause_actions import PausingAdmin, PausingList, pause_notes
from dispatch.core.sentences import duration
from dispatch.models import Binding, Exchange, OutboxMessage, Queue

MOST_NAMED = 5
DECLARED_ONCE = _(
    "A broker keeps what a queue or exchange was first declared with, and refuses other values later. Settle these "
    "before it is first used, or delete it on the broker."
)


class BindingInline(base.Inline):
    """The exchanges a queue takes messages from."""

    model = Binding
    extra = 0
    autocomplete_fields = ("exchange",)
    formfield_overrides = widgets.JSON_IN_A_LINE
    verbose_name_plural = _("bindings: none is needed for messages that are routed to this queue by name")


class BoundQueueInline(BindingInline):
    """The queues that take messages from an exchange."""

    autocomplete_fields = ("queue",)
    verbose_name_plural = _("bound queues")


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
    inlines = (BoundQueueInline,)
    fieldsets = (
        (None, {"fields": ("name", "broker", "type", "broadcast")}),
        (
            _("Declaration"),
            {"fields": ("durable", "arguments"), "classes": ("collapse",), "description": DECLARED_ONCE},
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("bindings__queue")

    def explain(self, request: HttpRequest, row: Exchange) -> Explained:
        return of_queues_and_exchanges.of_exchange(row.name, Pages(self.viewer(request)))

    def concerned_queues(self, row: Exchange) -> list[str]:
        return []

    @admin.display(description=_("bound queues"))
    def bound_queues(self, exchange: Exchange) -> str:
        return widgets.listed(sorted({binding.queue.name for binding in exchange.bindings.all()}))


class QueueForm(base.BrokerForm):
    """Queues that are not the default one have no flag at all: a unique check sees no two of them as equal."""

    site = admin.site

    def clean_is_default(self) -> bool | None:
        if not self.cleaned_data["is_default"]:
            return None
        if first := Queue.objects.filter(is_default=True).exclude(pk=self.instance.pk).first():
            link = format_html('<a href="{}">{}</a>', links.change_url(first, self.site), first)
            raise ValidationError(
                format_html(gettext("The default queue is {}: unset it there first."), link)
            )
        return True


class QueueList(PausingList):
    """A page of queues with what waits for them in the outbox."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        known = health.waiting(router.db_for_read(OutboxMessage))
        viewer = Viewer(self.model_admin.admin_site, request)
        for row in self.result_list:
            row.waiting = _in_outbox(viewer, row.name, known.get(row.name, health.Waiting()))


@admin.register(Queue)
class QueueAdmin(PausingAdmin):
    """Queues; pausing one holds its messages in the outbox."""

    intro = _(
        "Queues are what workers consume. A paused queue loses nothing: its messages wait in the outbox."
    )
    empty_help = _("No queue yet: add one, and mark it as default to take what no route sends elsewhere.")
    list_class = QueueList
    form = QueueForm
    log_lookup = "queue"
    change_list_template = "admin/dispatch/queue/change_list.html"
    actions = ("declare", "purge", "apply", *PausingAdmin.actions)
    list_display = ("name", "state", "in_outbox", "on_broker", "broker_and_kind")
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
            *(
                path(f"{verb}/", queue_actions.view(self, verb), name=f"dispatch_queue_{verb}")
                for verb in queue_actions.ACTIONS
            ),
            *super().get_urls(),
        ]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change, **kwargs)  # a class of its own for each request
        form.site = self.admin_site
        return form

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        url = links.queue_action(self.admin_site, "apply") if self.has_declare_permission(request) else ""
        return super().changelist_view(request, {"apply_url": url, **(extra_context or {})})

    def has_declare_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dispatch.declare_queue")

    def has_purge_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dispatch.purge_queue")

    @admin.action(
        description=_("Declare selected %(verbose_name_plural)s on their brokers"), permissions=["declare"]
    )
    def declare(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return self._ask("declare", request, queryset)

    @admin.action(description=_("Purge selected %(verbose_name_plural)s"), permissions=["purge"])
    def purge(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return self._ask("purge", request, queryset)

    @admin.action(description=_("Tell workers of selected %(verbose_name_plural)s"), permissions=["declare"])
    def apply(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return self._ask("apply", request, queryset)

    def _ask(self, verb: str, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        most = queue_actions.MOST
        pks = list(queryset.values_list("pk", flat=True)[: most + 1])
        if len(pks) > most:
            messages.warning(request, _("Select at most %(count)s at a time.") % {"count": most})
            return HttpResponseRedirect(request.get_full_path())
        return HttpResponseRedirect(links.queue_action(self.admin_site, verb, pks))

    def tools(self, request: HttpRequest, row: Queue) -> list[Link]:
        found = super().tools(request, row)
        for verb, action in queue_actions.ACTIONS.items():
            if action.is_permitted(self, request):
                found.append(Link(action.label, links.queue_action(self.admin_site, verb, [row.pk])))
        return found

    def explain(self, request: HttpRequest, row: Queue) -> Explained:
        section = of_queues_and_exchanges.of_queue(row.name, Pages(self.viewer(request)))
        waiting = health.waiting_for(router.db_for_read(OutboxMessage), row.name)
        section.notes[:0] = pause_notes(row)
        section.facts.insert(0, (_("in the outbox"), _in_outbox(self.viewer(request), row.name, waiting)))
        return section

    def concerned_queues(self, row: Queue) -> list[str]:
        return [row.name]

    @admin.display(description=_("in the outbox"))
    def in_outbox(self, queue: Any) -> Any:
        return queue.waiting

    @admin.display(description=_("on the broker"))
    def on_broker(self, queue: Queue) -> SafeString:
        return broker_state.look(self.admin_site, [queue.name], "short")

    @admin.display(description=_("state"), ordering="paused")
    def state(self, queue: Queue) -> SafeString:
        state = super().state(queue)
        if not queue.is_default:
            return state
        return format_html("{} {}", state, widgets.badge("default", _("default queue")))

    @admin.display(description=_("broker"), ordering="broker")
    def broker_and_kind(self, queue: Queue) -> SafeString:
        about = [queue.queue_type]
        if queue.default_priority is not None:
            about.append(gettext("default priority %(number)s") % {"number": queue.default_priority})
        if queue.max_priority is not None:
            about.append(gettext("highest priority %(number)s") % {"number": queue.max_priority})
        bindings = [f"{row.exchange.name} ({row.routing_key})" for row in queue.bindings.all()]
        if bindings:
            about.append(gettext("bound to %(names)s") % {"names": widgets.listed(bindings, MOST_NAMED)})
        return widgets.remarked(queue.broker, widgets.listed(about))


def _in_outbox(viewer: Viewer, queue: str, waiting: health.Waiting) -> SafeString | str:
    """Return how many messages wait, linked to them, and since when the oldest of them is due."""
    if not waiting.pending:
        return widgets.EMPTY
    is_counted = waiting.pending < health.MOST_COUNTED
    text = ngettext("%(count)s waits", "%(count)s wait", waiting.pending) % {
        "count": f"{widgets.number(waiting.pending)}{'' if is_counted else '+'}"
    }
    if viewer.may_open(OutboxMessage):
        url = object_messages.log_url(viewer.site, status__exact=OutboxMessage.Status.PENDING, queue=queue)
        text = format_html('<a href="{}">{}</a>', url, text)
    if waiting.oldest_due is None:
        age = gettext("none is due yet")
    else:
        age = gettext("the oldest is due for %(age)s") % {"age": duration(waiting.oldest_due)}
    return widgets.remarked(text, age)
