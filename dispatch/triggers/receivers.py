"""Where Django's saves, deletes and changes of related objects are noticed.

The signals of deletes and of many-to-many fields are connected per hooked model, since receivers without a sender would
slow down everybody's. Five methods of Django are wrapped, once, for all models:

- ``Model.save_base``, so that object and message are one commit, and ``post_save.send``, where triggers fire before
  any receiver (:mod:`dispatch.triggers.saves`);
- ``Collector.collect``, which decides on fast deletes before any signal is sent, and the access to a many-to-many
  field: the places where a process that only deletes, or only relates, notices a new trigger;
- ``Collector.delete``, so that the messages of many objects are inserted together.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.apps import apps
from django.db.models import Model
from django.db.models.deletion import Collector
from django.db.models.fields.related_descriptors import ManyToManyDescriptor
from django.db.models.signals import post_save

from dispatch.triggers import deletes, relations, saves
from dispatch.triggers.matching import Index, index, is_foreign

_hooked: Index | None = None


def connect() -> None:
    """Wrap the methods; called once, by the app's ``ready``."""
    _wrap(Model, "save_base", saves.one_commit)
    _wrap(post_save, "send", saves.fire_first)
    _wrap(Collector, "collect", _noticing_deletes)
    _wrap(Collector, "delete", deletes.in_bulk)
    _wrap(ManyToManyDescriptor, "__get__", _noticing_relations)


def _wrap(owner: Any, name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = getattr(owner, name)
    if not getattr(original, "is_dispatch", False):
        wrapped: Any = wrapper(original)
        wrapped.is_dispatch = True
        setattr(owner, name, wrapped)


def _noticing_deletes(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def collect(self: Collector, objs: Any, *args: Any, **kwargs: Any) -> Any:
        model = getattr(objs, "model", None) or next((type(instance) for instance in objs), None)
        if model is not None and not is_foreign(model):  # a queryset is not evaluated here
            _connect_hooked()
        return original(self, objs, *args, **kwargs)

    return collect


def _noticing_relations(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def get(self: ManyToManyDescriptor[Any, Any], instance: Model | None, cls: Any = None) -> Any:
        if instance is not None and not is_foreign(type(instance)):
            _connect_hooked()
        return original(self, instance, cls)

    return get


def _connect_hooked() -> None:
    """Connect the receivers of each model that has such a trigger in the registry this connection sees.

    None is disconnected again: another thread's connection may still see its trigger.
    """
    global _hooked
    found = index()
    if found is _hooked:
        return
    for model in apps.get_models(include_auto_created=True):
        deletes.connect(model, found)
        relations.connect(model, found)
    _hooked = found
