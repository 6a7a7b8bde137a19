"""Which model saves send which task: rows that the operator writes in the admin."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from dispatch.conf import conf
from dispatch.core import routing, rules
from dispatch.models.base import PRIORITY, RegistryModel
from dispatch.models.registry import TaskDefinition
from dispatch.models.topology import Queue

EVENT_LABELS = {
    rules.CREATED: _("created"),
    rules.UPDATED: _("updated"),
    rules.DELETED: _("deleted"),
}
OPERATOR_LABELS = {
    "equals": _("equals"),
    "not_equals": _("does not equal"),
    "in": _("is one of"),
    "not_in": _("is none of"),
    "less": _("is less than"),
    "at_most": _("is at most"),
    "greater": _("is greater than"),
    "at_least": _("is at least"),
    "contains": _("contains"),
    "starts_with": _("starts with"),
    "is_null": _("is null"),
}
SECRET_FIELDS = ("password",)


def find_model(label: str) -> type[models.Model]:
    """Return the model of a label such as ``notes.note``; raise ValidationError where there is none."""
    app, _dot, name = label.partition(".")
    try:
        return apps.get_model(app if app in apps.app_configs else app.lower(), name)
    except (LookupError, ValueError):
        raise ValidationError(
            _("There is no model %(label)s: write app.model, for example notes.note."),
            params={"label": label},
        ) from None


def find_field(model: type[models.Model], name: str) -> models.Field[Any, Any]:
    """Return a concrete field of the model; raise ValidationError for others and for secret ones."""
    columns: dict[str, models.Field[Any, Any]] = {"pk": model._meta.pk}
    for column in model._meta.concrete_fields:
        columns |= {column.name: column, column.attname: column}
    if name not in columns:
        raise ValidationError(
            _("%(model)s has no column %(name)s: choose one of %(names)s."),
            params={"model": model._meta.label, "name": name, "names": ", ".join(columns)},
        )
    field = columns[name]
    if is_secret(field):
        raise ValidationError(
            _("%(name)s is a sensitive field: it never goes into a message."), params={"name": field.name}
        )
    return field


def is_secret(field: models.Field[Any, Any]) -> bool:
    """Tell whether a field is a password hash or is declared sensitive in the settings."""
    label = f"{field.model._meta.label_lower}.{field.name}"
    return field.name in SECRET_FIELDS or label in {name.lower() for name in conf.SENSITIVE_FIELDS}


class Trigger(RegistryModel):
    """A save of this model sends that task."""

    name = models.CharField(_("name"), max_length=200, unique=True)
    model = models.CharField(_("model"), max_length=200, help_text=_("app.model, for example notes.note."))
    events = models.JSONField(_("events"), default=list, help_text=_("A list of: created, updated, deleted."))
    task = models.ForeignKey(TaskDefinition, models.PROTECT, related_name="triggers", verbose_name=_("task"))
    queue = models.ForeignKey(
        Queue,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("queue"),
        help_text=_("Empty: where the task's routes lead."),
    )
    priority = models.PositiveSmallIntegerField(
        _("priority"), null=True, blank=True, validators=[PRIORITY], help_text=_("0 to 9, 9 most urgent.")
    )
    countdown = models.FloatField(
        _("countdown"), null=True, blank=True, help_text=_("Seconds to wait before sending.")
    )
    enabled = models.BooleanField(_("enabled"), default=True)

    class Meta(RegistryModel.Meta):
        verbose_name = _("trigger")
        verbose_name_plural = _("triggers")
        ordering = ("name",)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(priority=None) | models.Q(priority__lte=routing.HIGHEST_PRIORITY),
                name="dispatch_trigger_priority",
            ),
        )

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        events: Any = self.events
        if not isinstance(events, list) or not events or any(event not in rules.EVENTS for event in events):
            raise ValidationError({"events": _("Choose one or more of: created, updated, deleted.")})
        try:
            self.model = find_model(self.model)._meta.label_lower
        except ValidationError as error:
            raise ValidationError({"model": error}) from None

    def spec(self) -> rules.Trigger:
        """Return the trigger as plain data; what cannot work is told in its ``problem``."""
        conditions: list[rules.Condition] = []
        arguments: dict[str, rules.Argument] = {}
        problem = ""
        label = self.model
        events = self.events
        if not isinstance(events, list) or not set(events) <= set(rules.EVENTS):
            events = rules.EVENTS  # whatever happens, it says what is wrong
            problem = f"Its events are {self.events!r}, but must be a list of {', '.join(rules.EVENTS)}."
        try:
            model = find_model(self.model)
            label = model._meta.label_lower
            conditions = [row.spec(model) for row in self.conditions.all()]
            arguments = {row.parameter: row.spec(model) for row in self.arguments.all()}
        except ValidationError as error:
            problem = " ".join(error.messages)
        return rules.Trigger(
            name=self.name,
            model=label,
            events=frozenset(events),
            task=self.task.name,
            conditions=tuple(conditions),
            arguments=arguments,
            target=routing.Target(queue=self.queue.name if self.queue else None, priority=self.priority),
            countdown=self.countdown,
            problem=problem,
        )


class TriggerCondition(RegistryModel):
    """One comparison that must hold for the trigger to fire."""

    NATURAL_KEY = ("trigger__name", "field", "operator", "value")

    trigger = models.ForeignKey(Trigger, models.CASCADE, related_name="conditions", verbose_name=_("trigger"))
    field = models.CharField(_("field"), max_length=200)
    operator = models.CharField(
        _("operator"), max_length=16, choices=OPERATOR_LABELS.items(), default="equals"
    )
    value = models.TextField(
        _("value"), blank=True, help_text=_("For “is one of”: one value a line. For “is null”: yes or no.")
    )

    class Meta(RegistryModel.Meta):
        verbose_name = _("condition")
        verbose_name_plural = _("conditions")
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.field} {OPERATOR_LABELS.get(self.operator, self.operator)} {self.value}"

    def clean(self) -> None:
        super().clean()
        if hasattr(self, "trigger"):
            self.spec(find_model(self.trigger.model))

    def spec(self, model: type[models.Model]) -> rules.Condition:
        """Return the condition with its value in the field's own type; raise ValidationError if that fails."""
        field = find_field(model, self.field)
        return rules.Condition(field.attname, self.operator, self._typed(field))

    def _typed(self, field: models.Field[Any, Any]) -> Any:
        if self.operator == "is_null":
            return _boolean(self.value)
        if self.operator in rules.TEXT_OPERATORS:
            return self.value
        if self.operator in rules.LIST_OPERATORS:
            return tuple(_to_python(field, line.strip()) for line in self.value.splitlines() if line.strip())
        return _to_python(field, self.value)


