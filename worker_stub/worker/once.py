"""Effects that happen once, however often their message arrives.

Brokers deliver at least once. So a task marks in a table of its own database that its effect has happened, in
the transaction of the effect: both are there or neither. Copy this module; with psycopg, `?` becomes `%s`.
"""

from __future__ import annotations

import sqlite3

TABLE = """
CREATE TABLE IF NOT EXISTS processed (
    consumer varchar(255) NOT NULL,
    task_id varchar(255) NOT NULL,
    processed_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (consumer, task_id)
)
"""
MARK = "INSERT INTO processed (consumer, task_id) VALUES (?, ?) ON CONFLICT DO NOTHING"


def processed(connection: sqlite3.Connection, consumer: str, task_id: str) -> bool:
    """Mark a message as processed by this consumer; return True if it was before, so nothing is left to do.

    Call it first in the transaction of the effect. A copy of the message that comes at the same time waits
    here until that transaction ends: after a commit it is told True, after a rollback it takes its place.
    """
    return connection.execute(MARK, (consumer, task_id)).rowcount == 0
