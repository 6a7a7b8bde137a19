"""Where Django's saves, deletes and changes of related objects are noticed.

The signals of deletes and of many-to-many fields are connected per hooked model, since receivers without a sender would
slow down everybody's. Six methods of Django are wrapped, once, for all models, if they take what is known here:

- ``Model.save_base``: it sends ``post_save`` after it has left its own transaction, so in autocommit the object would
  be committed before its message. For hooked models one transaction is opened around it, in which the row is also
  read as it was before, where triggers compare;
- ``post_save.send``, where triggers fire before any receiver;
- ``Collector.collect``, which decides on fast deletes before any signal is sent, and ``m2m_changed.has_listeners`` and
  ``m2m_changed.send``, which ``add``, ``remove`` and ``clear`` call: the places where a process that only deletes, or
  only relates, notices a new trigger;
- ``Collector.delete``, so that the messages of many objects are inserted together.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.apps import apps
from django.db import connections, router, transaction
from django.db.models import Model, QuerySet
from django.db.models.deletion import Collector
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete

from dispatch.conf import conf
from dispatch.core import trigger_rules
from dispatch.core.trigger_suppression import suppressed
from dispatch.models.database import is_broken
from dispatch.registry import Snapshot
from dispatch.triggers import event_values, many_to_many
from dispatch.triggers.event_values import Event
from dispatch.triggers.firing import fire, gathered
from dispatch.triggers.trigger_index import AnyTrigger, Index, deleting, index, is_foreign, labels


@dataclass(slots=True)
class _Save:
    """A save under way: which triggers it has, and what they need to know of the row before: its columns ``names``."""

    instance: Model
    triggers: tuple[AnyTrigger, ...]
    snapshot: Snapshot
    names: frozenset[str]
    before: event_values.Row | None
    written: frozenset[str] | None
    told: bool = False


_saves: ContextVar[tuple[_Save, ...]] = ContextVar("dispatch_saves", default=())
#: The object being saved, if it was found to have no triggers: looking once a save is enough.
_untriggered: ContextVar[Model | None] = ContextVar("dispatch_untriggered_save", default=None)


def fire_first(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``post_save.send``: triggers fire before any receiver is called.

    One that raises before would leave the object without its message, where the caller swallows the error inside a
    transaction; one that changes the object in memory would have the message tell what was never saved. And a
    receiver of ours, without a sender, would cost each save of each model more than all else here.
    """

    @wraps(original)
    def send(sender: type[Model], **named: Any) -> Any:
        if post_save.receivers:  # some of the registry's are always there, unless somebody mutes the signal
            _on_save(sender, **named)
        return original(sender, **named)

    return send


def _on_save(sender: type[Model], *, instance: Model, created: bool, raw: bool, using: str, **_: Any) -> None:
    """Fire the triggers of a saved object."""
    if raw or _untriggered.get() is instance or is_foreign(sender):
        return None
    event = trigger_rules.CREATED if created else trigger_rules.UPDATED
    for save in reversed(_saves.get()):
        if save.instance is instance:
            save.told = True
            seen = Event(
                instance=instance, event=event, using=using, before=save.before, written=save.written
            )
            return fire(save.triggers, seen, save.snapshot)
    found = index()
    if triggers := found.of(sender):  # of a signal that others than save() sent
        fire(triggers, Event(instance=instance, event=event, using=using), found.snapshot)
    return None


def one_commit(original: Callable[..., None]) -> Callable[..., None]:
    """Wrap ``Model.save_base``."""

    @wraps(original)  # keeps alters_data too
    def save_base(
        self: Model,
        raw: bool = False,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        model = type(self)
        options = (raw, force_insert, force_update, using, update_fields)
        if raw or is_foreign(model):
            return original(self, *options)
        found = index()
        if not found.of(model):
            return _save_untriggered(original, self, options)
        if suppressed():
            return original(self, *options)
        alias = using or router.db_for_write(model, instance=self)
        if is_in_transaction(alias) or keeps_autocommit(model):
            return _save(original, self, found, alias, options)
        with transaction.atomic(using=alias):
            _save(original, self, found, alias, options)
            _refuse_broken(alias)
        return None

    return save_base


def is_in_transaction(using: str) -> bool:
    """Tell whether what is written now waits for a commit, of ``atomic`` or, with autocommit off, of the caller.

    ``atomic`` itself would not do there: on SQLite the end of its savepoint commits the caller's transaction.
    """
    connection = connections[using]
    return connection.in_atomic_block or not connection.get_autocommit()


def _save_untriggered(original: Callable[..., None], instance: Model, options: tuple[Any, ...]) -> None:
    token = _untriggered.set(instance)
    try:
        original(instance, *options)
    finally:
        _untriggered.reset(token)


def keeps_autocommit(model: type[Model]) -> bool:
    """Tell whether no transaction is opened around this model's saves: ``AUTOCOMMIT_MODELS`` names it or a parent."""
    named = conf.AUTOCOMMIT_MODELS
    return bool(named) and not {name.lower() for name in named}.isdisjoint(labels(model))


def _save(
    original: Callable[..., None],
    instance: Model,
    found: Index,
    using: str,
    options: tuple[Any, ...],
) -> None:
    model = type(instance)
    triggers = found.of(model)
    written = event_values.written(model, options[-1])
    names = event_values.compared(triggers, model, written)
    before = event_values.read(instance, names, using) if names and not _is_new(instance, options) else None
    outer = _saves.get()
    token = _saves.set((*outer, _Save(instance, triggers, found.snapshot, names, before, written)))
    try:
        original(instance, *options)
    finally:
        _saves.reset(token)
    if outer:
        _renew(instance, using)


def _renew(instance: Model, using: str) -> None:
    """Read the row again for a save of the same object in whose ``pre_save`` this one was made."""
    for outer in _saves.get():
        if outer.names and not outer.told and outer.instance == instance:
            outer.before = event_values.read(instance, outer.names, using)


def _is_new(instance: Model, options: tuple[Any, ...]) -> bool:
    """Tell whether Django inserts without looking for a row, as it does for new objects whose key has a default."""
    _raw, force_insert, force_update, _using, _update_fields = options
    if instance.pk is None or force_insert:
        return True
    return not force_update and instance._state.adding and instance._meta.pk.has_default()


def _refuse_broken(using: str) -> None:
    """Raise if the transaction cannot commit: without this, ``save()`` would return with no row stored."""
    if is_broken(using):
        raise transaction.TransactionManagementError(
            "The save was undone: a receiver swallowed a database error, after which the transaction that holds "
            "the object and its messages cannot commit. Wrap that receiver's query in transaction.atomic()."
        )


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


_hooked: Index | None = None
#: The methods that were left alone, since they take other parameters than are known here; ``dispatch.W015`` tells.
unwrapped: list[str] = []


def connect() -> None:
    """Wrap the methods; called once, by the app's ``ready``."""
    options = ("raw", "force_insert", "force_update", "using", "update_fields")
    _wrap(Model, "save_base", one_commit, ("self", *options))
    _wrap(post_save, "send", fire_first, ("sender", "named"))
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
    global _hooked
    found = index()
    if found is _hooked:
        return
    for model in apps.get_models(include_auto_created=True):
        connect_deletes(model, found)
        many_to_many.connect(model, found)
    _hooked = found
