"""Where Django's saves and deletes are noticed, and what makes object and message one commit.

``post_save`` is connected once without a sender. ``post_delete`` is connected per hooked model: a receiver
without a sender turns off Django's fast deletes everywhere. Two methods of Django are wrapped, once, for all
models:

``Model.save_base`` sends ``post_save`` after it has left its own transaction, so in autocommit the object
would be committed before the outbox row is inserted. For hooked models one transaction is opened around it.

``Collector.collect`` decides on fast deletes before any signal is sent: the one place where a process that
only deletes can notice a new delete trigger.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.apps import apps
from django.db import connections, router, transaction
from django.db.models import Model
from django.db.models.deletion import Collector
from django.db.models.signals import post_delete, post_save

from dispatch.core import rules
from dispatch.core.suppression import suppressed
from dispatch.triggers.firing import fire
from dispatch.triggers.matching import Index, deleting, index

_hooked: Index | None = None


def connect() -> None:
    """Connect the receivers and wrap the two methods; called once, by the app's ``ready``."""
    post_save.connect(_on_save, dispatch_uid="dispatch.triggers.save")
    if not getattr(Model.save_base, "is_one_commit", False):
        Model.save_base = _one_commit(Model.save_base)  # type: ignore[method-assign]
        Collector.collect = _with_fresh_receivers(Collector.collect)  # type: ignore[method-assign]


def _on_save(sender: type[Model], *, instance: Model, created: bool, raw: bool, using: str, **_: Any) -> None:
    if raw or suppressed() or _is_foreign(sender):
        return
    triggers = index().of(sender)
    if triggers:
        fire(triggers, rules.CREATED if created else rules.UPDATED, instance, using)


def _on_delete(sender: type[Model], *, instance: Model, using: str, **_: Any) -> None:
    if not suppressed():
        fire(deleting(sender, index().of(sender)), rules.DELETED, instance, using)


def _is_foreign(model: type[Model]) -> bool:
    """Tell whether a model never has triggers: this app's own, and those of migrations, which are in no app.

    Asked before anything else: while a migration runs, the registry's tables may not be what this code expects.
    """
    meta = model._meta
    return (
        meta.app_label == "dispatch"
        or apps.all_models.get(meta.app_label, {}).get(meta.model_name or "") is not model
    )


def _one_commit(original: Callable[..., None]) -> Callable[..., None]:
    @wraps(original)  # keeps alters_data too
    def save_base(self: Model, raw: bool = False, *args: Any, **kwargs: Any) -> None:
        model = type(self)
        if raw or suppressed() or _is_foreign(model) or not index().of(model):
            return original(self, raw, *args, **kwargs)
        using = kwargs.get("using") or (args[2] if len(args) > 2 else None)
        using = using or router.db_for_write(model, instance=self)
        if connections[using].in_atomic_block:
            return original(self, raw, *args, **kwargs)
        with transaction.atomic(using=using):
            original(self, raw, *args, **kwargs)
            _refuse_broken(using)
        return None

    save_base.is_one_commit = True  # type: ignore[attr-defined]
    return save_base


def _refuse_broken(using: str) -> None:
    """Raise if the transaction cannot commit: without this, ``save()`` would return with no row stored."""
    connection = connections[using]
    if connection.get_rollback() or _is_failed(connection):
        raise transaction.TransactionManagementError(
            "The save was undone: a receiver swallowed a database error, after which the transaction that holds "
            "the object and its messages cannot commit. Wrap that receiver's query in transaction.atomic()."
        )


def _is_failed(connection: Any) -> bool:
    if connection.vendor != "postgresql":
        return False
    return bool(connection.connection.info.transaction_status == 3)  # libpq's PQTRANS_INERROR


def _with_fresh_receivers(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def collect(self: Collector, objs: Any, *args: Any, **kwargs: Any) -> Any:
        model = getattr(objs, "model", None) or next((type(instance) for instance in objs), None)
        if model is not None and not _is_foreign(model):  # a queryset is not evaluated here
            _connect_deletes()
        return original(self, objs, *args, **kwargs)

    return collect


def _connect_deletes() -> None:
    """Connect the delete receiver of each model that has a delete trigger in the registry this connection sees.

    None is disconnected again: another thread's connection may still see its trigger.
    """
    global _hooked
    found = index()
    if found is _hooked:
        return
    for model in apps.get_models(include_auto_created=True):
        if any(deleting(model, found.of(model))):
            uid = f"dispatch.triggers.delete.{model._meta.label_lower}"
            post_delete.connect(_on_delete, sender=model, dispatch_uid=uid)
    _hooked = found
