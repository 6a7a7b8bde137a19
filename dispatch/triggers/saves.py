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

from dispatch.conf import conf
from dispatch.core import rules
from dispatch.core.suppression import suppressed
from dispatch.models.parts import is_broken
from dispatch.triggers import values
from dispatch.triggers.firing import fire
from dispatch.triggers.matching import AnyTrigger, index, is_foreign, labels
from dispatch.triggers.values import Event


@dataclass(slots=True)
class _Save:
    """A save under way: which triggers it has, and what they need to know of the row before: its columns ``names``."""

    instance: Model
    triggers: tuple[AnyTrigger, ...]
    names: frozenset[str]
    before: values.Row | None
    written: frozenset[str] | None
    told: bool = False


_saves: ContextVar[tuple[_Save, ...]] = ContextVar("dispatch_saves", default=())
#: The object being saved, if it was found to have no triggers: looking once a save is enough.
_untriggered: ContextVar[Model | None] = ContextVar("dispatch_untriggered_save", default=None)


def on_save(sender: type[Model], *, instance: Model, created: bool, raw: bool, using: str, **_: Any) -> None:
    """Fire the triggers of a saved object: the receiver of ``post_save``."""
    if raw or _untriggered.get() is instance or is_foreign(sender):
        return None
    event = rules.CREATED if created else rules.UPDATED
    for save in reversed(_saves.get()):
        if save.instance is instance:
            save.told = True
            seen = Event(
                instance=instance, event=event, using=using, before=save.before, written=save.written
            )
            return fire(save.triggers, seen)
    if triggers := index().of(sender):  # of a signal that others than save() sent
        fire(triggers, Event(instance=instance, event=event, using=using))
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
        if raw or is_foreign(model) or suppressed():
            return original(self, *options)
        if not (triggers := index().of(model)):
            return _save_untriggered(original, self, options)
        alias = using or router.db_for_write(model, instance=self)
        if is_in_transaction(alias) or keeps_autocommit(model):
            return _save(original, self, triggers, alias, options)
        with transaction.atomic(using=alias):
            _save(original, self, triggers, alias, options)
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
    triggers: tuple[AnyTrigger, ...],
    using: str,
    options: tuple[Any, ...],
) -> None:
    _raw, force_insert, force_update, _using, update_fields = options
    written = values.written(type(instance), update_fields)
    names = values.compared(triggers, type(instance), written)
    is_new = instance.pk is None or force_insert or (not force_update and _has_a_key_made_up(instance))
    before = values.read(instance, names, using) if names and not is_new else None
    token = _saves.set((*_saves.get(), _Save(instance, triggers, names, before, written)))
    try:
        original(instance, *options)
    finally:
        _saves.reset(token)
    _renew(instance, using)


def _renew(instance: Model, using: str) -> None:
    """Read the row again for a save of the same object in whose ``pre_save`` this one was made."""
    for outer in _saves.get():
        if outer.names and not outer.told and outer.instance == instance:
            outer.before = values.read(instance, outer.names, using)


def _has_a_key_made_up(instance: Model) -> bool:
    """Tell whether Django inserts without looking for a row, as it does for new objects whose key has a default."""
    return instance._state.adding and instance._meta.pk.has_default()


def _refuse_broken(using: str) -> None:
    """Raise if the transaction cannot commit: without this, ``save()`` would return with no row stored."""
    if is_broken(using):
        raise transaction.TransactionManagementError(
            "The save was undone: a receiver swallowed a database error, after which the transaction that holds "
            "the object and its messages cannot commit. Wrap that receiver's query in transaction.atomic()."
        )
