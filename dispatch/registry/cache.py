"""One snapshot per process, checked against the version row at most once per ``REGISTRY_TTL`` seconds.

A connection that changed the registry and has not committed sees its own change, and looks at the version row
each time: a savepoint that is rolled back changes it without any signal. All others see the change after the
commit.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from django.apps import apps
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError, InterfaceError, OperationalError, connections, router, transaction
from django.db.models.signals import post_delete, post_migrate, post_save

from dispatch.conf import conf
from dispatch.core.redaction import redact
from dispatch.core.routing import RoutingTable
from dispatch.models import OutboxMessage, RegistryVersion, Trigger
from dispatch.models.registry_version import RegistryModel
from dispatch.models.write_transactions import lock_before_reading
from dispatch.registry.snapshot import Snapshot
from dispatch.registry.snapshot_loader import load
from dispatch.signals import registry_changed

logger = logging.getLogger("dispatch.registry")

Read = Callable[[], Snapshot]
EMPTY = Snapshot(None, RoutingTable((), (), (), None), (), ())
#: What says that a test may not ask a database: Django's own assertion, a missing mark in pytest-django.
FORBIDDEN_IN_TESTS = (AssertionError, RuntimeError, SynchronousOnlyOperation)
TABLES = frozenset(model._meta.db_table for model in (RegistryVersion, Trigger, OutboxMessage))


@dataclass(slots=True)
class _View:
    """What one connection sees inside its transaction, and when it looked; ``looked`` is None where that changes.

    Its own changes of the registry come and go with savepoints, of which nobody tells: then it looks at each use.
    """

    snapshot: Snapshot | None = None
    looked: float | None = None


class Cache:
    """The snapshots of this process: one per database alias, and one per connection that sees another registry."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._through: Callable[[Read], Snapshot] | None = None
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._shared: dict[str, Snapshot] = {}
        self._looked: dict[str, float] = {}
        self._asked_for_tables: dict[str, float] = {}
        self._own: WeakKeyDictionary[Any, _View] = WeakKeyDictionary()
        self._in_tests: WeakKeyDictionary[Any, tuple[Any, Snapshot]] = WeakKeyDictionary()

    def after_fork(self) -> None:
        """Make a lock of this process: another thread of the parent may have held the old one."""
        self._lock = threading.Lock()

    def current(self) -> Snapshot:
        """Return the registry as this connection should see it now; empty while the tables are missing."""
        if self._through is not None:
            return self._through(self._current_unnoticed)
        return self._current()

    @contextmanager
    def frozen(self, through: Callable[[Read], Snapshot]) -> Iterator[None]:
        """Look once, then only after a change that this process made, unnoticed by who counts queries: for tests.

        ``through`` gets the function that reads the registry and returns the one to be used. Blocks may nest.
        """
        outer = self._through
        self._through = through if outer is None else lambda read: through(lambda: outer(read))
        self._look_again()
        try:
            yield
        finally:
            self._through = outer
            self._look_again()

    def _current_unnoticed(self) -> Snapshot:
        with _unnoticed(connections[router.db_for_read(RegistryVersion)]):
            return self._current()

    def _current(self) -> Snapshot:
        using = router.db_for_read(RegistryVersion)
        if is_testing():
            return self._seen_by_test(connections[using])
        snapshot = self._shared.get(using)
        if snapshot is not None and not self._own and not self._has_passed(self._looked.get(using)):
            return snapshot  # each save comes here: no connection is looked up
        connection = connections[using]
        if self._has_own_view(connection):
            return self._own_view(connection)
        if snapshot is None or (self._has_passed(self._looked.get(using)) and _may_look(connection)):
            return self._look(connection, snapshot)
        return snapshot

    def _seen_by_test(self, connection: Any) -> Snapshot:
        """Look once in each savepoint of a test, and outside of any at each use, unnoticed by who counts queries.

        The end of a test rolls back, or empties the tables, without any signal. Where a test may not ask the database,
        what was last seen is returned.
        """
        place, known = self._in_tests.get(connection, (None, EMPTY))
        here = _savepoints(connection)
        if (here is not None and here == place) or not _may_look(connection):
            return known
        try:
            with _unnoticed(connection):
                known = self._read(connection, known)
        except FORBIDDEN_IN_TESTS:
            return known
        self._in_tests[connection] = (here, known)
        return known

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
        if is_testing():
            _, known = self._in_tests.get(connection, (None, EMPTY))
            self._in_tests[connection] = (None, known)
        elif connection.in_atomic_block:
            self._own[connection] = _View()
            transaction.on_commit(lambda: self._let_go(connection), using=using)
        else:
            self.expire(using)

    def has_tables(self, using: str) -> bool:
        """Tell whether the app's tables are in a database; a "no" is asked again after ``REGISTRY_TTL``."""
        asked = self._asked_for_tables.get(using)
        if asked is not None and (asked == float("inf") or not self._has_passed(asked)):
            return asked == float("inf")
        if self._through is None and not is_testing():
            found = _finds_tables(connections[using])
        else:
            with _unnoticed(connections[using]):
                found = _finds_tables(connections[using])
        self._asked_for_tables[using] = float("inf") if found else time.monotonic()
        return found

    def _has_passed(self, looked: float | None) -> bool:
        """Tell whether a look is ``REGISTRY_TTL`` seconds old, or there was none; while frozen none gets old."""
        if looked is None:
            return True
        return self._through is None and time.monotonic() - looked >= conf.REGISTRY_TTL

    def _look_again(self) -> None:
        """Look at the next use: a test that ended was rolled back without any signal."""
        self._looked.clear()
        for connection in list(self._own):
            self._own[connection] = _View()

    def _look(self, connection: Any, known: Snapshot | None) -> Snapshot:
        # Who has a snapshot does not wait for another thread's query: that may wait for a lock this thread holds.
        if not self._lock.acquire(blocking=known is None):
            return EMPTY if known is None else known
        try:
            known = self._shared.get(connection.alias)
            if known is not None and not self._has_passed(self._looked.get(connection.alias)):
                return known  # another thread looked while this one waited
            return self._refresh(connection, known)
        except SynchronousOnlyOperation:  # the caller's own query is about to say so
            return EMPTY if known is None else known
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
        snapshot = self._read(connection, known)
        if known not in (None, EMPTY, snapshot) and connection.in_atomic_block:
            # It may be an older view than the others', under repeatable read: it is this connection's alone.
            self._own[connection] = _View(snapshot, time.monotonic())
            return snapshot
        self._shared[using] = snapshot
        self._looked[using] = time.monotonic()
        return snapshot

    def _read(self, connection: Any, known: Snapshot | None) -> Snapshot:
        """Return the registry as this connection sees it: what is known, if it has not changed."""
        using = connection.alias
        # A deferred transaction of SQLite that reads first may write no more; who asks here is about to write.
        with suppress(OperationalError):  # before the first migrate there is nothing to lock
            lock_before_reading(RegistryVersion, using)
        if not self.has_tables(using):
            return EMPTY
        if known is None or known is EMPTY or RegistryVersion.current(using) != known.version:
            return load(using)
        return known

    def _has_own_view(self, connection: Any) -> bool:
        if connection not in self._own:
            return False
        if connection.in_atomic_block:
            return True
        self._let_go(connection)
        return False

    def _let_go(self, connection: Any) -> None:
        """Forget what one connection saw inside a transaction: the others' view is its own again."""
        self._own.pop(connection, None)
        self.expire(connection.alias)

    def _own_view(self, connection: Any) -> Snapshot:
        view = self._own[connection]
        if view.snapshot is not None and (self._is_fresh(view) or not _may_look(connection)):
            return view.snapshot
        if view.snapshot is None or RegistryVersion.current(connection.alias) != view.snapshot.version:
            view.snapshot = load(connection.alias)
        if view.looked is not None:
            view.looked = time.monotonic()
        return view.snapshot

    def _is_fresh(self, view: _View) -> bool:
        return self._through is not None or (view.looked is not None and not self._has_passed(view.looked))


