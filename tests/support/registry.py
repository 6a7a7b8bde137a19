"""Rows for tests, in one line each."""

from __future__ import annotations

from typing import Any

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


def dead_message(task: str, error: str, origin: outbox.Origin) -> OutboxMessage:
    """What a trigger that could not enqueue leaves."""
    [row] = outbox.insert([outbox.dead_draft(task, error, origin)], "default")
    return row
