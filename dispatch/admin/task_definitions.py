"""The tasks that may be sent."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from dispatch.admin import base, broker_state, links, parameter_table, widgets
from dispatch.admin.explanations import in_one_sentence, of_tasks_and_routes
from dispatch.admin.explanations.section import Explained, Pages
from dispatch.admin.links import Link
from dispatch.admin.pause_actions import PausingAdmin, pause_notes
from dispatch.conf import conf
from dispatch.core.routing import Destination
from dispatch.core.schema.summary import describe
from dispatch.models import TaskDefinition

FROM_MANIFEST = ("name", "description")
FROM_WORKER = ("offered", "returned", "own_options")


class Offered(admin.SimpleListFilter):
    """Tasks that the worker still offers, advises against, or has dropped."""

    title = _("offer")
    parameter_name = "offer"
    conditions: ClassVar[dict[str, dict[str, Any]]] = {
        "current": {"retired_at": None, "deprecated": None},
        "deprecated": {"retired_at": None, "deprecated__isnull": False},
        "retired": {"retired_at__isnull": False},
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("current", _("Current")), ("deprecated", _("Deprecated")), ("retired", _("Retired"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**self.conditions.get(self.value() or "", {}))


class TaskForm(base.Form):
    """Serializers are chosen among the allowed ones; sensitive names must be names that the task has."""

    sensitive_parameters = widgets.NamesField(
        label=_("Sensitive parameters"),
        required=False,
        help_text=_("One name a line. Their values are sent, but masked in the admin, logs and results."),
    )
    serializer = forms.ChoiceField(label=_("Serializer"), required=False)

    class Meta:
        widgets = {
            "name": widgets.WIDE,
            "description": forms.Textarea(attrs={"rows": 2, "cols": 60}),
            "ignore_result": widgets.IgnoreResult,
        }
        help_texts = {"compression": _("For example gzip. Empty: none.")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "serializer" in self.fields:
            names = list(dict.fromkeys([*conf.SERIALIZERS, self.instance.serializer or "json"]))
            field: Any = self.fields["serializer"]
            field.choices = [
                ("", _("the broker's own (json), unless the call names one")),
                *((n, n) for n in names),
            ]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        parameters = cleaned.get("parameters", self.instance.parameters)
        if isinstance(parameters, dict) and parameters.get("additionalProperties") is False:
            self._check_sensitive(cleaned.get("sensitive_parameters") or (), parameters.get("properties", {}))
        return cleaned

    def _check_sensitive(self, names: Any, known: Any) -> None:
        for name in names:
            if name not in known:
                text = _(
                    "The task has no parameter %(name)s%(close)s: nothing would be masked. Correct or remove it."
                )
                close = widgets.suggestion(name, known)
                self.add_error(
                    "sensitive_parameters", ValidationError(text, params={"name": repr(name), "close": close})
                )


@admin.register(TaskDefinition)
class TaskDefinitionAdmin(PausingAdmin):
    """The tasks that may be sent. What the worker's manifest says of them is not edited here."""

    intro = _(
        "Only tasks listed here can be sent, and their arguments are checked against the parameters of the task. "
        "They come from the worker's manifest: manage.py dispatch manifest sync FILE."
    )
    empty_help = _(
        "No task yet. Write the worker's manifest (celery -A worker manifest) and import it with manage.py dispatch "
        "manifest sync FILE; or add a task by hand, under the exact name the worker gave it."
    )
    form = TaskForm
    list_display = ("task", "enabled", "state", "goes_to", "takes")
    list_display_links = ("task",)
    list_editable = ("enabled",)
    list_filter = ("enabled", "paused", Offered, "source", "manifest__worker")
    search_fields = ("name", "description")
    ordering = ("name",)
    autocomplete_fields = ("queue", "exchange")
    log_lookup = "task_name"

    def has_send_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dispatch.send_taskdefinition")

    def get_urls(self) -> list[Any]:
        send = self.admin_site.admin_view(self.send_view)
        return [
            path("<path:object_id>/send/", send, name="dispatch_taskdefinition_send"),
            *super().get_urls(),
        ]

    def send_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show a form for the task's arguments, then what would be sent, and send it."""
        from dispatch.admin.send_view import SendView

        row = self.viewed_row(request, unquote(object_id))
        if not self.has_send_permission(request):
            raise PermissionDenied
        return SendView(self, request, row).respond()

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        return (*self.list_display, "send_link") if self.has_send_permission(request) else self.list_display

    def tools(self, request: HttpRequest, row: TaskDefinition) -> list[Link]:
        send = [Link(gettext("Send…"), self._send_url(row))] if self.has_send_permission(request) else []
        return [*send, *super().tools(request, row)]

    @admin.display(description=_("send"))
    def send_link(self, row: TaskDefinition) -> SafeString:
        return format_html('<a class="dispatch-whole" href="{}">{}</a>', self._send_url(row), _("Send…"))

    def _send_url(self, row: TaskDefinition) -> str:
        return links.page("dispatch_taskdefinition_send", self.admin_site, row.pk)

    def get_readonly_fields(self, request: HttpRequest, obj: TaskDefinition | None = None) -> tuple[str, ...]:
        computed = (
            *super().get_readonly_fields(request, obj),
            "takes_table",
            "destination",
            "source",
            "manifest",
            *FROM_WORKER,
        )
        return (*computed, *FROM_MANIFEST, "parameters") if _is_imported(obj) else computed

    def get_fieldsets(self, request: HttpRequest, obj: TaskDefinition | None = None) -> Any:
        return [
            (
                None,
                {"fields": ("name", "description", "enabled", "paused", *(("destination",) if obj else ()))},
            ),
            (_("Parameters"), _parameters_fieldset(obj)),
            (_("Where it goes"), _DESTINATION_FIELDSET),
            (_("When and how long"), _TIMES_FIELDSET),
            (_("How it is sent"), _WIRE_FIELDSET),
            *([(_("Where it comes from"), {"fields": ("source", "manifest")})] if obj else []),
            *([(_("What the worker says"), {"fields": FROM_WORKER})] if _is_imported(obj) else []),
        ]

    def explain(self, request: HttpRequest, row: TaskDefinition) -> Explained:
        section = of_tasks_and_routes.of_task(row.name, Pages(self.viewer(request)))
        section.notes[:0] = pause_notes(row)
        return section

    def concerned_queues(self, row: TaskDefinition) -> tuple[str, ...]:
        found, _reason = in_one_sentence.resolved(row.name)
        return found.queues if found else ()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        found, may_have_duplicates = super().get_search_results(request, queryset, search_term)
        is_choosing = request.path == reverse(f"{self.admin_site.name}:autocomplete")
        return (found.filter(retired_at=None) if is_choosing else found), may_have_duplicates

    @admin.display(description=_("task"), ordering="name")
    def task(self, row: TaskDefinition) -> SafeString:
        return widgets.dotted(row.name)

    @admin.display(description=_("state"), ordering="paused")
    def state(self, row: TaskDefinition) -> SafeString:
        if row.retired_at:
            return widgets.badge("cancelled", _("retired"))
        state = super().state(row)
        return state if row.deprecated is None else format_html("{} {}", state, _deprecated())

    @admin.display(description=_("offered by the worker"))
    def offered(self, row: TaskDefinition) -> SafeString | str:
        if row.retired_at is None:
            return (
                gettext("yes")
                if row.deprecated is None
                else format_html("{} {}", _deprecated(), row.deprecated)
            )
        text = _("since %(date)s, by version %(version)s: sending it is refused, its messages wait")
        words = {"date": f"{row.retired_at:%Y-%m-%d %H:%M} UTC", "version": row.retired_version or "?"}
        return format_html("{} {}", widgets.badge("cancelled", _("retired")), text % words)

    @admin.display(description=_("returns"))
    def returned(self, row: TaskDefinition) -> str:
        return describe(row.returns) if row.returns else widgets.EMPTY

    @admin.display(description=_("options in its code"))
    def own_options(self, row: TaskDefinition) -> str:
        return widgets.listed(f"{name} = {value!r}" for name, value in sorted(row.worker_options.items()))

    @admin.display(description=_("goes to"))
    def goes_to(self, row: TaskDefinition) -> SafeString:
        found, reason = in_one_sentence.resolved(row.name)
        if found is None:
            target = widgets.badge("warning", _("nowhere"))
        else:
            target = format_html("→ {} {}", found.exchange or found.queue, self._warnings(found))
        return format_html('{}<br><span class="dispatch-quiet">{}</span>', target, reason)

    @admin.display(description=_("resolved destination"))
    def destination(self, row: TaskDefinition) -> SafeString | str:
        found, _reason = in_one_sentence.resolved(row.name)
        text = in_one_sentence.explain(row.name)
        if found is None:
            return format_html("{} {}", widgets.badge("warning", _("nowhere")), text)
        return format_html(
            '{} {} (<a href="#dispatch-explained">{}</a>)', text, self._warnings(found), _("why")
        )

    def _warnings(self, found: Destination) -> SafeString:
        """Return where the page's script warns of the queues that messages reach."""
        return broker_state.look(self.admin_site, found.queues, "brief")

    @admin.display(description=_("parameters"))
    def takes(self, row: TaskDefinition) -> str:
        found = parameter_table.parameters(row.parameters, [])
        return ", ".join(p.name if p.required else f"[{p.name}]" for p in found) or widgets.EMPTY

    @admin.display(description=_("what it takes"))
    def takes_table(self, row: TaskDefinition) -> SafeString:
        return parameter_table.table(row.parameters, row.sensitive_parameters)


