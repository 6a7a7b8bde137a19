"""Writes rows of TaskResult as django-celery-results does, many at once, sensitive arguments masked."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.db import DatabaseError, connections
from django.db.models.constants import OnConflict
from django.utils import timezone
from django_celery_results.models import TaskResult

from dispatch import outbox, registry
from dispatch.client.result_backend import Outcome
from dispatch.core.json_values import to_json
from dispatch.core.redaction import ascii_only
from dispatch.exceptions import UnreadableMessage
from dispatch.models import OutboxMessage
from dispatch.registry import Snapshot

#: Characters of one statement, which keeps it under the limit of any server (4 MB on an old MySQL).
MOST_TEXT = 500_000
#: From how many rows on PostgreSQL takes one JSON document sooner than a list of values.
DOCUMENT_FROM = 10

Row = dict[str, Any]

_TEXTS = (
    "task_id",
    "task_name",
    "task_args",
    "task_kwargs",
    "status",
    "worker",
    "content_type",
    "content_encoding",
    "result",
    "traceback",
)
_MOMENTS = ("date_created", "date_done")
_FIELDS = {name: TaskResult._meta.get_field(name) for name in (*_TEXTS, *_MOMENTS)}
_OVERWRITTEN = [name for name in _FIELDS if name not in ("task_id", "date_created")]
_LENGTHS: dict[str, int | None] = {name: getattr(_FIELDS[name], "max_length", None) for name in _TEXTS}


class NotStored(DatabaseError):
    """The database did not take the results."""


def store(
    outcomes: Sequence[Outcome], messages: Mapping[str, OutboxMessage], using: str, *, plainly: bool
) -> None:
    """Write the results of these messages; ``plainly``, in ASCII. Raises NotStored.

    The ORM would write the moment of the save for that at which the task ended.
    """
    snapshot = registry.current()
    now = timezone.now()
    try:
        write([_row(each, messages[each.task_id], snapshot, now, plainly) for each in outcomes], using)
    except Exception as error:
        raise NotStored from error


def write(rows: Sequence[Row], using: str) -> None:
    """Insert rows, or overwrite those of the same tasks."""
    connection = connections[using]
    quote = connection.ops.quote_name
    table, columns = quote(TaskResult._meta.db_table), ", ".join(map(quote, _FIELDS))
    overwriting = connection.ops.on_conflict_suffix_sql(
        [*_FIELDS.values()], OnConflict.UPDATE, _OVERWRITTEN, ["task_id"]
    )
    with connection.cursor() as cursor:
        for batch in _batches(rows, connection.ops.bulk_batch_size([*_FIELDS.values()], rows)):
            is_document = connection.vendor == "postgresql" and len(batch) >= DOCUMENT_FROM
            source, parameters = (_document if is_document else _values)(batch, connection)
            cursor.execute(f"INSERT INTO {table} ({columns}) {source} {overwriting}", parameters)


def _values(rows: Sequence[Row], connection: Any) -> tuple[str, list[Any]]:
    marks = f"({', '.join(['%s'] * len(_FIELDS))})"
    adapted = connection.ops.adapt_datetimefield_value
    parameters = [adapted(row[name]) if name in _MOMENTS else row[name] for row in rows for name in _FIELDS]
    return f"VALUES {', '.join([marks] * len(rows))}", parameters


def _document(rows: Sequence[Row], connection: Any) -> tuple[str, list[Any]]:
    """Return the rows as one JSON document, since psycopg looks for each mark of a list of values."""
    casts = ("timestamptz" if name in _MOMENTS else "text" for name in _FIELDS)
    columns = ", ".join(f"(v->>{at})::{cast}" for at, cast in enumerate(casts))
    document = json.dumps([[row[name] for name in _FIELDS] for row in rows], ensure_ascii=False, default=str)
    return f"SELECT {columns} FROM jsonb_array_elements(%s::jsonb) AS rows (v)", [document]  # noqa: S608


def _batches(rows: Sequence[Row], most: int) -> Iterator[Sequence[Row]]:
    """Yield as many rows as one statement may hold."""
    start = text = 0
    for at, row in enumerate(rows):
        size = sum(len(row[name] or "") for name in ("task_args", "task_kwargs", "result", "traceback"))
        if at > start and (at - start >= most or text + size > MOST_TEXT):
            yield rows[start:at]
            start, text = at, 0
        text += size
    if rows:
        yield rows[start:]


def _row(
    outcome: Outcome, message: OutboxMessage, snapshot: Snapshot, now: dt.datetime, plainly: bool
) -> Row:
    args, kwargs = _masked(message, snapshot)
    row = {
        "task_id": outcome.task_id,
        "task_name": message.task_name,
        "task_args": args,
        "task_kwargs": kwargs,
        "status": outcome.status,
        "worker": outcome.worker,
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "result": outcome.result,
        "traceback": outcome.traceback,
    }
    fitting = {name: _fitting(name, text, plainly) for name, text in row.items()}
    return {**fitting, "date_created": now, "date_done": outcome.done_at or now}


def _fitting(column: str, text: str | None, plainly: bool) -> str | None:
    """Return a text as long as its column takes; ``plainly``, in ASCII."""
    if text is None:
        return None
    return (ascii_only(text) if plainly else text)[: _LENGTHS[column]]


def _masked(message: OutboxMessage, snapshot: Snapshot) -> tuple[str | None, str | None]:
    task = snapshot.tasks.get(message.task_name)
    if task is None:  # nobody knows any more which parameters are sensitive
        return None, None
    if not (task.sensitive or task.odd or task.parameters.unreadable):
        return message.args, message.kwargs
    try:
        args, kwargs = task.mask(*outbox.arguments_of(message.args, message.kwargs))
        return to_json(args), to_json(kwargs)
    except (UnreadableMessage, RecursionError):  # somebody changed the row
        return None, None


def current(task_ids: Sequence[str], using: str) -> dict[str, TaskResult]:
    """Return the TaskResult of each task that has one."""
    rows = TaskResult.objects.using(using).filter(task_id__in=task_ids).order_by()
    return {row.task_id: row for row in rows}


def put_back(task_ids: Sequence[str], before: Mapping[str, TaskResult], using: str) -> None:
    """Undo :func:`store` for these tasks, of which ``before`` holds the rows that were overwritten."""
    rows = TaskResult.objects.using(using)
    for row in (before[task_id] for task_id in task_ids if task_id in before):
        rows.filter(pk=row.pk).update(**{name: getattr(row, name) for name in _FIELDS})
    new = rows.filter(task_id__in=[task_id for task_id in task_ids if task_id not in before])
    new._raw_delete(using)  # nobody was told of a save either
