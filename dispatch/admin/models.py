"""The installed models, as triggers may name them."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db.models import Model
from django.utils.html import format_html
from django.utils.translation import gettext as _

from dispatch.admin import links
from dispatch.models.triggers import is_secret

#: Apps whose rows are housekeeping: a trigger on them would fire at every click, or at its own messages.
LEFT_OUT = ("admin", "contenttypes", "dispatch", "sessions")


def choices(stored: str = "") -> list[Any]:
    """Return the choices of a select, grouped by app; a stored model that is gone stays visible."""
    groups = [(config.verbose_name, _models(config.label)) for config in apps.get_app_configs()]
    found = [("", "---------"), *((name, models) for name, models in groups if models)]
    if stored and links.find(stored) is None:
        found.append((stored, format_html(_("{} (not installed)"), stored)))
    return found


def field_names(label: str) -> list[str]:
    """Return the columns that conditions and arguments may read, the primary key first."""
    model = links.find(label)
    if model is None:
        return []
    names = [field.attname for field in model._meta.concrete_fields if not is_secret(field)]
    return ["pk", *(name for name in names if name != "pk")]


def _models(app_label: str) -> list[tuple[str, str]]:
    if app_label in LEFT_OUT:
        return []
    return [_choice(model) for model in apps.get_app_config(app_label).get_models()]


def _choice(model: type[Model]) -> tuple[str, str]:
    name = str(model._meta.verbose_name)
    return model._meta.label_lower, f"{name} ({model._meta.label_lower})"
