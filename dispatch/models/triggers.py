"""Which model saves send which task: rows that the operator writes in the admin."""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from dispatch.core import routing, trigger_rules
from dispatch.core.json_values import plain
from dispatch.core.seconds import EXPECTED, is_seconds
from dispatch.exceptions import InvalidArguments
from dispatch.models.database import ReadableJSON, SecondsField
from dispatch.models.hookable_columns import (
    before_after,
    check_held,
    check_relation,
    expected,
    find_field,
    find_model,
    operators,
)
from dispatch.models.registry_version import PRIORITY_HELP, RegistryModel, priority_constraint, priority_field
from dispatch.models.routes_and_tasks import TaskDefinition
from dispatch.models.topology import Queue

EVENT_LABELS = {
    trigger_rules.CREATED: _("created"),
    trigger_rules.UPDATED: _("updated"),
    trigger_rules.DELETED: _("deleted"),
    trigger_rules.M2M_ADDED: _("related objects added"),
    trigger_rules.M2M_REMOVED: _("related objects removed"),
    trigger_rules.M2M_CLEARED: _("related objects cleared"),
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
    "changed": _("has changed"),
    "changed_from": _("has changed from"),
    "changed_to": _("has changed to"),
    "changed_from_to": _("has changed from … to …"),
}
EVENTS_HELP = _("A list of: created, updated, deleted, m2m_added, m2m_removed, m2m_cleared.")


