"""The form of a trigger: the trigger itself, its conditions, and the mapping of its arguments."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from dispatch.admin import base, links
from dispatch.admin.mapping_validation import ArgumentFormSet
from dispatch.admin.model_choices import choices, watchable
from dispatch.core import trigger_rules
from dispatch.models import TaskDefinition, TriggerArgument, TriggerCondition
from dispatch.models.triggers import EVENT_LABELS

FIELDS, PARAMETERS = "dispatch-fields", "dispatch-parameters"
Source = TriggerArgument.Source


class WatchedField(forms.MultipleChoiceField):
    """Names of fields; whether the model has them is for the model to say, which names those that it has."""

    widget = forms.CheckboxSelectMultiple

    def valid_value(self, value: Any) -> bool:
        return True


class TriggerForm(base.Form):
    """Model, events and watched fields are chosen; on the model they are plain values: configuration never migrates."""

    model = forms.ChoiceField(
        label=_("Model"), help_text=_("Saving or deleting one of these sends the task.")
    )
    events = forms.MultipleChoiceField(
        label=_("Events"),
        choices=[(event, EVENT_LABELS[event]) for event in trigger_rules.EVENTS],
        widget=forms.CheckboxSelectMultiple,
        help_text=_("When the task is sent. Related objects are those of the model's many-to-many fields."),
    )
    watched = WatchedField(
        label=_("Watched fields"),
        required=False,
        help_text=_(
            "An update counts only if one of these has changed, a change of related objects only if it is of one of "
            "these. Without any, all count."
        ),
    )

    class Meta:
        help_texts = {
            "name": _("What the log of messages shows as the sender, for example “Summarise text notes”."),
            "task": _("Tasks come from the worker's manifest."),
            "coalesce": _(
                "Seconds. What this trigger sends for one object within that time becomes one message, with the "
                "latest arguments; it waits that long before it is published. Empty: each save sends its own."
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("events", "watched"):
            self.initial[name] = _names(self.initial.get(name))
        if "model" in self.fields:
            self.fields["model"].choices = choices(self.instance.model)  # type: ignore[attr-defined]
        if "task" in self.fields:
            offered = Q(retired_at=None) | Q(pk=self.instance.task_id)
            self.fields["task"].queryset = TaskDefinition.objects.filter(offered)  # type: ignore[attr-defined]
        if "watched" in self.fields:
            self._offer_watched()

    def _offer_watched(self) -> None:
        label = self["model"].value() if "model" in self.fields else self.instance.model
        offered = watchable(label or "")
        names = {name for name, _label in offered}
        stored = [name if name in names else _attname(label, name) for name in self.initial["watched"]]
        self.initial["watched"] = stored
        gone = [(name, name) for name in stored if name not in names]
        self.fields["watched"].choices = [*offered, *gone]  # type: ignore[attr-defined]


def _names(stored: Any) -> list[str]:
    """Return the names in what is stored, which need not be a list of them."""
    names = stored if isinstance(stored, list) else [stored]
    return [name for name in names if isinstance(name, str)]


def _attname(label: str, name: str) -> str:
    """Return the column of a field that was stored by its name: ``author_id`` for ``author``."""
    model = links.find(label)
    found = {field.name: field.attname for field in model._meta.concrete_fields} if model else {}
    return found.get(name, name)


class LineForm(base.Form):
    """A line of a trigger: checked against its model once that is known, and once the line itself is complete."""

    def _post_clean(self) -> None:
        trigger = self.cleaned_data.get("trigger")
        if not self.errors and trigger is not None and links.find(trigger.model) is not None:
            super()._post_clean()  # type: ignore[misc]  # left out of the stubs


class ConditionForm(LineForm):
    """One comparison; the model's columns are offered, and the operators and values that fit them."""

    class Meta:
        widgets = {
            "field": forms.TextInput(attrs={"list": FIELDS, "autocomplete": "off"}),
            "value": forms.Textarea(attrs={"rows": 1, "cols": 30}),
        }

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("operator") == "changed_from_to":
            cleaned["value"] = (self["value"].data or "").replace("\r\n", "\n")  # an empty line is a value
        return cleaned


class ArgumentForm(LineForm):
    """One line of the mapping; a parameter without a source is left to the task's default."""

    source = forms.ChoiceField(
        label=_("Source"),
        choices=[("", _("not given")), *Source.choices],
        required=False,
        initial=Source.FIELD,
    )

    class Meta:
        widgets = {
            "parameter": forms.TextInput(attrs={"list": PARAMETERS, "autocomplete": "off"}),
            "value": forms.TextInput(attrs={"list": FIELDS, "autocomplete": "off", "size": 30}),
        }

    def has_changed(self) -> bool:
        if self.instance.pk is None and not self["source"].data:
            return False
        return super().has_changed()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        source, value = cleaned.get("source"), cleaned.get("value")
        if not source:
            self.add_error("source", _("Choose where it comes from, or delete this line."))
        elif source in (Source.FIELD, Source.OLD):
            if not value:
                self.add_error("value", _("Name a field of the object, for example pk."))
        elif source != Source.CONSTANT:
            cleaned["value"] = ""
        return cleaned


class ConditionInline(base.Inline):
    """Conditions, all of which must hold."""

    model = TriggerCondition
    form = ConditionForm
    extra = 1
    verbose_name_plural = _("conditions: all must hold; without any, every save counts")


class ArgumentInline(base.Inline):
    """The argument mapping."""

    model = TriggerArgument
    form = ArgumentForm
    formset = ArgumentFormSet
    extra = 2
    verbose_name_plural = _("arguments: what the task is given")
