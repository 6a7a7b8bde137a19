"""The installed models and their columns, as triggers may name them."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db.models import BooleanField, Field, ForeignKey, Model
from django.utils.html import format_html
from django.utils.translation import gettext as _

from dispatch.admin import links
from dispatch.models.hookable_columns import NULL, is_secret, operators

#: Apps whose rows are housekeeping: a trigger on them would fire at every click, or at its own messages.
LEFT_OUT = ("admin", "contenttypes", "dispatch", "sessions")


def choices(stored: str = "") -> list[Any]:
    """Return the choices of a select, grouped by app; a stored model that is gone stays visible."""
    groups = [(config.verbose_name, _models(config.label)) for config in apps.get_app_configs()]
    found = [("", "---------"), *((name, models) for name, models in groups if models)]
    if stored and links.find(stored) is None:
        found.append((stored, format_html(_("{} (not installed)"), stored)))
    return found


def columns(label: str) -> list[dict[str, Any]]:
    """Return the columns that conditions and arguments may read: names, type, operators that fit, and choices."""
    model = links.find(label)
    if model is None:
        return []
    found = (field for field in model._meta.concrete_fields if not is_secret(field, model))
    return [_column(field) for field in sorted(found, key=lambda field: not field.primary_key)]


def relations(label: str) -> list[str]:
    """Return the many-to-many fields, whose changes are events of their own."""
    model = links.find(label)
    return [field.name for field in model._meta.many_to_many] if model else []


def watchable(label: str) -> list[tuple[str, str]]:
    """Return what a trigger may watch, as choices: every column but the primary key, and the relations."""
    model = links.find(label)
    keys = {field.attname for field in model._meta.concrete_fields if field.primary_key} if model else set()
    names = [column["name"] for column in columns(label) if column["name"] not in keys]
    return [(name, name) for name in names] + [
        (name, _("%s (related objects)") % name) for name in relations(label)
    ]


def _models(app_label: str) -> list[tuple[str, str]]:
    if app_label in LEFT_OUT:
        return []
    return [_choice(model) for model in apps.get_app_config(app_label).get_models()]


def _choice(model: type[Model]) -> tuple[str, str]:
    name = str(model._meta.verbose_name)
    return model._meta.label_lower, f"{name} ({model._meta.label_lower})"


def _column(field: Field[Any, Any]) -> dict[str, Any]:
    kind = field.target_field if isinstance(field, ForeignKey) else field
    return {
        "name": field.attname,
        "aliases": [
            name for name in (field.name, "pk" * field.primary_key) if name not in ("", field.attname)
        ],
        "type": kind.get_internal_type().removesuffix("Field").lower(),
        "operators": operators(field),
        "choices": _values(field),
    }


def _values(field: Field[Any, Any]) -> list[tuple[str, str]]:
    """Return the values that the column may hold, as texts with their labels; none where they are too many to list."""
    found = [(str(value), str(label)) for value, label in field.flatchoices]
    if isinstance(field, BooleanField) and not found:
        found = [("True", _("yes")), ("False", _("no"))]
    return [*found, (NULL, _("null"))] if found and field.null else found
