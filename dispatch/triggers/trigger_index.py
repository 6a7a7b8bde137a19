"""Which triggers a model has, now: those of the registry and those in code, for the model, its proxies and children."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from django.apps import apps
from django.db.models import Model

from dispatch.core import trigger_rules
from dispatch.registry import Snapshot, current
from dispatch.registry.cache import EMPTY
from dispatch.triggers.code_triggers import CodeTrigger, declared

logger = logging.getLogger("dispatch.triggers")

AnyTrigger = trigger_rules.Trigger | CodeTrigger


@dataclass(slots=True)
class Index:
    """The triggers of one snapshot, by class; classes are looked up once, and receivers connected once."""

    snapshot: Snapshot
    declared: tuple[CodeTrigger, ...]
    by_label: dict[str, list[AnyTrigger]]
    by_class: dict[type[Model], tuple[AnyTrigger, ...]] = field(default_factory=dict)
    is_connected: bool = False

    def of(self, model: type[Model]) -> tuple[AnyTrigger, ...]:
        """Return the triggers of a model, its parents' and its concrete model's included."""
        found = self.by_class.get(model)
        if found is None:
            found = tuple(trigger for label in labels(model) for trigger in self.by_label.get(label, ()))
            self.by_class[model] = found
        return found


#: Whether the log knows that the tables are missing.
_told = False
#: Models that were found not to be foreign: each save asks.
_own: set[type[Model]] = set()


def index() -> Index:
    """Return the index of the current registry, made anew when the code changed."""
    snapshot = current()
    found: Index | None = snapshot.index
    in_code = tuple(declared.values()) if snapshot is not EMPTY else _without_tables()
    if found is None or found.declared != in_code:
        found = snapshot.index = Index(snapshot, in_code, _group([*snapshot.triggers, *in_code]))
    return found


def _without_tables() -> tuple[CodeTrigger, ...]:
    """Return the triggers in code that fire while there is no outbox to write to: none. One line is logged."""
    global _told
    if declared and not _told:
        _told = True
        logger.warning(
            "No trigger in code fires: the tables of dispatch are not there (run `manage.py migrate dispatch`), or may "
            "not be asked here."
        )
    return ()


def is_foreign(model: type[Model]) -> bool:
    """Tell whether a model never has triggers: this app's own, and those of migrations, which are in no app.

    Asked before anything else: while a migration runs, the registry's tables may not be what this code expects.
    """
    if model in _own:
        return False
    meta = model._meta
    if (
        meta.app_label == "dispatch"
        or apps.all_models.get(meta.app_label, {}).get(meta.model_name or "") is not model
    ):
        return True
    _own.add(model)
    return False


def deleting(model: type[Model], triggers: Iterable[AnyTrigger]) -> Iterator[AnyTrigger]:
    """Yield those that fire when ``model`` is the sender of a delete signal.

    Deleting a child sends a signal for the parent's row too: a parent's trigger fires there, not twice.
    """
    own = {
        cls._meta.label_lower
        for cls in _models(model)
        if cls._meta.concrete_model is model._meta.concrete_model
    }
    return (
        trigger for trigger in triggers if trigger_rules.DELETED in trigger.events and trigger.model in own
    )


def _group(triggers: Iterable[AnyTrigger]) -> dict[str, list[AnyTrigger]]:
    groups: dict[str, list[AnyTrigger]] = {}
    for trigger in triggers:
        groups.setdefault(trigger.model, []).append(trigger)
    return groups


def _models(model: type[Model]) -> list[type[Model]]:
    return [
        cls
        for cls in model.__mro__
        if issubclass(cls, Model) and hasattr(cls, "_meta") and not cls._meta.abstract
    ]


def labels(model: type[Model]) -> list[str]:
    """Return the labels of a model, its concrete model and its parents."""
    return [cls._meta.label_lower for cls in _models(model)]
