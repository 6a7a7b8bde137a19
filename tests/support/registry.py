"""Rows for tests, in one line each."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db import connection
from django.utils import timezone

from dispatch import outbox
from dispatch.models import (
    OutboxMessage,
    Queue,
    Route,
    TaskDefinition,
    Trigger,
    TriggerArgument,
    TriggerCondition,
)

TASK = "worker.tasks.llm.summarize_note"
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "note_id": {"type": "string"},
        "text": {"type": "string"},
        "sentences": {"type": "integer", "minimum": 1},
    },
    "required": ["note_id", "text"],
    "additionalProperties": False,
    "x-positional": ["note_id", "text", "sentences"],
}
ARGUMENTS = {"note_id": "1", "text": "Hello."}

#: What somebody may write into the columns of a definition, as JSON texts; Python reads the longest ones not at all.
ODD_DEFINITIONS = [
    *(("parameters", text) for text in (
        "5", '["no", "schema"]', '{"properties": 5}', '{"required": 5}', '{"x-positional": 5}', '{"type": "strnig"}',
        '{"properties": {"a": {"$ref": "#/x-a"}}, "x-a": {"multipleOf": 0}}', '{"maximum": 1%s}' % ("0" * 5_000),
    )),
    *(("sensitive_parameters", text) for text in ('"token"', "[1]", "5", "{}")),
    *(("returns", text) for text in (
        "5", "[1]", '"text"', '{"$defs": 5}', '{"type": 5}', '{"type": 5, "maximum": 1e999}')),
    *(("worker_options", text) for text in ("5", "[1]", '{"ignore_result": "maybe"}', '{"time_limit": 1e999}')),
]  # fmt: skip


def write_past_the_form(model: Any, column: str, text: str, **where: Any) -> None:
    """Write the JSON text of a column by SQL, as somebody does who passes the form and the API."""
    [(name, value)] = where.items()
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {model._meta.db_table} SET {column} = %s WHERE {name} = %s", [text, value])


def make_queue(name: str, **columns: Any) -> Queue:
    return Queue.objects.create(name=name, **columns)


def make_task(name: str = TASK, *, queue: Queue | None = None, **columns: Any) -> TaskDefinition:
    return TaskDefinition.objects.create(name=name, **{"parameters": PARAMETERS, "queue": queue, **columns})


def make_registry(queue: str = "llm") -> TaskDefinition:
    """A default queue, a queue for the task's route, and the task."""
    make_queue("default", is_default=True)
    Route.objects.create(pattern="worker.tasks.llm.*", kind="glob", queue=make_queue(queue))
    return make_task()


def make_trigger(
    task: TaskDefinition,
    *events: str,
    when: tuple[str, str, str] | None = None,
    model: str = "notes.note",
    **columns: Any,
) -> Trigger:
    """A trigger that sends the object's primary key and body."""
    name = columns.pop("name", f"{model} {' '.join(events)}")
    trigger = Trigger.objects.create(name=name, model=model, events=list(events), task=task, **columns)
    for parameter, value in (("note_id", "pk"), ("text", "body")):
        TriggerArgument.objects.create(trigger=trigger, parameter=parameter, source="field", value=value)
    if when:
        field, operator, expected = when
        TriggerCondition.objects.create(trigger=trigger, field=field, operator=operator, value=expected)
    return trigger


def waiting(queue: str, *, seconds: float = 0, status: str = "pending", **columns: Any) -> OutboxMessage:
    """A message for a queue, due, or published, so many seconds ago."""
    since = timezone.now() - dt.timedelta(seconds=seconds)
    row: dict[str, Any] = {"task_name": TASK, "broker": "default", "queue": queue, "available_at": since}
    row |= {"published_at": since} if status == "published" else {}
    return OutboxMessage.objects.create(**row, status=status, **columns)


def dead_message(task: str, error: str, origin: outbox.Origin) -> OutboxMessage:
    """What a trigger that could not enqueue leaves."""
    [row] = outbox.insert([outbox.dead_draft(task, error, origin)], "default")
    return row