def _deprecated() -> SafeString:
    return widgets.badge("warning", _("deprecated"))


def _is_imported(task: TaskDefinition | None) -> bool:
    return task is not None and task.source == TaskDefinition.Source.MANIFEST


def _parameters_fieldset(task: TaskDefinition | None) -> dict[str, Any]:
    if task is None:
        return {
            "fields": ("parameters", "sensitive_parameters"),
            "description": _(
                "A JSON Schema lets a misspelt argument be refused at once. Empty, everything is accepted."
            ),
        }
    if _is_imported(task):
        return {
            "fields": ("takes_table", "sensitive_parameters"),
            "description": _(
                "As the worker's manifest says; to change them, change the worker and import its manifest anew."
            ),
        }
    return {"fields": ("takes_table", "parameters", "sensitive_parameters")}


_DESTINATION_FIELDSET = {
    "fields": ("queue", "exchange", "routing_key", "priority"),
    "description": _(
        "Empty, the routes decide. What is set here comes before every route, and after what a call says."
    ),
}
_TIMES_FIELDSET = {
    "fields": ("countdown", "expires", "soft_time_limit", "time_limit"),
    "classes": ("collapse",),
    "description": _("All in seconds, for calls that say nothing else."),
}
_WIRE_FIELDSET = {"fields": ("serializer", "compression", "ignore_result"), "classes": ("collapse",)}
