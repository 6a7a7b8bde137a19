"""Deletes: receivers of one model each, since one without a sender turns off Django's fast deletes everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from django.db import transaction
from django.db.models import Model
from django.db.models.deletion import Collector
from django.db.models.signals import post_delete, pre_delete

from dispatch.core import rules
from dispatch.triggers import values
from dispatch.triggers.firing import fire, gathered
from dispatch.triggers.matching import Index, deleting, index, is_foreign
from dispatch.triggers.values import Event


def connect(model: type[Model], found: Index) -> None:
    """Connect the receivers of a model that has a delete trigger."""
    if any(deleting(model, found.of(model))):
        uid = f"dispatch.triggers.delete.{model._meta.label_lower}"
        pre_delete.connect(_before_delete, sender=model, dispatch_uid=uid)
        post_delete.connect(_on_delete, sender=model, dispatch_uid=uid)


def in_bulk(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``Collector.delete``: the messages of all objects that it deletes are inserted together, in one commit."""

    @wraps(original)
    def delete(self: Collector) -> Any:
        if not _has_triggers(self.data):
            return original(self)
        with transaction.atomic(using=self.using, savepoint=False), gathered(self.using):
            return original(self)

    return delete


def _has_triggers(models: Iterable[type[Model]]) -> bool:
    return any(not is_foreign(model) and any(deleting(model, index().of(model))) for model in models)


def _before_delete(sender: type[Model], *, instance: Model, using: str, **_: Any) -> None:
    """Read what triggers need and the object does not have: afterwards there is nothing to be read."""
    if unknown := values.unknown(instance):
        triggers = list(deleting(sender, index().of(sender)))
        wanted = {
            name for each in triggers for name in (unknown if each.reads is None else unknown & each.reads)
        }
        if wanted:
            instance.refresh_from_db(using=using, fields=sorted(wanted))


def _on_delete(sender: type[Model], *, instance: Model, using: str, **_: Any) -> None:
    found = index()
    seen = Event(instance=instance, event=rules.DELETED, using=using)
    fire(deleting(sender, found.of(sender)), seen, found.snapshot)
