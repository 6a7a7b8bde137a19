"""Saves: noticed by ``post_save``, and made one commit with their messages.

``Model.save_base`` sends ``post_save`` after it has left its own transaction, so in autocommit the object would be
committed before the outbox row is inserted. For hooked models one transaction is opened around it, in which the
row is also read as it was before, where triggers compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.db import connections, router, transaction
from django.db.models import Model
from django.db.models.signals import post_save

from dispatch.conf import conf
from dispatch.core import rules
from dispatch.core.suppression import suppressed
from dispatch.models.parts import is_broken
from dispatch.registry import Snapshot
from dispatch.triggers import values
from dispatch.triggers.firing import fire
from dispatch.triggers.matching import AnyTrigger, Index, index, is_foreign, labels
from dispatch.triggers.values import Event


@dataclass(slots=True)
class _Save:
    """A save under way: which triggers it has, and what they need to know of the row before: its columns ``names``."""

    instance: Model
    triggers: tuple[AnyTrigger, ...]
    snapshot: Snapshot
    names: frozenset[str]
    before: values.Row | None
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
    event = rules.CREATED if created else rules.UPDATED
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
    written = values.written(model, options[-1])
    names = values.compared(triggers, model, written)
    before = values.read(instance, names, using) if names and not _is_new(instance, options) else None
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
            outer.before = values.read(instance, outer.names, using)


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
