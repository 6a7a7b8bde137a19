"""Checks an argument mapping against the parameters of the trigger's task, when the trigger is saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db.models import Model
from django.forms import BaseInlineFormSet
from django.utils.translation import gettext as _

from dispatch.admin import links
from dispatch.contract import misfits
from dispatch.core.rules import Argument
from dispatch.core.schema import Parameters

if TYPE_CHECKING:
    FormSet = BaseInlineFormSet[Any, Any, Any]
else:
    FormSet = BaseInlineFormSet


class ArgumentFormSet(FormSet):
    """The argument lines of one trigger, checked together."""

    def clean(self) -> None:
        super().clean()
        model = links.find(self.instance.model)
        if self.instance.task_id is None or model is None or any(self.errors):
            return
        task = self.instance.task
        problems = misfits(self._mapping(model), Parameters(task.parameters), task.sensitive_parameters)
        words = _("The arguments do not fit task %(task)s: %(problem)s.")
        if sentences := [words % {"task": task.name, "problem": problem} for problem in problems]:
            raise ValidationError(sentences)

    def _mapping(self, model: type[Model]) -> dict[str, Argument]:
        lines = [form for form in self.forms if form.has_changed() or form.instance.pk]
        kept = [form.instance for form in lines if not form.cleaned_data.get("DELETE")]
        return {argument.parameter: argument.spec(model) for argument in kept}
