"""Checks an argument mapping against the parameters of the trigger's task, when the trigger is saved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db.models import Model
from django.forms import BaseInlineFormSet
from django.utils.translation import gettext as _

from dispatch.admin import links
from dispatch.core import trigger_rules
from dispatch.core.schema.parameters import Parameters, kinds, takes
from dispatch.core.schema.summary import describe
from dispatch.models import Trigger, TriggerArgument
from dispatch.models.hookable_columns import find_field, kind

if TYPE_CHECKING:
    FormSet = BaseInlineFormSet[Any, Any, Any]
else:
    FormSet = BaseInlineFormSet

Source = TriggerArgument.Source


@dataclass(frozen=True, slots=True)
class Gives:
    """What a source gives: a JSON type ("" any, None what no message can hold), that of its items, and null or not."""

    what: str
    json: str | None
    items: str = ""
    null: bool = False

    def __str__(self) -> str:
        return _("array of %(items)s") % {"items": self.items} if self.items else str(self.json)


class ArgumentFormSet(FormSet):
    """The argument lines of one trigger, checked together; ``warnings`` are what is saved all the same."""

    warnings: tuple[str, ...] = ()

    def clean(self) -> None:
        from dispatch.contract import misfits

        super().clean()
        model = links.find(self.instance.model)
        if self.instance.task_id is None or model is None or any(self.errors):
            return
        task, mapping = self.instance.task, self._mapping()
        specs = {name: argument.spec(model) for name, argument in mapping.items()}
        words = _("The arguments do not fit task %(task)s: %(problem)s.")
        unfit = misfits(specs, Parameters(task.parameters), task.sensitive_parameters)
        problems = [
            *(words % {"task": task.name, "problem": problem} for problem in unfit),
            *_lacks(self.instance, mapping),
            *type_problems(self.instance, mapping),
        ]
        if problems:
            raise ValidationError(problems)
        self.warnings = tuple(null_warnings(self.instance, mapping))

    def _mapping(self) -> dict[str, TriggerArgument]:
        lines = [form for form in self.forms if form.has_changed() or form.instance.pk]
        kept = [form.instance for form in lines if not form.cleaned_data.get("DELETE")]
        return {argument.parameter: argument for argument in kept}


def _lacks(trigger: Trigger, mapping: dict[str, TriggerArgument]) -> Iterator[str]:
    for name, argument in mapping.items():
        if argument.source == Source.RELATED and not set(trigger.events) & set(trigger_rules.M2M_EVENTS):
            yield _("%(name)s: without an event of related objects there are none to send.") % {
                "name": repr(name)
            }


def type_problems(trigger: Trigger, mapping: dict[str, TriggerArgument]) -> Iterator[str]:
    """Yield, for each line whose values can never fit its parameter, why."""
    for name, schema, gives in _given(trigger, mapping):
        if gives.json is None:
            yield _("%(name)s: %(what)s cannot be sent as JSON. Choose another source.") % {
                "name": repr(name),
                "what": gives.what,
            }
        elif not takes(schema, gives.json) or (gives.items and not _takes_items(schema, gives.items)):
            yield _("%(name)s takes %(wanted)s, but %(what)s gives %(given)s.") % {
                "name": repr(name),
                "wanted": describe(schema),
                "what": gives.what,
                "given": gives,
            }


def null_warnings(trigger: Trigger, mapping: dict[str, TriggerArgument]) -> Iterator[str]:
    """Yield, for each line that may give null where its parameter takes none, what comes of it."""
    for name, schema, gives in _given(trigger, mapping):
        if gives.null and not takes(schema, "null"):
            yield _(
                "%(name)s takes no null, but %(what)s may be null: such a save would leave a dead message. A condition "
                "“is null: no” keeps those out."
            ) % {"name": repr(name), "what": gives.what}


def _given(
    trigger: Trigger, mapping: dict[str, TriggerArgument]
) -> Iterator[tuple[str, dict[str, Any], Gives]]:
    """Yield each parameter with a schema of its own, and what its line gives."""
    model = links.find(trigger.model)
    properties = trigger.task.parameters.get("properties", {})
    for name, argument in mapping.items():
        schema = properties.get(name)
        if model is not None and isinstance(schema, dict) and argument.source != Source.CONSTANT:
            yield name, schema, _gives(trigger, model, argument)


def _gives(trigger: Trigger, model: type[Model], argument: TriggerArgument) -> Gives:
    what = str(argument.get_source_display())
    if argument.source in (Source.FIELD, Source.OLD):
        field = find_field(model, argument.value)
        is_old = argument.source == Source.OLD
        null = field.null or (is_old and trigger_rules.CREATED in trigger.events)
        return Gives(
            _("the old value of %s") % field.name if is_old else field.name, kind(field).json, null=null
        )
    if argument.source == Source.PK:
        return Gives(what, kind(find_field(model, "pk")).json)
    if argument.source == Source.RELATED:
        return Gives(what, "array", items=_related_kind(trigger, model))
    if argument.source == Source.NATURAL_KEY:
        return Gives(what, "array")
    return Gives(what, "string")


def _related_kind(trigger: Trigger, model: type[Model]) -> str:
    """Return the JSON type of the related objects' keys, "" where it may be any."""
    relations = [field for field in model._meta.many_to_many if field.name in trigger.watched]
    found = {
        kind(find_field(each.related_model, "pk")).json for each in relations or model._meta.many_to_many
    }
    return (found.pop() or "") if len(found) == 1 else ""


def _takes_items(schema: dict[str, Any], item: str) -> bool:
    """Tell whether an array of these may fit; numbers inside of arrays do not become texts."""
    arrays = [each for each in (schema, *schema.get("anyOf", ())) if "array" in kinds(each)]
    wanted = [kinds(each.get("items")) for each in arrays if "anyOf" not in each]
    return not wanted or any(
        {"", item} & found or (item == "integer" and "number" in found) for found in wanted
    )
