"""The worker's own database: a file named by `WORKER_DATABASE`."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from worker import once

ENTRIES = """
CREATE TABLE IF NOT EXISTS entries (
    account varchar(255) NOT NULL,
    cents integer NOT NULL
)
"""
LOCK_TIMEOUT = 15


@contextmanager
def transaction() -> Iterator[sqlite3.Connection]:
    """Yield a connection whose changes are committed together, or rolled back if the block raises."""
    path = os.environ.get("WORKER_DATABASE") or "worker.sqlite3"
    # IMMEDIATE: the second of two writers waits for the first, instead of failing when it wants to write
    with closing(sqlite3.connect(path, LOCK_TIMEOUT, isolation_level="IMMEDIATE")) as connection:
        connection.execute(once.TABLE)
        connection.execute(ENTRIES)
        with connection:
            yield connection
