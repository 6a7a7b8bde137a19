"""One snapshot per process, checked against the version row at most once per ``REGISTRY_TTL`` seconds.

A connection that changed the registry and has not committed sees its own change, and looks at the version row each
time: a savepoint that is rolled back changes it without any signal. All others see the change after the commit.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any
from weakref import WeakKeyDictionary

from django.apps import apps
from django.core.signals import request_started
from django.db import DatabaseError, InterfaceError, connections, router, transaction
from django.db.models.signals import post_delete, post_migrate, post_save

from dispatch.conf import conf
from dispatch.core.routing import RoutingTable
from dispatch.core.wording import redact
from dispatch.models import RegistryVersion
from dispatch.models.registry import RegistryModel
from dispatch.registry.loading import load
from dispatch.registry.snapshot import Snapshot
from dispatch.signals import registry_changed

logger = logging.getLogger("dispatch.registry")

EMPTY = Snapshot(None, RoutingTable((), (), (), None), (), ())

_lock = threading.Lock()
_shared: dict[str, Snapshot] = {}
_looked: dict[str, float] = {}
_migrated: set[str] = set()
_changed_here: WeakKeyDictionary[Any, Snapshot | None] = WeakKeyDictionary()


def current() -> Snapshot:
    """Return the registry as this connection should see it now; empty while the tables are missing."""
    using = router.db_for_read(RegistryVersion)
    if _changed_here and _has_own_view(using):
        return _own_view(using)
    snapshot = _shared.get(using)
    if snapshot is None or time.monotonic() - _looked.get(using, 0.0) >= conf.REGISTRY_TTL:
        return _look(using)
    return snapshot


def forget(using: str | None = None) -> None:
    """Look at the version row at the next use, whatever ``REGISTRY_TTL`` says."""
    for alias in [using] if using else list(_looked):
        _looked.pop(alias, None)


def _look(using: str) -> Snapshot:
    with _lock:
        snapshot = _shared.get(using)
        if snapshot is not None and time.monotonic() - _looked.get(using, 0.0) < conf.REGISTRY_TTL:
            return snapshot  # another thread looked while this one waited
        if not _tables_exist(using):
            snapshot = EMPTY
        elif snapshot is None or snapshot is EMPTY or RegistryVersion.current(using) != snapshot.version:
            snapshot = load(using)
        _shared[using] = snapshot
        _looked[using] = time.monotonic()
        return snapshot


def _tables_exist(using: str) -> bool:
    if using in _migrated:
        return True
    connection = connections[using]
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor))
    if {RegistryVersion._meta.db_table, "dispatch_trigger", "dispatch_outboxmessage"} <= tables:
        _migrated.add(using)
    return using in _migrated


def _has_own_view(using: str) -> bool:
    connection = connections[using]
    if connection not in _changed_here:
        return False
    if connection.in_atomic_block:
        return True
    del _changed_here[connection]
    forget(using)
    return False


def _own_view(using: str) -> Snapshot:
    connection = connections[using]
    snapshot = _changed_here[connection]
    if snapshot is None or RegistryVersion.current(using) != snapshot.version:
        snapshot = _changed_here[connection] = load(using)
    return snapshot


def _on_change(*, using: str, **_: Any) -> None:
    connection = connections[using]
    if connection.in_atomic_block:
        _changed_here[connection] = None
        transaction.on_commit(lambda: forget(using), using=using)
    else:
        forget(using)


def _on_migrate(*, using: str, **_: Any) -> None:
    _migrated.discard(using)
    forget(using)


def _on_request(**_: Any) -> None:
    try:
        current()
    except (DatabaseError, InterfaceError) as error:  # a page that needs no database must not fail here
        logger.warning("The registry could not be looked at: %s", redact(str(error)))


def _on_row(sender: type[RegistryModel], *, using: str, **_: Any) -> None:
    RegistryVersion.bump(using)


def connect() -> None:
    """Connect the receivers that keep the cache true; called once, by the app's ``ready``."""
    for model in apps.get_app_config("dispatch").get_models():
        if issubclass(model, RegistryModel):
            uid = f"dispatch.registry.{model._meta.model_name}"
            post_save.connect(_on_row, sender=model, dispatch_uid=uid)
            post_delete.connect(_on_row, sender=model, dispatch_uid=uid)
    registry_changed.connect(_on_change, dispatch_uid="dispatch.registry.changed")
    post_migrate.connect(_on_migrate, dispatch_uid="dispatch.registry.migrated")
    request_started.connect(_on_request, dispatch_uid="dispatch.registry.request")
