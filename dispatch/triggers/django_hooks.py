"""Where Django's saves, deletes and changes of related objects are noticed.

The signals of deletes and of many-to-many fields are connected per hooked model, since receivers without a sender would
slow down everybody's. Five methods of Django are wrapped, once, for all models, if they take what is known here:

- ``Model._save_table``, which writes the row, between the two signals of a save. In autocommit the row would be
  committed before its message, so for hooked models one transaction is opened around both, in which the row is also
  read as it was before, where triggers compare. Whoever receives the signals is outside of it;
- ``Collector.collect``, which decides on fast deletes before any signal is sent, and ``m2m_changed.has_listeners`` and
  ``m2m_changed.send``, which ``add``, ``remove`` and ``clear`` call: the places where a process that only deletes, or
  only relates, notices a new trigger;
- ``Collector.delete``, so that the messages of many objects are inserted together.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any

from django.apps import apps
from django.db import connections, transaction
from django.db.models import Model, QuerySet
from django.db.models.deletion import Collector
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete

from dispatch.core import trigger_rules
from dispatch.core.trigger_suppression import suppressed
from dispatch.triggers import event_values, many_to_many
from dispatch.triggers.event_values import Event
from dispatch.triggers.firing import fire, gathered
from dispatch.triggers.trigger_index import Index, deleting, index, is_foreign


def one_commit(original: Callable[..., bool]) -> Callable[..., bool]:
    """Wrap ``Model._save_table``: once the row is written, and before anybody is told, the triggers fire."""

    @wraps(original)
    def save_table(
        self: Model,
        raw: bool = False,
        cls: type[Model] | None = None,
        force_insert: Any = False,
        force_update: bool = False,
        using: Any = None,
        update_fields: Iterable[str] | None = None,
    ) -> bool:
        options = (raw, cls, force_insert, force_update, using, update_fields)
        model = type(self)
        # Some receivers of the registry's are always there, unless somebody mutes the signal.
        if raw or cls is None or is_foreign(model) or cls._meta.auto_created or not post_save.receivers:
            return original(self, *options)
        found = index()
        triggers = found.of(model)
        if not triggers:
            return original(self, *options)
        written = event_values.written(model, update_fields)
        names = event_values.compared(triggers, model, written)
        if suppressed() or _is_new(self, force_insert, force_update):
            names = frozenset()
        if cls is not model._meta.concrete_model:  # a parent's row: Django has opened a transaction for all
            event_values.keep(self, cls, names, using)
            return original(self, *options)
        with _one_transaction(using):
            before = event_values.kept(self, names, using)
            updated = original(self, *options)
            # What Django says of the object before it tells anybody.
            self._state.db, self._state.adding = using, False
            event = trigger_rules.UPDATED if updated else trigger_rules.CREATED
            seen = Event(instance=self, event=event, using=using, before=before, written=written)
            fire(triggers, seen, found.snapshot)
        return updated

    return save_table


def _one_transaction(using: str) -> AbstractContextManager[Any]:
    """Return a transaction, if what is written now does not wait for a commit as it is.

    With autocommit off, by hand, the caller commits: on SQLite the end of ``atomic``'s savepoint would do so before.
    """
    connection = connections[using]
    if suppressed() or connection.in_atomic_block or not connection.get_autocommit():
        return nullcontext()
    return transaction.atomic(using=using)


def _is_new(instance: Model, force_insert: Any, force_update: bool) -> bool:
    """Tell whether Django inserts without looking for a row, as it does for new objects whose key has a default."""
    if instance.pk is None or force_insert:
        return True
    return not force_update and instance._state.adding and instance._meta.pk.has_default()


def connect_deletes(model: type[Model], found: Index) -> None:
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
    if unknown := event_values.unknown(instance):
        triggers = list(deleting(sender, index().of(sender)))
        wanted = {
            name for each in triggers for name in (unknown if each.reads is None else unknown & each.reads)
        }
        if wanted:
            instance.refresh_from_db(using=using, fields=sorted(wanted))


def _on_delete(sender: type[Model], *, instance: Model, using: str, **_: Any) -> None:
    found = index()
    seen = Event(instance=instance, event=trigger_rules.DELETED, using=using)
    fire(deleting(sender, found.of(sender)), seen, found.snapshot)


#: The methods that were left alone, since they take other parameters than are known here; ``dispatch.W015`` tells.
unwrapped: list[str] = []


def connect() -> None:
    """Wrap the methods; called once, by the app's ``ready``."""
    options = ("raw", "cls", "force_insert", "force_update", "using", "update_fields")
    _wrap(Model, "_save_table", one_commit, ("self", *options))
    _wrap(Collector, "collect", _noticing_deletes, ("self", "objs"))
    _wrap(Collector, "delete", in_bulk, ("self",))
    _wrap(m2m_changed, "has_listeners", _noticing_additions, ("sender",))
    _wrap(m2m_changed, "send", _noticing_changes, ("sender", "named"))


def _wrap(
    owner: Any, name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]], known: tuple[str, ...]
) -> None:
    """Wrap a method whose first parameters have these names; where they have not, it is left as it is."""
    original = getattr(owner, name)
    if getattr(original, "is_dispatch", False):
        return
    parameters = tuple(inspect.signature(original).parameters)
    if parameters[: len(known)] != known:
        unwrapped.append(f"{getattr(original, '__qualname__', name)}({', '.join(parameters)})")
        return
    wrapped: Any = wrapper(original)
    wrapped.is_dispatch = True
    setattr(owner, name, wrapped)


def _noticing_deletes(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def collect(self: Collector, objs: Any, *args: Any, **kwargs: Any) -> Any:
        model = getattr(objs, "model", None) or next((type(instance) for instance in objs), None)
        is_empty = isinstance(objs, QuerySet) and objs.query.is_empty()  # a queryset is not evaluated here
        if model is not None and not is_empty and not is_foreign(model):
            _connect_hooked()
        return original(self, objs, *args, **kwargs)

    return collect


def _noticing_additions(original: Callable[..., bool]) -> Callable[..., bool]:
    """Wrap ``m2m_changed.has_listeners``, by which ``add`` decides whether it asks which rows are there already."""

    @wraps(original)
    def has_listeners(sender: Any = None) -> bool:
        if sender is not None and not is_foreign(sender):
            _connect_hooked()
        return original(sender)

    return has_listeners


def _noticing_changes(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``m2m_changed.send``, which ``remove`` and ``clear`` call without asking first."""

    @wraps(original)
    def send(sender: type[Model], **named: Any) -> Any:
        if named.get("action") in ("pre_remove", "pre_clear") and not is_foreign(sender):
            _connect_hooked()
        return original(sender, **named)

    return send


def _connect_hooked() -> None:
    """Connect the receivers of each model that has such a trigger in the registry this connection sees.

    None is disconnected again: another thread's connection may still see its trigger.
    """
    found = index()
    if found.is_connected:
        return
    for model in apps.get_models(include_auto_created=True):
        connect_deletes(model, found)
        many_to_many.connect(model, found)
    found.is_connected = True
