"""Triggers, with their conditions and the mapping of a saved object to the task's arguments."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from dispatch.admin import destinations, links, parts
from dispatch.admin.explained import warn
from dispatch.admin.mapping import ArgumentFormSet
from dispatch.admin.models import choices, field_names
from dispatch.admin.schema import parameters
from dispatch.core import rules
from dispatch.models import TaskDefinition, Trigger, TriggerArgument, TriggerCondition
from dispatch.models.triggers import EVENT_LABELS
from dispatch.triggers.code import declared

FIELDS, PARAMETERS = "dispatch-fields", "dispatch-parameters"


class TriggerForm(parts.Form):
    """Model and events are chosen; on the model they are plain values, so that configuration never migrates."""

    model = forms.ChoiceField(
        label=_("Model"), help_text=_("Saving or deleting one of these sends the task.")
    )
    events = forms.MultipleChoiceField(
        label=_("Events"),
        choices=[(event, EVENT_LABELS[event]) for event in rules.EVENTS],
        widget=forms.CheckboxSelectMultiple,
        help_text=_("When the task is sent."),
    )

    class Meta:
        help_texts = {
            "name": _("What the log of messages shows as the sender, for example “Summarise text notes”."),
            "task": _("Tasks come from the worker's manifest."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "model" in self.fields:
            self.fields["model"].choices = choices(self.instance.model)  # type: ignore[attr-defined]
        if "task" in self.fields:
            offered = Q(retired_at=None) | Q(pk=self.instance.task_id)
            self.fields["task"].queryset = TaskDefinition.objects.filter(offered)  # type: ignore[attr-defined]


class LineForm(parts.Form):
    """A line of a trigger: checked against its model once that is known, and once the line itself is complete."""

    def _post_clean(self) -> None:
        trigger = self.cleaned_data.get("trigger")
        if not self.errors and trigger is not None and links.find(trigger.model) is not None:
            super()._post_clean()  # type: ignore[misc]  # left out of the stubs


class ConditionForm(LineForm):
    """One comparison; the model's columns are offered."""

    class Meta:
        widgets = {
            "field": forms.TextInput(attrs={"list": FIELDS, "autocomplete": "off"}),
            "value": forms.Textarea(attrs={"rows": 1, "cols": 30}),
        }


class ArgumentForm(LineForm):
    """One line of the mapping; the task's parameters and the model's columns are offered."""

    class Meta:
        widgets = {
            "parameter": forms.TextInput(attrs={"list": PARAMETERS, "autocomplete": "off"}),
            "value": forms.TextInput(attrs={"list": FIELDS, "autocomplete": "off", "size": 30}),
        }

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("source") == TriggerArgument.Source.FIELD and not cleaned.get("value"):
            self.add_error("value", _("Name a field of the object, for example pk."))
        return cleaned


class ConditionInline(parts.TabularInline):
    """Conditions, all of which must hold."""

    model = TriggerCondition
    form = ConditionForm
    extra = 1
    verbose_name_plural = _("conditions: all must hold; without any, every save counts")


class ArgumentInline(parts.TabularInline):
    """The argument mapping."""

    model = TriggerArgument
    form = ArgumentForm
    formset = ArgumentFormSet
    extra = 2
    verbose_name_plural = _("arguments: what the task is given")


@admin.register(Trigger)
class TriggerAdmin(parts.Admin):
    """Triggers; a change works in every process within seconds, without a restart."""

    intro = _(
        "A trigger sends a task when an object is saved or deleted. Changes work at once, without a restart."
    )
    empty_help = _("No trigger yet: add one to send a task whenever an object of some model is saved.")
    form = TriggerForm
    list_display = ("name", "enabled", "when", "sends", "condition_list")
    list_editable = ("enabled",)
    list_filter = ("enabled", "model", ("task", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("task", "queue")
    search_fields = ("name", "model", "task__name")
    ordering = ("name",)
    autocomplete_fields = ("task", "queue")
    inlines = (ConditionInline, ArgumentInline)
    change_list_template = "admin/dispatch/trigger/change_list.html"
    fieldsets = (
        (None, {"fields": ("name", "enabled")}),
        (_("When"), {"fields": ("model", "events")}),
        (_("What is sent"), {"fields": ("task",)}),
        (
            _("Options"),
            {
                "fields": ("queue", "priority", "countdown"),
                "classes": ("collapse",),
                "description": _("Only where this trigger differs from the task's routes and definition."),
            },
        ),
    )

    class Media:
        js = ("dispatch/trigger.js",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("conditions", "arguments")

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.choices_view)
        return [path("choices/", view, name="dispatch_trigger_choices"), *super().get_urls()]

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        warn(
            request,
            destinations.queues_of_trigger(form.instance.name),
            is_all=form.instance.priority is not None,
        )

    def choices_view(self, request: HttpRequest) -> JsonResponse:
        """Tell the form's script which columns the chosen model has, and what the chosen task takes."""
        if not (self.has_add_permission(request) or self.has_change_permission(request)):
            raise PermissionDenied
        found = _parameters(request.GET.get("task", ""))
        return JsonResponse({"fields": field_names(request.GET.get("model", "")), "parameters": found})

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"code_triggers": _code_triggers(), **(extra_context or {})})

    @admin.display(description=_("when"), ordering="model")
    def when(self, trigger: Trigger) -> SafeString:
        events = ", ".join(str(EVENT_LABELS.get(event, event)) for event in trigger.events)
        return format_html("{} {}", parts.dotted(trigger.model), events)

    @admin.display(description=_("sends"), ordering="task__name")
    def sends(self, trigger: Trigger) -> SafeString:
        return parts.dotted(trigger.task.name)

    @admin.display(description=_("if"))
    def condition_list(self, trigger: Trigger) -> SafeString | str:
        if problem := trigger.spec().problem:
            return format_html("{} {}", parts.badge("warning", _("cannot work")), problem)
        return _t(" and ").join(map(str, trigger.conditions.all())) or _t("always")


def _parameters(pk: str) -> list[dict[str, Any]]:
    task = TaskDefinition.objects.filter(pk=pk).first() if pk.isdecimal() else None
    found = parameters(task.parameters, []) if task else ()
    return [{"name": p.name, "type": p.type, "required": p.required, "default": p.default} for p in found]


def _code_triggers() -> list[Any]:
    return sorted(declared.values(), key=lambda trigger: trigger.name)
