"""Checks an argument mapping against the parameters of the trigger's task, when the trigger is saved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.forms import BaseInlineFormSet
from django.utils.translation import gettext as _

from dispatch.core.schema import Parameters
from dispatch.core.wording import suggest
from dispatch.exceptions import InvalidArguments
from dispatch.models import TaskDefinition, TriggerArgument

if TYPE_CHECKING:
    FormSet = BaseInlineFormSet[Any, Any, Any]
else:
    FormSet = BaseInlineFormSet


class ArgumentFormSet(FormSet):
    """The argument lines of one trigger, checked together."""

    def clean(self) -> None:
        super().clean()
        if self.instance.task_id is None or any(self.errors):
            return
        problems = list(_problems(self.instance.task, self._mapping()))
        if problems:
            raise ValidationError(problems)

    def _mapping(self) -> dict[str, TriggerArgument]:
        lines = [form for form in self.forms if form.has_changed() or form.instance.pk]
        kept = [form.instance for form in lines if not form.cleaned_data.get("DELETE")]
        return {argument.parameter: argument for argument in kept}


def _problems(task: TaskDefinition, mapping: dict[str, TriggerArgument]) -> Iterator[str]:
    accepted = Parameters(task.parameters)
    for name in accepted.required:
        if name not in mapping:
            yield _("Task %(task)s requires %(name)s, and no line gives it: add one.") % {
                "task": task.name,
                "name": repr(name),
            }
    for name, argument in mapping.items():
        if name not in accepted.names and not accepted.is_open:
            yield _("Task %(task)s has no parameter %(name)s%(close)s: it takes %(names)s.") % {
                "task": task.name,
                "name": repr(name),
                "close": suggest(name, accepted.names),
                "names": ", ".join(accepted.names) or _("none"),
            }
        elif argument.source == TriggerArgument.Source.CONSTANT and name in accepted.names:
            yield from _constant_problems(accepted, name, json.loads(argument.value))


def _constant_problems(accepted: Parameters, name: str, value: Any) -> Iterator[str]:
    """Check one constant alone: what the other lines give is known only when an object is saved."""
    schema = {key: part for key, part in accepted.schema.items() if key in ("$schema", "$defs", "properties")}
    try:
        Parameters(schema).check((), {name: value})
    except InvalidArguments as error:
        yield _("The constant for %(name)s does not fit: %(reason)s") % {"name": repr(name), "reason": error}
