"""One snapshot per process, checked against the version row at most once per ``REGISTRY_TTL`` seconds.

A connection that changed the registry and has not committed sees its own change, and looks at the version row
each time: a savepoint that is rolled back changes it without any signal. All others see the change after the
commit.
"""

from __future__ import annotations

import logging
import os
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
from dispatch.models import OutboxMessage, RegistryVersion, Trigger
from dispatch.models.base import RegistryModel
from dispatch.registry.loading import load
from dispatch.registry.snapshot import Snapshot
from dispatch.signals import registry_changed

logger = logging.getLogger("dispatch.registry")

EMPTY = Snapshot(None, RoutingTable((), (), (), None), (), ())
TABLES = frozenset(model._meta.db_table for model in (RegistryVersion, Trigger, OutboxMessage))


class Cache:
    """The snapshots of this process: one per database alias, and one per connection that sees another registry."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._shared: dict[str, Snapshot] = {}
        self._looked: dict[str, float] = {}
        self._asked_for_tables: dict[str, float] = {}
        self._own: WeakKeyDictionary[Any, Snapshot | None] = WeakKeyDictionary()

    def after_fork(self) -> None:
        """Make a lock of this process: another thread of the parent may have held the old one."""
        self._lock = threading.Lock()

    def current(self) -> Snapshot:
        """Return the registry as this connection should see it now; empty while the tables are missing."""
        using = router.db_for_read(RegistryVersion)
        connection = connections[using]
        if self._own and self._has_own_view(connection):
            return self._own_view(connection)
        snapshot = self._shared.get(using)
        if snapshot is None or (self._is_old(using) and _may_look(connection)):
            return self._look(connection, snapshot)
        return snapshot

    def expire(self, using: str) -> None:
        """Look at the version row at the next use, whatever ``REGISTRY_TTL`` says."""
        self._looked.pop(using, None)

    def forget(self, using: str) -> None:
        """Load anew at the next use: the tables themselves may have changed."""
        self._shared.pop(using, None)
        self._asked_for_tables.pop(using, None)

    def mark_changed(self, using: str) -> None:
        """Note that this connection changed the registry."""
        connection = connections[using]
        if connection.in_atomic_block:
            self._own[connection] = None
            transaction.on_commit(lambda: self.expire(using), using=using)
        else:
            self.expire(using)

    def has_tables(self, using: str) -> bool:
        """Tell whether the app's tables are in a database; a "no" is asked again after ``REGISTRY_TTL``."""
        asked = self._asked_for_tables.get(using)
        if asked is not None and (asked == float("inf") or time.monotonic() - asked < conf.REGISTRY_TTL):
            return asked == float("inf")
        with connections[using].cursor() as cursor:
            found = set(connections[using].introspection.table_names(cursor)) >= TABLES
        self._asked_for_tables[using] = float("inf") if found else time.monotonic()
        return found

    def _is_old(self, using: str) -> bool:
        return time.monotonic() - self._looked.get(using, 0.0) >= conf.REGISTRY_TTL

    def _look(self, connection: Any, known: Snapshot | None) -> Snapshot:
        # Who has a snapshot does not wait for another thread's query: that may wait for a lock this thread holds.
        if not self._lock.acquire(blocking=known is None):
            return EMPTY if known is None else known
        try:
            known = self._shared.get(connection.alias)
            if known is not None and not self._is_old(connection.alias):
                return known  # another thread looked while this one waited
            return self._refresh(connection, known)
        except (DatabaseError, InterfaceError) as error:
            if known is None:
                raise
            logger.warning(
                "The registry could not be looked at, the last one known is used: %s", redact(str(error))
            )
            self._looked[connection.alias] = time.monotonic()
            connection.close_if_unusable_or_obsolete()  # no request ends in a relay, which would do it
            return known
        finally:
            self._lock.release()

    def _refresh(self, connection: Any, known: Snapshot | None) -> Snapshot:
        using = connection.alias
        if not self.has_tables(using):
            snapshot = EMPTY
        elif known is None or known is EMPTY:
            snapshot = load(using)
        elif RegistryVersion.current(using) == known.version:
            snapshot = known
        elif connection.in_atomic_block:
            # It may be an older view than the others', under repeatable read: it is this connection's alone.
            self._own[connection] = snapshot = load(using)
            return snapshot
        else:
            snapshot = load(using)
        self._shared[using] = snapshot
        self._looked[using] = time.monotonic()
        return snapshot

    def _has_own_view(self, connection: Any) -> bool:
        if connection not in self._own:
            return False
        if connection.in_atomic_block:
            return True
        del self._own[connection]
        self.expire(connection.alias)
        return False

    def _own_view(self, connection: Any) -> Snapshot:
        snapshot = self._own[connection]
        if snapshot is not None and not _may_look(connection):
            return snapshot
        if snapshot is None or RegistryVersion.current(connection.alias) != snapshot.version:
            snapshot = self._own[connection] = load(connection.alias)
        return snapshot


def _may_look(connection: Any) -> bool:
    """Tell whether a query here is harmless to the caller's transaction.

    In a broken transaction nothing can be asked. On SQLite a deferred transaction that reads before it writes
    fails beside another writer: there the look is left to what runs outside of one (an autocommit save, the
    start of a request).
    """
    if connection.needs_rollback:
        return False
    if connection.vendor != "sqlite" or not connection.in_atomic_block:
        return True
    return connection.settings_dict["OPTIONS"].get("transaction_mode") in ("IMMEDIATE", "EXCLUSIVE")


cache = Cache()
os.register_at_fork(after_in_child=cache.after_fork)


def _on_change(*, using: str, **_: Any) -> None:
    cache.mark_changed(using)


def _on_migrate(*, using: str, **_: Any) -> None:
    cache.forget(using)


def _on_request(**_: Any) -> None:
    try:
        cache.current()
    except Exception as error:  # noqa: BLE001 - a page, or a test, that may not query must not fail here
        logger.debug("The registry was not looked at: %s", redact(str(error)))


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