class Trigger(RegistryModel):
    """A save of this model sends that task."""

    name = models.CharField(_("name"), max_length=200, unique=True)
    model = models.CharField(_("model"), max_length=200, help_text=_("app.model, for example notes.note."))
    events = ReadableJSON(_("events"), default=list, help_text=EVENTS_HELP)
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
    priority = priority_field(_("priority"), PRIORITY_HELP)
    countdown = SecondsField(_("countdown"), help_text=_("Seconds to wait before sending."))
    watched = ReadableJSON(
        _("watched fields"),
        default=list,
        blank=True,
        help_text=_(
            "An update counts only if one of these has changed, a change of related objects only if it is of one of "
            "these. Empty: all count."
        ),
    )
    coalesce = SecondsField(
        _("coalescing window"),
        help_text=_("Seconds within which the messages of one object become one, with the latest arguments."),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    disabled_reason = models.CharField(
        _("why it is disabled"),
        max_length=200,
        default="",
        db_default="",
        blank=True,
        help_text=_("For whoever finds it so. It is forgotten when the trigger is enabled again."),
    )

    class Meta(RegistryModel.Meta):
        verbose_name = _("trigger")
        verbose_name_plural = _("triggers")
        ordering = ("name",)
        constraints = (priority_constraint("priority", "dispatch_trigger_priority"),)

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        if self.enabled:
            self.disabled_reason = ""
        events: Any = self.events
        if (
            not isinstance(events, list)
            or not events
            or any(event not in trigger_rules.EVENTS for event in events)
        ):
            names = ", ".join(trigger_rules.EVENTS)
            raise ValidationError({"events": _("Choose one or more of: %(names)s.") % {"names": names}})
        try:
            model = find_model(self.model)
        except ValidationError as error:
            raise ValidationError({"model": error}) from None
        self.model = model._meta.label_lower
        if set(events) & set(trigger_rules.M2M_EVENTS) and not model._meta.many_to_many:
            message = _("%(model)s has no many-to-many field: its related objects never change.")
            raise ValidationError({"events": message % {"model": model._meta.label}})
        try:
            self._clean_watched(*self._watched(model))
        except ValidationError as error:
            raise ValidationError({"watched": error}) from None

    def _clean_watched(self, columns: tuple[str, ...], relations: tuple[str, ...]) -> None:
        if columns and trigger_rules.UPDATED not in self.events:
            raise ValidationError(
                _(
                    "%(names)s: columns are watched for updates. Choose the event “updated” too, or leave them out."
                ),
                params={"names": ", ".join(columns)},
            )
        if relations and not set(self.events) & set(trigger_rules.M2M_EVENTS):
            raise ValidationError(
                _("%(names)s: choose an event of related objects too, or leave it out."),
                params={"names": ", ".join(relations)},
            )

    def spec(self) -> trigger_rules.Trigger:
        """Return the trigger as plain data; what cannot work is told in its ``problem``."""
        conditions: list[trigger_rules.Condition] = []
        arguments: dict[str, trigger_rules.Argument] = {}
        problem = ""
        label = self.model
        events = self.events
        if not isinstance(events, list) or any(event not in trigger_rules.EVENTS for event in events):
            events = trigger_rules.EVENTS  # whatever happens, it says what is wrong
            problem = (
                f"Its events are {self.events!r}, but must be a list of {', '.join(trigger_rules.EVENTS)}."
            )
        watched: tuple[str, ...] = ()
        relations: tuple[str, ...] = ()
        try:
            model = find_model(self.model)
            label = model._meta.label_lower
            conditions = [row.spec(model) for row in self.conditions.all()]
            arguments = {row.parameter: row.spec(model) for row in self.arguments.all()}
            watched, relations = self._watched(model)
        except ValidationError as error:
            problem = " ".join(error.messages)
        countdown, coalesce = map(_seconds, (self.countdown, self.coalesce))
        if (countdown, coalesce) != (self.countdown, self.coalesce):
            problem = problem or f"Its countdown and its coalescing window must each be {EXPECTED}."
        return trigger_rules.Trigger(
            name=self.name,
            model=label,
            events=frozenset(events),
            task=self.task.name,
            conditions=tuple(conditions),
            arguments=arguments,
            watched=watched,
            relations=relations,
            target=routing.Target(queue=self.queue.name if self.queue else None, priority=self.priority),
            countdown=countdown,
            coalesce=coalesce,
            problem=problem,
        )

    def _watched(self, model: type[models.Model]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the watched columns and the watched many-to-many fields; raise ValidationError for others."""
        names: Any = self.watched
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValidationError(_('Write a list of fields, for example ["body"].'))
        relations = {field.name for field in model._meta.many_to_many}
        columns = [find_field(model, name).attname for name in names if name not in relations]
        return tuple(columns), tuple(name for name in names if name in relations)


def _seconds(value: float | None) -> float | None:
    return value if is_seconds(value) else None


class TriggerCondition(RegistryModel):
    """One comparison that must hold for the trigger to fire."""

    NATURAL_KEY = ("trigger__name", "field", "operator", "value")

    trigger = models.ForeignKey(Trigger, models.CASCADE, related_name="conditions", verbose_name=_("trigger"))
    field = models.CharField(_("field"), max_length=200)
    operator = models.CharField(
        _("operator"), max_length=16, choices=OPERATOR_LABELS.items(), default="equals"
    )
    value = models.TextField(
        _("value"),
        blank=True,
        help_text=_(
            "For “is one of”: one value a line. For “is null”: yes or no. For “has changed”: nothing. For “has changed "
            "from … to …”: two lines."
        ),
    )

    class Meta(RegistryModel.Meta):
        verbose_name = _("condition")
        verbose_name_plural = _("conditions")
        ordering = ("pk",)

    def __str__(self) -> str:
        operator = str(OPERATOR_LABELS.get(self.operator, self.operator))
        if self.operator == "changed_from_to":
            values = " → ".join(line or "“”" for line in before_after(self.value))
            return f"{self.field} {OPERATOR_LABELS['changed']} {values}"
        return f"{self.field} {operator} {', '.join(self.value.splitlines())}".rstrip()

    def clean(self) -> None:
        super().clean()
        if hasattr(self, "trigger"):
            model = find_model(self.trigger.model)
            check_held(find_field(model, self.field), self.operator, self.spec(model).value)

    def spec(self, model: type[models.Model]) -> trigger_rules.Condition:
        """Return the condition with its value in the field's own type; raise ValidationError if that fails."""
        field = find_field(model, self.field)
        self._check_operator(field)
        return trigger_rules.Condition(
            field.attname, self.operator, expected(field, self.operator, self.value)
        )

    def _check_operator(self, field: models.Field[Any, Any]) -> None:
        fitting = operators(field)
        if self.operator not in fitting:
            words = {
                "operator": OPERATOR_LABELS.get(self.operator, self.operator),
                "field": field.name,
                "type": field.get_internal_type(),
                "names": ", ".join(f"“{OPERATOR_LABELS[name]}”" for name in fitting),
            }
            message = _("“%(operator)s” does not fit %(field)s, a %(type)s: choose one of %(names)s.")
            raise ValidationError({"operator": message % words})


class TriggerArgument(RegistryModel):
    """Where one argument of the task comes from."""

    NATURAL_KEY = ("trigger__name", "parameter")

    class Source(models.TextChoices):
        FIELD = "field", _("field of the object")
        OLD = "old", _("old value of a field")
        PK = "pk", _("primary key")
        NATURAL_KEY = "natural_key", _("natural key")
        RELATED = "related", _("primary keys of the related objects")
        TIMESTAMP = "timestamp", _("time of the event")
        EVENT = "event", _("name of the event")
        CONSTANT = "constant", _("constant (JSON)")

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

    def spec(self, model: type[models.Model]) -> trigger_rules.Argument:
        """Return the source as plain data; raise ValidationError if it does not fit the model."""
        if self.source in (self.Source.FIELD, self.Source.OLD):
            return trigger_rules.Argument(self.source, find_field(model, self.value).attname)
        if self.source == self.Source.NATURAL_KEY and not hasattr(model, "natural_key"):
            raise ValidationError(
                _("%(model)s has no natural_key(): choose the primary key."),
                params={"model": model._meta.label},
            )
        if self.source == self.Source.PK:
            find_field(model, "pk")  # raises ValidationError for a secret one
        if self.source == self.Source.RELATED:
            self._check_related(model)
        if self.source != self.Source.CONSTANT:
            return trigger_rules.Argument(self.source)
        return trigger_rules.Argument("constant", self._constant())

    def _constant(self) -> Any:
        try:
            return plain(json.loads(self.value))
        except InvalidArguments as error:  # JSON, but nothing that could be sent
            raise ValidationError({"value": str(error)}) from None
        except (ValueError, RecursionError):
            raise ValidationError(
                {
                    "value": _(
                        'A constant is written as JSON: a text in quotes ("de"), a number, true, null, [1, 2].'
                    )
                }
            ) from None

    def _check_related(self, model: type[models.Model]) -> None:
        relations = {field.name: field for field in model._meta.many_to_many}
        watched: Any = self.trigger.watched if hasattr(self, "trigger") else ()
        named = [each for each in watched if each in relations] if isinstance(watched, list) else []
        for name in named or relations:
            check_relation(relations[name], model)
