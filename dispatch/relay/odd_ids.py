"""Mends rows whose id is no UUID, or not as Django writes one: SQLite takes any, and Django then cannot read the row,
or finds it under no id.
"""

from __future__ import annotations

import logging

from django.db import connections
from django.db.models.expressions import RawSQL

from dispatch import outbox
from dispatch.core.redaction import shorten, storable
from dispatch.models import OutboxMessage
from dispatch.models.database import database_now
from dispatch.models.outbox_message import new_task_id
from dispatch.models.write_transactions import write_transaction

Status = OutboxMessage.Status
logger = logging.getLogger("dispatch.relay")
FIND = (
    "SELECT rowid, quote(id) FROM {} WHERE typeof(id) <> 'text' OR length(id) <> 32 OR id GLOB '*[^0-9a-f]*'"
)


def mend(using: str) -> int:
    """Give such rows an id under which they are found; return how many there were.

    What was still to be published is a dead message that says so; what was published, or has ended, stays that. This
    reads all ids: it is for when one was met.
    """
    connection = connections[using]
    if connection.vendor != "sqlite":
        return 0
    with write_transaction(using):
        with connection.cursor() as cursor:
            cursor.execute(FIND.format(connection.ops.quote_name(OutboxMessage._meta.db_table)))
            odd = cursor.fetchall()
        for rowid, written in odd:
            _bury(using, rowid, f"Its id was {storable(shorten(written))}, which is no UUID in 32 digits.")
    return len(odd)


def _bury(using: str, rowid: int, reason: str) -> None:
    rows = OutboxMessage.objects.using(using).annotate(rowid=RawSQL("rowid", ())).filter(rowid=rowid)
    is_dead = rows.filter(status__in=[Status.PENDING, Status.CLAIMED]).update(
        status=Status.DEAD,
        last_error=reason,
        available_at=database_now(),
        lease_token=None,
        lease_expires_at=None,
    )
    task_id = new_task_id()
    rows.update(id=task_id)
    fields = outbox.stored_log_fields(using, [task_id])[str(task_id)]
    logger.error("A message %s: %s", "is dead" if is_dead else "has another id", reason, extra=fields)