class TriggerArgument(RegistryModel):
    """Where one argument of the task comes from."""

    NATURAL_KEY = ("trigger__name", "parameter")

    class Source(models.TextChoices):
        FIELD = "field", _("field of the object")
        CONSTANT = "constant", _("constant (JSON)")
        EVENT = "event", _("name of the event")

    trigger = models.ForeignKey(Trigger, models.CASCADE, related_name="arguments", verbose_name=_("trigger"))
    parameter = models.CharField(_("parameter"), max_length=200)
    source = models.CharField(_("source"), max_length=16, choices=Source, default=Source.FIELD)
    value = models.TextField(
        _("value"), blank=True, help_text=_("A field's name (pk for the primary key), or a constant as JSON.")
    )

    class Meta(RegistryModel.Meta):
        verbose_name = _("argument")
        verbose_name_plural = _("arguments")
        ordering = ("pk",)
        constraints = (
            models.UniqueConstraint(fields=("trigger", "parameter"), name="dispatch_trigger_argument_unique"),
        )

    def __str__(self) -> str:
        return f"{self.parameter} ← {self.source} {self.value}".rstrip()

    def clean(self) -> None:
        super().clean()
        if hasattr(self, "trigger"):
            self.spec(find_model(self.trigger.model))

    def spec(self, model: type[models.Model]) -> rules.Argument:
        """Return the source as plain data; raise ValidationError if it does not fit the model."""
        if self.source == self.Source.FIELD:
            return rules.Argument("field", find_field(model, self.value).attname)
        if self.source == self.Source.EVENT:
            return rules.Argument("event")
        try:
            return rules.Argument("constant", json.loads(self.value))
        except ValueError:
            raise ValidationError(
                {
                    "value": _(
                        'A constant is written as JSON: a text in quotes ("de"), a number, true, null, [1, 2].'
                    )
                }
            ) from None


def _to_python(field: models.Field[Any, Any], text: str) -> Any:
    target = field.target_field if isinstance(field, models.ForeignKey) else field
    try:
        value = target.to_python(text)
    except ValidationError as error:
        raise ValidationError({"value": error.messages}) from None
    except (ValueError, TypeError) as error:  # fields of third parties
        raise ValidationError({"value": str(error)}) from None
    return aware(value)


def aware(value: Any) -> Any:
    """Return a moment without a time zone as Django stores it: meant in the project's own. Other values stay."""
    if isinstance(value, dt.datetime) and settings.USE_TZ and timezone.is_naive(value):
        return timezone.make_aware(value)
    return value


def _boolean(text: str) -> bool:
    words = {"yes": True, "true": True, "1": True, "": True, "no": False, "false": False, "0": False}
    try:
        return words[text.strip().lower()]
    except KeyError:
        raise ValidationError({"value": _("Write yes or no.")}) from None
