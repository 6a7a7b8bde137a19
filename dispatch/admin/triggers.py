"""Triggers, with their conditions and the mapping of a saved object to the task's arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import router
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_lazy as _

from dispatch.admin import base, history, links, object_messages, preview_links, widgets
from dispatch.admin.explanations import in_one_sentence
from dispatch.admin.explanations.section import warn
from dispatch.admin.links import Link
from dispatch.admin.model_choices import columns, relations, watchable
from dispatch.admin.parameter_table import parameters
from dispatch.admin.tables import Table
from dispatch.admin.trigger_forms import ArgumentInline, ConditionInline, TriggerForm
from dispatch.core import trigger_rules
from dispatch.models import OutboxMessage, TaskDefinition, Trigger
from dispatch.models.triggers import EVENT_LABELS
from dispatch.triggers.code_triggers import CodeTrigger, declared
from dispatch.triggers.recent_messages import Activity, recent
from dispatch.triggers.trigger_index import AnyTrigger

CODE_COLUMNS = (_("name"), _("when"), _("if"), _("sends"), _("sent lately"))


class TriggerList(ChangeList):
    """A page of triggers, and those in code, with what they sent lately, and who disabled those that are."""

    model_admin: TriggerAdmin
    code_triggers: Table

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        known = self.model_admin.recent(request)
        self.model_admin.learn(self.result_list, known)
        self.code_triggers = self.model_admin.in_code(request, known)


@admin.register(Trigger)
class TriggerAdmin(base.Admin):
    """Triggers; a change works in every process within seconds, without a restart."""

    intro = _(
        "A trigger sends a task when an object is saved or deleted. Changes work at once, without a restart. What was "
        "sent lately is counted among the newest 10,000 messages."
    )
    empty_help = _("No trigger yet: add one to send a task whenever an object of some model is saved.")
    list_class = TriggerList
    form = TriggerForm
    list_display = ("name", "enabled", "when", "condition_list", "sends", "sent")
    readonly_fields = ("sent", "events_in_words", "watched_in_words")
    list_editable = ("enabled",)
    list_filter = ("enabled", "model", ("task", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("task", "queue")
    search_fields = ("name", "model", "task__name")
    ordering = ("name",)
    autocomplete_fields = ("task", "queue")
    inlines = (ConditionInline, ArgumentInline)
    change_list_template = "admin/dispatch/trigger/change_list.html"
    fieldsets = (
        (None, {"fields": ("name", "enabled", "disabled_reason")}),
        (_("When"), {"fields": ("model", "events", "watched")}),
        (_("What is sent"), {"fields": ("task",)}),
        (
            _("Options"),
            {
                "fields": ("coalesce", "queue", "priority", "countdown"),
                "classes": ("collapse",),
                "description": _(
                    "All may stay empty. Queue, priority and countdown: only where this trigger differs from the "
                    "task's routes and definition."
                ),
            },
        ),
    )

    class Media:
        js = ("dispatch/trigger.js",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("conditions", "arguments")

    def get_fieldsets(self, request: HttpRequest, obj: Trigger | None = None) -> Any:
        (_first, names), *others = super().get_fieldsets(request, obj)
        if obj is None:
            return [(None, {"fields": ("name", "enabled")}), *others]
        first = (None, {**names, "fields": (*names["fields"], "sent")})
        if self.has_change_permission(request, obj):
            return [first, *others]
        (when, _fields), *others = others  # Django would show lists as Python writes them
        return [first, (when, {"fields": ("model", "events_in_words", "watched_in_words")}), *others]

    def learn(self, rows: Iterable[Any], known: Mapping[str, Activity]) -> None:
        """Let rows know what they sent lately, and who disabled them."""
        disabled = history.last_entries([row for row in rows if not row.enabled], history.changed("Enabled"))
        for row in rows:
            row.activity, row.disabled = known.get(row.name), disabled.get(str(row.pk))

    def recent(self, request: HttpRequest) -> Mapping[str, Activity]:
        """Return what triggers sent lately, to those who may view messages."""
        is_told = self.viewer(request).may_open(OutboxMessage)
        return recent(router.db_for_read(OutboxMessage)) if is_told else {}

    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        return [
            path("choices/", wrap(self.choices_view), name="dispatch_trigger_choices"),
            path("<int:pk>/preview/", wrap(self.preview_view), name="dispatch_trigger_preview"),
            path("code/preview/", wrap(self.code_preview_view), name="dispatch_trigger_code_preview"),
            *super().get_urls(),
        ]

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        warn(
            request,
            in_one_sentence.queues_of_trigger(form.instance.name),
            is_all=form.instance.priority is not None,
        )

    def choices_view(self, request: HttpRequest) -> JsonResponse:
        """Tell the form's script which columns the chosen model has, and what the chosen task takes."""
        if not (self.has_add_permission(request) or self.has_change_permission(request)):
            raise PermissionDenied
        model, task = request.GET.get("model", ""), request.GET.get("task", "")
        return JsonResponse(
            {
                "fields": columns(model),
                "watched": watchable(model),
                "relations": relations(model),
                "parameters": _parameters(task),
            }
        )

    def preview_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show what a trigger of the admin would send."""
        row = self.viewed_row(request, pk)
        return self._preview(request, row.spec(), row)

    def code_preview_view(self, request: HttpRequest) -> HttpResponse:
        """Show what a trigger in code would send: the one with this name, model, task and events."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        wanted = {each: request.GET.get(each, "") for each in ("name", "model", "task", "events")}
        found = next((each for each in declared.values() if preview_links.key(each) == wanted), None)
        if found is None:
            raise Http404
        return self._preview(request, found)

    def _preview(self, request: HttpRequest, trigger: AnyTrigger, row: Trigger | None = None) -> HttpResponse:
        from dispatch.admin.trigger_preview import context_for
        from dispatch.triggers.preview import Candidate

        found = Candidate(trigger, row is None or row.enabled, row)
        return self.own_page(
            request,
            "admin/dispatch/trigger/preview.html",
            title=_("Preview"),
            subtitle=trigger.name,
            **context_for(found, self.viewer(request)),
        )

    def row_context(self, request: HttpRequest, row: Trigger) -> dict[str, Any]:
        self.learn([row], self.recent(request))
        stored = Trigger.objects.get(pk=row.pk)  # the row holds what a form that is shown again was sent
        return {
            "log_url": self._log_url(request, stored.name),
            "may_preview": self._may_preview(request, stored.model),
        }

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: Any) -> None:
        super().save_formset(request, form, formset, change)
        for warning in getattr(formset, "warnings", ()):
            self.message_user(request, warning, messages.WARNING)

    def in_code(self, request: HttpRequest, known: Mapping[str, Activity]) -> Table:
        """Return the triggers in code by name."""
        found = sorted(declared.values(), key=lambda trigger: trigger.name)
        rows = [self._in_code(request, each, known.get(each.name)) for each in found]
        return Table(gettext("Triggers in code"), CODE_COLUMNS, rows)

    def _in_code(self, request: HttpRequest, trigger: CodeTrigger, activity: Activity | None) -> list[Link]:
        may_preview = self._may_preview(request, trigger.model)
        pages = (
            (preview_links.address(self.admin_site, trigger) if may_preview else "", gettext("Preview")),
            (self._log_url(request, trigger.name), pgettext("outbox", "Messages")),
        )
        shown = format_html_join(" · ", '<a href="{}">{}</a>', (each for each in pages if each[0]))
        watched = (*trigger.watched, *trigger.relations)
        condition = getattr(trigger.when, "__name__", "") if trigger.when else gettext("always")
        return [
            Link(widgets.subtitled(widgets.dotted(trigger.name), shown)),
            Link(_when(trigger.model, _events(trigger.events), watched)),
            Link(condition),
            Link(_sends(trigger)),
            Link(_sent(activity, self.admin_site)),
        ]

    def _may_preview(self, request: HttpRequest, label: str) -> bool:
        return self.viewer(request).may_view(links.find(label))

    def _log_url(self, request: HttpRequest, name: str) -> str:
        if not self.viewer(request).may_open(OutboxMessage):
            return ""
        return object_messages.log_url(self.admin_site, origin__exact="trigger", origin_name=name)

    @admin.display(description=_("when"), ordering="model")
    def when(self, trigger: Trigger) -> SafeString:
        return _when(trigger.model, _events(trigger.events), _items(trigger.watched or []))

    @admin.display(description=_("events"))
    def events_in_words(self, trigger: Trigger) -> str:
        return _events(trigger.events)

    @admin.display(description=_("watched fields"))
    def watched_in_words(self, trigger: Trigger) -> str:
        return widgets.listed(map(str, _items(trigger.watched)))

    @admin.display(description=_("sent lately"))
    def sent(self, trigger: Any) -> SafeString | str:
        if trigger.enabled:
            return _sent(trigger.activity, self.admin_site)
        return format_html(
            '{} <small class="dispatch-quiet">{} {}</small><br>{}',
            widgets.badge("cancelled", _("disabled")),
            history.signed(trigger.disabled) if trigger.disabled else "",
            trigger.disabled_reason,
            _sent(trigger.activity, self.admin_site),
        )

    @admin.display(description=_("sends"), ordering="task__name")
    def sends(self, trigger: Trigger) -> SafeString:
        return _sends(trigger.spec())

    @admin.display(description=_("if"))
    def condition_list(self, trigger: Trigger) -> SafeString | str:
        if problem := trigger.spec().problem:
            return format_html("{} {}", widgets.badge("warning", _("cannot work")), problem)
        return gettext(" and ").join(map(str, trigger.conditions.all())) or gettext("always")


