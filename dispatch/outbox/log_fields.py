"""What log records say of stored messages."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress

from django.db import DatabaseError, InterfaceError

from dispatch.core.printable import log_fields
from dispatch.models import OutboxMessage
from dispatch.models.database import UNREADABLE


def stored_log_fields(using: str, task_ids: Sequence[uuid.UUID | str]) -> dict[str, dict[str, str]]:
    """Return the fields of records about these messages, by task id: the id alone where the database does not answer.

    They are asked for when there is something to log: a relay does not read all of them of each message.
    """
    fields = {str(task_id): log_fields(task_id=task_id) for task_id in task_ids}
    rows = OutboxMessage.objects.using(using).filter(pk__in=task_ids)
    with suppress(DatabaseError, InterfaceError, *UNREADABLE):
        for pk, task, queue, origin, name in rows.values_list(
            "pk", "task_name", "queue", "origin", "origin_name"
        ):
            trigger = name if origin == OutboxMessage.Origin.TRIGGER else ""
            fields[str(pk)] = log_fields(task_id=pk, task_name=task, queue=queue, trigger=trigger)
    return fields
