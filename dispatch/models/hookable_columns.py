"""The columns of users' models, as triggers read them: which there are, how they may be compared, what they hold."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.expressions import Col, RawSQL
from django.db.models.sql import Query
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from dispatch.conf import conf
from dispatch.core import trigger_rules
from dispatch.core.ranges import canonical, is_range

SECRET_FIELDS = ("password",)
NULL = "null"

EQUALITY = ("equals", "not_equals")
LISTS = ("in", "not_in")
ORDER = ("less", "at_most", "greater", "at_least")
TEXT = ("contains", "starts_with")
CHANGE = ("changed", "changed_from", "changed_to", "changed_from_to")


@dataclass(frozen=True, slots=True)
class Kind:
    """What columns of one type are: the operators that fit them, and the JSON type of what they send.

    ``json`` is "" where any type may come out, and None where nothing does that a message can hold.
    """

    operators: tuple[str, ...]
    json: str | None


_TEXTS = Kind((*EQUALITY, *LISTS, *TEXT, *CHANGE), "string")
_TIMES = Kind((*EQUALITY, *LISTS, *ORDER, *CHANGE), "string")
#: Which operators fit which columns; the first line that has the column's class counts.
KINDS: tuple[tuple[tuple[type[models.Field[Any, Any]], ...], Kind], ...] = (
    ((models.BooleanField,), Kind((*EQUALITY, *CHANGE), "boolean")),
    ((models.IntegerField,), Kind((*EQUALITY, *LISTS, *ORDER, *CHANGE), "integer")),
    ((models.FloatField,), Kind((*EQUALITY, *LISTS, *ORDER, *CHANGE), "number")),
    ((models.DecimalField, models.DateField, models.TimeField), _TIMES),
    ((models.DurationField,), Kind((*EQUALITY, *LISTS, *ORDER, *CHANGE), None)),
    ((models.CharField, models.TextField, models.FileField, models.FilePathField), _TEXTS),
    ((models.GenericIPAddressField,), _TEXTS),
    ((models.UUIDField,), Kind((*EQUALITY, *LISTS, *CHANGE), "string")),
    ((models.JSONField,), Kind((*EQUALITY, *CHANGE), "")),
    ((models.BinaryField,), Kind(("changed",), None)),
)
#: Of a third party: compared as its ``to_python`` reads it, and sent as it is.
OTHERS = Kind((*EQUALITY, *LISTS, *CHANGE), "")


def find_model(label: str) -> type[models.Model]:
    """Return the model of a label such as ``notes.note``; raise ValidationError where there is none that is saved."""
    app, _dot, name = label.partition(".")
    try:
        model = apps.get_model(app if app in apps.app_configs else app.lower(), name)
    except (LookupError, ValueError):
        raise ValidationError(
            _("There is no model %(label)s: write app.model, for example notes.note."),
            params={"label": label},
        ) from None
    if model._meta.swapped:
        raise ValidationError(
            _("%(label)s is swapped out, and never saved: choose %(other)s, which is in its place."),
            params={"label": label, "other": model._meta.swapped},
        )
    return model


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
    if is_secret(field, model):
        raise ValidationError(
            _("%(name)s is a sensitive field: it never goes into a message."), params={"name": field.name}
        )
    return field


def is_secret(field: models.Field[Any, Any], model: type[models.Model]) -> bool:
    """Tell whether a model's field holds a password hash, or what the settings declare sensitive.

    So do a foreign key to such a field, a key that is made of it, and what the database computes of it.
    """
    return any(_is_named(each, model) for each in _sources(field))


def secret_columns(model: type[models.Model]) -> frozenset[str]:
    """Return the columns of a model that never go into a message."""
    return frozenset(field.attname for field in model._meta.concrete_fields if is_secret(field, model))


def check_relation(field: models.ManyToManyField[Any, Any], model: type[models.Model]) -> None:
    """Raise ValidationError where the keys of a many-to-many field, as both sides tell them, are sensitive."""
    through: Any = field.remote_field.through
    keys = (through._meta.get_field(field.m2m_reverse_field_name()), field.related_model._meta.pk)
    if _is_named(field, model) or any(is_secret(key, key.model) for key in keys):
        raise ValidationError(
            _("%(name)s holds sensitive keys: they never go into a message."), params={"name": field.name}
        )


def _sources(field: models.Field[Any, Any]) -> Iterator[models.Field[Any, Any]]:
    """Yield a field, and those whose values it holds or is computed of."""
    yield field
    if isinstance(field, models.GeneratedField):
        generated: Any = field
        expression = generated.expression.resolve_expression(Query(field.model), allow_joins=False)
        yield from _read_by(expression, field)
    elif isinstance(field, (models.ForeignObject, models.CompositePrimaryKey)):
        parts: Any = field.foreign_related_fields if isinstance(field, models.ForeignObject) else field.fields
        for each in parts:
            yield from _sources(each)


def _read_by(expression: Any, field: models.Field[Any, Any]) -> Iterator[models.Field[Any, Any]]:
    """Yield the columns that an expression of a generated column reads; SQL as text may read any."""
    if isinstance(expression, RawSQL):
        yield from (each for each in field.model._meta.concrete_fields if not each.generated)
    elif isinstance(expression, Col):
        yield expression.target
    for each in expression.get_source_expressions():
        if each is not None:
            yield from _read_by(each, field)


def _is_named(field: models.Field[Any, Any], model: type[models.Model]) -> bool:
    """Tell whether a field is named as its model's, or as that of a parent, a child or a proxy that has it too."""
    if field.name in SECRET_FIELDS:
        return True
    for name in conf.SENSITIVE_FIELDS:
        label, _dot, column = name.lower().rpartition(".")
        if column in (field.name.lower(), field.attname.lower()):
            if label in (field.model._meta.label_lower, model._meta.label_lower):
                return True
            if find_sensitive(name) is field:
                return True
    return False


