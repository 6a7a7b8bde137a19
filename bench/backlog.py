"""Outboxes filled by SQL, ours and the peer's: copies of one message, which all come at one commit (PostgreSQL)."""

from __future__ import annotations

from itertools import count
from typing import Any

from brokers import QUEUE
from registry import PARAMETERS

TASK = "bench.task"
#: About 130 bytes of arguments.
ARGUMENTS = {"note_id": "0190f3a2-0000-7000-8000-000000000000", "text": "Cats sleep in the sun. " * 3}
#: A UUIDv7 that is later than the one before, as those of messages are.
ID = "('0190f3a2-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid"
NOW = "clock_timestamp()"
_next = count(1)


def make_registry() -> Any:
    """Make the queue and the task that the backlog is sent to."""
    from dispatch.models import Queue, TaskDefinition

    queue = Queue.objects.create(name=QUEUE, is_default=True)
    return TaskDefinition.objects.create(name=TASK, parameters=PARAMETERS, queue=queue)


def fill(rows: int, **columns: str) -> None:
    """Enqueue messages; ``columns`` are columns that hold something else, as SQL."""
    from django.db import transaction

    from dispatch.api import send_task

    with transaction.atomic():
        _copy(send_task(TASK, kwargs=ARGUMENTS), rows, {"id": ID, "available_at": NOW, **columns})


def fill_peers(rows: int) -> None:
    """Enqueue messages with the peer."""
    from django.db import transaction
    from django_celery_outbox.models import CeleryOutbox
    from peer import app

    with transaction.atomic():
        app.send_task(TASK, kwargs=ARGUMENTS)
        _copy(CeleryOutbox.objects.get(), rows, {"task_id": f"{ID}::text"}, without="id")


def empty() -> None:
    """Empty both outboxes."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE dispatch_outboxmessage, celery_outbox CASCADE")


def _copy(row: Any, rows: int, columns: dict[str, str], without: str = "") -> None:
    """Put copies into the place of a row."""
    from django.db import connection

    first = next(_next) << 24
    table = row._meta.db_table
    names = [field.column for field in row._meta.concrete_fields if field.column != without]
    values = [columns.get(name, f"row.{name}") for name in names]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} "
            f"FROM {table} AS row, generate_series({first + 1}, {first + rows}) AS n WHERE row.id = %s",
            [row.pk],
        )
        cursor.execute(f"DELETE FROM {table} WHERE id = %s", [row.pk])
        cursor.execute(f"ANALYZE {table}")
