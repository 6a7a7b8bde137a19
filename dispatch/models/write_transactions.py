"""Transactions that write, for a SQLite as ``startproject`` leaves it.

There a transaction takes the write lock at its first write. If it has read before, it is refused at once, whatever the
timeout, while another connection writes, or holds the write lock and waits for the readers to leave. So what is ours
takes the lock before it reads, and never waits with half of it in hand: a web process's own transactions, which Django
lets read first, would fail beside it. (https://www.sqlite.org/lockingv3.html)
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any, cast

from django.db import OperationalError, connections, models, transaction

#: Seconds of short attempts, after which a transaction waits as any other does, for as long as ``timeout`` says.
PATIENCE = 2.0
#: Seconds between two attempts, at most.
PAUSE = 0.02


def is_deferred(connection: Any) -> bool:
    """Tell whether a transaction here takes the write lock at its first write alone."""
    if connection.vendor != "sqlite" or connection.is_in_memory_db():
        return False
    mode = connection.settings_dict["OPTIONS"].get("transaction_mode") or ""
    return mode.upper() not in ("IMMEDIATE", "EXCLUSIVE")


@contextmanager
def write_transaction(using: str) -> Iterator[None]:
    """Open a transaction that may read before it writes."""
    connection = connections[using]
    with ExitStack() as block:
        begin = partial(block.enter_context, transaction.atomic(using=using))
        if is_deferred(connection) and not connection.in_atomic_block and connection.get_autocommit():
            _begin_alone(connection, begin)
        else:
            begin()
        yield


def brief_write(using: str) -> AbstractContextManager[None]:
    """Return what a statement of a background process stands in that needs no transaction elsewhere."""
    return write_transaction(using) if is_deferred(connections[using]) else nullcontext()


def lock_before_reading(model: type[models.Model], using: str) -> None:
    """Take the write lock for a transaction that somebody else opened, and that is going to write to ``model``."""
    connection, meta = connections[using], cast("Any", model._meta)
    if is_deferred(connection) and connection.in_atomic_block:
        table, column = map(connection.ops.quote_name, (meta.db_table, meta.pk.column))
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET {column} = {column} WHERE 0")  # noqa: S608 - names of this model only


def _begin_alone(connection: Any, begin: Callable[[], None]) -> None:
    """Begin with all locks or none: who waits for the readers of a transaction to leave lets none of them write."""
    connection.ensure_connection()
    insist_at = time.monotonic() + PATIENCE
    mode, connection.transaction_mode = connection.transaction_mode, "EXCLUSIVE"
    try:
        while not _began(connection, begin):
            if time.monotonic() >= insist_at:
                return begin()
            time.sleep(random.uniform(0, PAUSE))  # noqa: S311 - nothing secret
    finally:
        connection.transaction_mode = mode


def _began(connection: Any, begin: Callable[[], None]) -> bool:
    """Begin if that can be done at once."""
    pragma = connection.connection.execute
    [timeout] = pragma("PRAGMA busy_timeout").fetchone()
    pragma("PRAGMA busy_timeout = 0")
    try:
        begin()
    except OperationalError as error:
        if not _is_busy(error):
            raise
        return False
    finally:
        pragma(f"PRAGMA busy_timeout = {timeout}")
    return True


def _is_busy(error: OperationalError) -> bool:
    code = getattr(error.__cause__, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_BUSY
