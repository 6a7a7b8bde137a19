"""Databases as tests see them: a connection of another process, a further alias, and how they are emptied."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import connections, transaction

T = TypeVar("T")
#: Django 6.1 gave it this name.
savepoint_create = getattr(transaction, "savepoint_create", None) or transaction.savepoint
#: Rows that Django writes when it migrates, and that no test changes.
KEPT = frozenset({"auth_permission", "django_content_type"})


def elsewhere(work: Callable[[], T]) -> T:
    """Run on a connection of its own, as another process would."""
    results: list[T] = []

    def run() -> None:
        try:
            results.append(work())
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    [result] = results
    return result


@contextmanager
def further_alias(name: str, **changes: Any) -> Iterator[str]:
    """Add an alias, of the same database unless ``changes`` say otherwise."""
    connections.settings[name] = {**connections.settings["default"], **changes}
    try:
        yield name
    finally:
        connections[name].close()
        del connections[name]
        del connections.settings[name]


def delete_rows(using: str) -> None:
    """Empty a database as Django's ``flush`` does, without truncating each table and asking for all permissions anew.

    Both together cost a test on PostgreSQL 0.4 s, most of what it takes.
    """
    connection = connections[using]
    tables = set(connection.introspection.django_table_names(only_existing=True, include_views=False)) - KEPT
    with connection.constraint_checks_disabled(), transaction.atomic(using), connection.cursor() as cursor:
        for table in _with_rows(cursor, tables):
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")


def _with_rows(cursor: Any, tables: Iterable[str]) -> list[str]:
    """Ask in one statement: a test fills a few tables, and one for each of them all cost a server as many answers."""
    quote = cursor.db.ops.quote_name
    first = [
        f"SELECT '{name}' FROM (SELECT 1 FROM {quote(name)} LIMIT 1) {quote(f'of {name}')}" for name in tables
    ]
    cursor.execute(" UNION ALL ".join(first))
    return sorted(name for (name,) in cursor.fetchall())
