"""The page that says what a trigger would send for an object. Nothing is sent."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from dispatch.admin import links, object_messages, widgets
from dispatch.admin.explanations import rule_names
from dispatch.admin.explanations.in_one_sentence import place
from dispatch.admin.links import Link, Viewer
from dispatch.admin.tables import Table
from dispatch.core import trigger_rules
from dispatch.exceptions import ConfigurationError
from dispatch.models import OutboxMessage
from dispatch.models.triggers import EVENT_LABELS
from dispatch.triggers.firing_explanation import Check
from dispatch.triggers.preview import Candidate, Preview, load, preview

RECENT = 10
CHECK_COLUMNS = (_("what"), _("It is"), _("Expected"), _("Holds"))


class PreviewForm(forms.Form):
    """An object, an event of it, and what the save would have changed."""

    pk = forms.CharField(
        label=_("Primary key"),
        widget=forms.TextInput(attrs={"list": "dispatch-objects", "autocomplete": "off", "size": 40}),
    )
    event = forms.ChoiceField(
        label=_("Event"), choices=[(each, EVENT_LABELS[each]) for each in trigger_rules.EVENTS]
    )
    changes = forms.CharField(
        label=_("As if it changed"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "cols": 60, "class": "dispatch-code", "spellcheck": "false"}),
        help_text=_("One a line: body = New text. The object itself is not changed."),
    )

    def clean_changes(self) -> dict[str, str]:
        changes = {}
        for line in filter(str.strip, self.cleaned_data["changes"].splitlines()):
            name, equals, value = line.partition("=")
            if not equals:
                raise forms.ValidationError(gettext("%(line)s: write field = value.") % {"line": line})
            changes[name.strip()] = value.strip()
        return changes


def context_for(found: Candidate, viewer: Viewer) -> dict[str, Any]:
    """Return what the page shows: the form, and the answer once an object was named.

    Raises PermissionDenied for those who may not view the objects of the trigger's model.
    """
    model = links.find(found.trigger.model)
    if model is None or not viewer.may_view(model):
        raise PermissionDenied
    asked = viewer.request.GET
    given = viewer.request.POST or (asked if "pk" in asked else None)
    form = PreviewForm(_with_event(given, found), initial={"event": found.first_event})
    form.fields["pk"].help_text = gettext("Of a %(model)s.") % {"model": model._meta.verbose_name}
    context: dict[str, Any] = {"form": form, "found": found, "recent": _recent(viewer, model)}
    if not form.is_valid():
        return context
    try:
        instance = _object(viewer, found, form.cleaned_data["pk"])
        answer = preview(found, instance, form.cleaned_data["event"], form.cleaned_data["changes"])
    except ConfigurationError as error:
        form.add_error(None, str(error))
        return context
    return context | _answered(answer, instance, viewer)


def _answered(answer: Preview, instance: Model, viewer: Viewer) -> dict[str, Any]:
    destination = answer.destination.destination
    sent = object_messages.messages_of(instance, answer.trigger)
    history = object_messages.table(sent, RECENT, viewer.site) if viewer.may_open(OutboxMessage) else None
    return {
        "answer": answer,
        "example": Link(str(instance), viewer.url(instance)),
        "arguments": _arguments(answer),
        "checks": Table("", CHECK_COLUMNS, [*map(_check, answer.checks)]),
        "place": place(destination) if destination else "",
        "decided_by": rule_names.decisions(answer.destination.decided_by).items(),
        "history": history,
    }


def _check(check: Check) -> list[Link]:
    verdict = widgets.badge("success", _("yes")) if check.holds else widgets.badge("failure", _("no"))
    holds = widgets.subtitled(verdict, check.hint) if check.hint else verdict
    return [Link(check.what), Link(check.value), Link(check.expected), Link(holds)]


def _arguments(answer: Preview) -> list[tuple[str, str]]:
    if answer.body is None:
        return []
    given = [*enumerate(answer.body.args), *answer.body.kwargs.items()]
    return [(str(name), json.dumps(value, ensure_ascii=False, indent=2)) for name, value in given]


def _with_event(given: Any, found: Candidate) -> Any:
    """Let an address name the object alone."""
    return given if given is None or "event" in given else {**given.dict(), "event": found.first_event}


def _object(viewer: Viewer, found: Candidate, pk: str) -> Model:
    """Return the object, if this user's admin has it; where the admin has no such model, from the database."""
    instance = load(found.trigger, pk)
    if viewer.site.is_registered(type(instance)):
        model_admin = viewer.site.get_model_admin(type(instance))
        seen = model_admin.get_object(viewer.request, str(instance.pk))
        if seen is None or not model_admin.has_view_permission(viewer.request, seen):
            raise PermissionDenied
        return seen
    return instance


def _recent(viewer: Viewer, model: type[Model]) -> list[tuple[str, str]]:
    """Return some objects that the field may suggest."""
    if not viewer.site.is_registered(model):
        return []
    rows = viewer.site.get_model_admin(model).get_queryset(viewer.request)
    return [(str(row.pk), str(row)) for row in rows.order_by("-pk")[:RECENT]]