def _may_look(connection: Any) -> bool:
    """Tell whether a query can be asked: not in a transaction that is broken."""
    return not connection.needs_rollback


def is_testing() -> bool:
    """Tell whether a test runner set Django up: then no test may count, or meet, a query that is ours."""
    utils = sys.modules.get("django.test.utils")
    return utils is not None and hasattr(utils._TestState, "saved_data")


def _savepoints(connection: Any) -> tuple[Any, ...] | None:
    """Return what tells the savepoints of a test from those of another, None outside of any.

    Django counts savepoints up, and begins anew with each connection to the database.
    """
    names = [name for name in connection.savepoint_ids if name]
    return (connection.connection, *names) if names else None


def _finds_tables(connection: Any) -> bool:
    with connection.cursor() as cursor:
        return set(connection.introspection.table_names(cursor)) >= TABLES


@contextmanager
def _unnoticed(connection: Any) -> Iterator[None]:
    """Keep the block's queries out of the connection's query log and away from its execute wrappers."""
    log, before, wrappers = connection.queries_log, len(connection.queries_log), connection.execute_wrappers
    connection.execute_wrappers = []
    try:
        yield
    finally:
        connection.execute_wrappers = wrappers
        while len(log) > before:
            log.pop()


cache = Cache()
os.register_at_fork(after_in_child=cache.after_fork)


def _on_change(*, using: str, **_: Any) -> None:
    cache.mark_changed(using)


def _on_migrate(*, using: str, **_: Any) -> None:
    cache.forget(using)


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