def find_sensitive(name: str) -> models.Field[Any, Any] | None:
    """Return the field of an entry of ``SENSITIVE_FIELDS`` such as ``app.model.field``, None where there is none."""
    label, _dot, column = name.rpartition(".")
    try:
        meta = find_model(label)._meta
    except ValidationError:
        return None
    fields = (*meta.concrete_fields, *meta.many_to_many)
    return next(
        (each for each in fields if column.lower() in (each.name.lower(), each.attname.lower())), None
    )


def kind(field: models.Field[Any, Any]) -> Kind:
    """Return what the column is; a foreign key is what it points to, but is in no order."""
    if isinstance(field, models.ForeignKey):
        return Kind(OTHERS.operators, kind(field.target_field).json)
    output = getattr(field, "output_field", field)  # of a generated column
    return next((found for classes, found in KINDS if isinstance(output, classes)), OTHERS)


def operators(field: models.Field[Any, Any]) -> tuple[str, ...]:
    """Return the operators that make sense for the column; "is null" only where it can be."""
    return (*kind(field).operators, *(("is_null",) if field.null else ()))


def expected(field: models.Field[Any, Any], operator: str, text: str) -> Any:
    """Return what an operator compares with, in the column's own type, as :class:`rules.Condition` wants it.

    Raises ValidationError for what the column's type cannot read.
    """
    if operator == "is_null":
        return _boolean(text)
    if operator in trigger_rules.TEXT_OPERATORS:
        return text
    if operator == "changed":
        return None
    if operator == "changed_from_to":
        return _from_to(field, text)
    if operator in trigger_rules.LIST_OPERATORS:
        return tuple(to_python(field, line.strip()) for line in text.splitlines() if line.strip())
    value = to_python(field, text)
    if value is None and operator in ORDER:
        raise ValidationError({"value": _("null is in no order: use “is null”.")})
    return value


def check_held(field: models.Field[Any, Any], operator: str, value: Any) -> None:
    """Raise ValidationError for a value that the column can never hold: too long, out of range, none of its choices."""
    if operator in ("is_null", "changed", *TEXT):
        return
    several = operator in trigger_rules.LIST_OPERATORS or operator == "changed_from_to"
    if several and not value:
        raise ValidationError({"value": _("Write one value a line.")})
    for each in value if several else (value,):
        if each is not None:
            _check_held(field, each, ordered=operator in ORDER)


def _check_held(field: models.Field[Any, Any], value: Any, *, ordered: bool) -> None:
    target = field.target_field if isinstance(field, models.ForeignKey) else field
    chosen = [choice for choice, _label in target.flatchoices]
    if chosen and not ordered and value not in chosen and value not in target.empty_values:
        raise ValidationError(
            {
                "value": _("%(name)s never holds %(value)s: it is one of %(choices)s.")
                % {"name": field.name, "value": repr(value), "choices": ", ".join(map(str, chosen))}
            }
        )
    try:
        target.run_validators(value)
    except ValidationError as error:
        raise ValidationError({"value": error.messages}) from None


def to_python(field: models.Field[Any, Any], text: str) -> Any:
    """Return a text in the column's own type; ``null`` is none where the column may be null and is not a text.

    Raises ValidationError for what the type cannot read.
    """
    target: Any = field.target_field if isinstance(field, models.ForeignKey) else field
    if text.strip() == NULL and field.null and kind(field) is not _TEXTS:
        return None
    try:
        value = _read(target, text)
    except (json.JSONDecodeError, RecursionError):
        raise ValidationError({"value": _('Write JSON: a text in quotes ("de"), 3, true, [1, 2].')}) from None
    except ValidationError as error:
        raise ValidationError({"value": error.messages}) from None
    except (ValueError, TypeError) as error:  # fields of third parties
        raise ValidationError({"value": str(error)}) from None
    return canonical(value) if is_range(value) else aware(value)


def _read(field: models.Field[Any, Any], text: str) -> Any:
    return (
        json.loads(text, cls=field.decoder) if isinstance(field, models.JSONField) else field.to_python(text)
    )


def aware(value: Any) -> Any:
    """Return a moment without a time zone as Django stores it: meant in the project's own. Other values stay."""
    if isinstance(value, dt.datetime) and settings.USE_TZ and timezone.is_naive(value):
        return timezone.make_aware(value, timezone.get_default_timezone())
    return value


def before_after(text: str) -> list[str]:
    """Return the lines of "has changed from … to …": an empty one is an empty text, but for a third."""
    lines = [line.strip() for line in text.split("\n")]
    return lines[:2] if lines[2:] == [""] else lines


def _from_to(field: models.Field[Any, Any], text: str) -> tuple[Any, Any]:
    lines = before_after(text)
    if len(lines) != 2:
        raise ValidationError({"value": _("Write two lines: the value before, and the value after.")})
    return to_python(field, lines[0]), to_python(field, lines[1])


def _boolean(text: str) -> bool:
    words = {"yes": True, "true": True, "1": True, "": True, "no": False, "false": False, "0": False}
    try:
        return words[text.strip().lower()]
    except KeyError:
        raise ValidationError({"value": _("Write yes or no.")}) from None