def _parameters(pk: str) -> list[dict[str, Any]]:
    task = TaskDefinition.objects.filter(pk=pk).first() if base.may_be_key(TaskDefinition, pk) else None
    found = parameters(task.parameters, []) if task else ()
    return [{"name": p.name, "type": p.type, "required": p.required, "default": p.default} for p in found]


def _when(model: str, events: str, watched: Iterable[Any]) -> SafeString:
    text = format_html("{} {}", widgets.dotted(model), events)
    names = widgets.listed(map(str, watched))
    return text if names == widgets.EMPTY else widgets.subtitled(text, gettext("watches %s") % names)


def _sends(trigger: AnyTrigger) -> SafeString:
    """Return the task, and where its messages go as things stand, or why nowhere."""
    from dispatch.triggers.preview import destination

    found, problem = destination(trigger)
    place = in_one_sentence.place(found) if found else problem
    return widgets.subtitled(widgets.dotted(trigger.task), f"→ {place}")


def _sent(activity: Activity | None, site: admin.AdminSite) -> SafeString | str:
    """Return how many messages it sent lately, the last time, and its last error."""
    if activity is None:
        return widgets.EMPTY
    parts: list[SafeString | str] = []
    if activity.last:
        last = widgets.moment(activity.last, _("sent"))
        parts.append(format_html(gettext("{}, the last {}"), widgets.number(activity.sent), last))
    if activity.dead:
        badge = widgets.badge("dead", _("dead"))
        error = widgets.shortened(activity.dead.last_error)
        url = links.change_url(activity.dead, site)
        parts.append(widgets.remarked(format_html('<a href="{}">{}</a>', url, badge), error))
    return format_html_join(" ", "{}", ((part,) for part in parts))


def _items(value: Any) -> list[Any]:
    """Return a stored list; what is none, as the only one."""
    return value if isinstance(value, list) else [value]


def _events(events: Any) -> str:
    """Return events in words, in their usual order; what is no event, as it is stored."""
    if not isinstance(events, frozenset):
        events = _items(events)
    known = [str(EVENT_LABELS[event]) for event in trigger_rules.EVENTS if event in events]
    return ", ".join([*known, *(str(event) for event in events if event not in trigger_rules.EVENTS)])
