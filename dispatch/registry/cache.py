"""One snapshot per process, checked against the version row at most once per ``REGISTRY_TTL`` seconds.

A connection that changed the registry and has not committed sees its own change, until it is rolled back. All others
see it after the commit.

Where each tenant has a schema, the same holds for each schema: a connection moves from one to another.
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
from dispatch.models.database import schema_name
from dispatch.models.registry_version import RegistryModel
from dispatch.models.write_transactions import lock_before_reading
from dispatch.registry.snapshot import Snapshot
from dispatch.registry.snapshot_loader import load
from dispatch.signals import registry_changed

logger = logging.getLogger("dispatch.registry")

Read = Callable[[], Snapshot]
#: A database's alias, and the schema that its connection stands in.
Place = tuple[str, str]
#: Schemas whose snapshots are kept; those of one registry that all of them share are one object.
MOST_PLACES = 200
EMPTY = Snapshot(None, RoutingTable((), (), (), None), (), ())
#: What says that a test may not ask a database: Django's own assertion, a missing mark in pytest-django.
FORBIDDEN_IN_TESTS = (AssertionError, RuntimeError, SynchronousOnlyOperation)
TABLES = frozenset(model._meta.db_table for model in (RegistryVersion, Trigger, OutboxMessage))


@dataclass(slots=True)
class _View:
    """What one connection sees inside its transaction: after a change of its own until ``undoing`` is another object.

    Where it changed nothing, and its isolation level shows it an older registry than others', it ``looked`` at a time.
    """

    snapshot: Snapshot | None = None
    looked: float | None = None
    undoing: Any = None


class Cache:
    """The snapshots of this process: one per place, and one per connection that sees another registry there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._through: Callable[[Read], Snapshot] | None = None
        self.clear()

    def clear(self) -> None:
        self._shared: dict[Place, Snapshot] = {}
        self._looked: dict[Place, float] = {}
        self._asked_for_tables: dict[Place, float] = {}
        self._own: WeakKeyDictionary[Any, dict[str, _View]] = WeakKeyDictionary()
        self._in_tests: WeakKeyDictionary[Any, dict[str, tuple[Any, Snapshot]]] = WeakKeyDictionary()

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
        place = using, schema_name(using)
        if is_testing():
            return self._seen_by_test(connections[using], place)
        snapshot = self._shared.get(place)
        if snapshot is not None and not self._own and not self._has_passed(self._looked.get(place)):
            return snapshot  # as for nearly each save
        connection = connections[using]
        if self._has_own_view(connection, place):
            return self._own_view(connection, place)
        if snapshot is None or (self._has_passed(self._looked.get(place)) and _may_look(connection)):
            return self._look(connection, place, snapshot)
        return snapshot

    def _seen_by_test(self, connection: Any, place: Place) -> Snapshot:
        """Look once in a test's transaction, and outside of any at each use, unnoticed by who counts queries.

        Where a test may not ask the database, what was last seen is returned.
        """
        views = self._in_tests.setdefault(connection, {})
        undoing, known = views.get(place[1], (None, EMPTY))
        here = _undoing(connection) if connection.in_atomic_block else None
        if (here is not None and here is undoing) or not _may_look(connection):
            return known
        try:
            with _unnoticed(connection):
                known = self._read(connection, place, known)
        except FORBIDDEN_IN_TESTS:
            return known
        views[place[1]] = (here, known)
        return known

    def forget(self, using: str) -> None:
        """Load anew at the next use: the tables themselves may have changed."""
        for known in (self._shared, self._asked_for_tables):
            for place in [place for place in known if place[0] == using]:
                known.pop(place, None)

    def mark_changed(self, using: str) -> None:
        """Note that this connection changed the registry."""
        connection, schema = connections[using], schema_name(using)
        if is_testing():
            views = self._in_tests.setdefault(connection, {})
            views[schema] = (None, views[schema][1] if schema in views else EMPTY)
        elif connection.in_atomic_block:
            self._own.setdefault(connection, {})[schema] = _View()
            transaction.on_commit(lambda: self._let_go(connection), using=using)
        else:
            self._looked.pop((using, schema), None)

    def has_tables(self, using: str) -> bool:
        """Tell whether the app's tables are in a database; a "no" is asked again after ``REGISTRY_TTL``."""
        place = using, schema_name(using)
        asked = self._asked_for_tables.get(place)
        if asked is not None and (asked == float("inf") or not self._has_passed(asked)):
            return asked == float("inf")
        if self._through is None and not is_testing():
            found = _finds_tables(connections[using])
        else:
            with _unnoticed(connections[using]):
                found = _finds_tables(connections[using])
        self._asked_for_tables[place] = float("inf") if found else time.monotonic()
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
            self._own[connection] = {schema: _View() for schema in self._own[connection]}

    def _look(self, connection: Any, place: Place, known: Snapshot | None) -> Snapshot:
        # Who has a snapshot does not wait for another thread's query: that may wait for a lock this thread holds.
        if not self._lock.acquire(blocking=known is None):
            return EMPTY if known is None else known
        try:
            known = self._shared.get(place)
            if known is not None and not self._has_passed(self._looked.get(place)):
                return known  # another thread looked while this one waited
            return self._refresh(connection, place, known)
        except SynchronousOnlyOperation:  # the caller's own query is about to say so
            self._looked.pop(place, None)
            return EMPTY if known is None else known
        except (DatabaseError, InterfaceError) as error:
            if known is None:
                raise
            logger.warning(
                "The registry could not be looked at, the last one known is used: %s", redact(str(error))
            )
            self._looked[place] = time.monotonic()
            connection.close_if_unusable_or_obsolete()  # no request ends in a relay, which would do it
            return known
        finally:
            self._lock.release()

    def _refresh(self, connection: Any, place: Place, known: Snapshot | None) -> Snapshot:
        self._looked[place] = time.monotonic()  # before reading: what is committed meanwhile takes it back
        snapshot = self._read(connection, place, known)
        if known not in (None, EMPTY, snapshot) and connection.in_atomic_block:
            # It may be an older view than the others', under repeatable read: it is this connection's alone.
            self._looked.pop(place, None)
            self._own.setdefault(connection, {})[place[1]] = _View(snapshot, time.monotonic())
            return snapshot
        self._shared.pop(place, None)
        if len(self._shared) >= MOST_PLACES:
            self._shared.pop(next(iter(self._shared)))
        self._shared[place] = snapshot
        return snapshot

    def _read(self, connection: Any, place: Place, known: Snapshot | None) -> Snapshot:
        """Return the registry as this connection sees it: what is known, there or in another schema, if it is the same.

        Versions are random: two schemas that have the same one look at the same rows, or at a copy of them.
        """
        using = place[0]
        # A deferred transaction of SQLite that reads first may write no more; who asks here is about to write.
        with suppress(OperationalError):  # before the first migrate there is nothing to lock
            lock_before_reading(RegistryVersion, using)
        if not self.has_tables(using):
            return EMPTY
        shared = [snapshot for (alias, _schema), snapshot in list(self._shared.items()) if alias == using]
        by_version = {each.version: each for each in (*shared, known) if each not in (None, EMPTY)}
        same = by_version.get(RegistryVersion.current(using)) if by_version else None
        return load(using) if same is None else same

    def _has_own_view(self, connection: Any, place: Place) -> bool:
        if connection not in self._own:
            return False
        if connection.in_atomic_block:
            return place[1] in self._own[connection]
        self._let_go(connection)
        return False

    def _let_go(self, connection: Any) -> None:
        """Forget what one connection saw inside a transaction: the others' view is its own again."""
        for schema in self._own.pop(connection, ()):
            self._looked.pop((connection.alias, schema), None)

    def _own_view(self, connection: Any, place: Place) -> Snapshot:
        view = self._own[connection][place[1]]
        if view.snapshot is not None and (self._is_fresh(view, connection) or not _may_look(connection)):
            return view.snapshot
        if view.snapshot is None or RegistryVersion.current(connection.alias) != view.snapshot.version:
            view.snapshot = load(connection.alias)
        if view.looked is not None:
            view.looked = time.monotonic()
        view.undoing = _undoing(connection)
        return view.snapshot

    def _is_fresh(self, view: _View, connection: Any) -> bool:
        if view.looked is not None:
            return not self._has_passed(view.looked)
        return view.undoing is _undoing(connection)


def _may_look(connection: Any) -> bool:
    """Tell whether a query can be asked: not in a transaction that is broken."""
    return not connection.needs_rollback


def is_testing() -> bool:
    """Tell whether a test runner set Django up: then no test may count, or meet, a query that is ours."""
    utils = sys.modules.get("django.test.utils")
    return utils is not None and hasattr(utils._TestState, "saved_data")


def _undoing(connection: Any) -> Any:
    """Return what is another object after each commit, rollback and rollback to a savepoint, of which no signal tells.

    Django makes a new list of the ``on_commit`` functions then: those that are left.
    """
    return connection.run_on_commit


def _finds_tables(connection: Any) -> bool:
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            return set(connection.introspection.table_names(cursor)) >= TABLES
        # django-tenants lists those of the tenant's own schema alone.
        cursor.execute(
            "SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest(%s::text[]) AS name", [sorted(TABLES)]
        )
        return bool(cursor.fetchone()[0])


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
