"""Queues, routes and triggers of the notes: what an operator would click together in the admin."""

from __future__ import annotations

import json
from typing import TypeVar

from django.db import transaction
from django.db.models import Model

from dispatch.models import Queue, Route, TaskDefinition, Trigger, TriggerArgument, TriggerCondition

Row = TypeVar("Row", bound=Model)
Three = tuple[str, str, str]

FAILING_TITLE = "Fail on purpose"

QUEUES = ["default", "llm", "stt", "link"]
ROUTES = {"worker.tasks.llm.*": "llm", "worker.tasks.stt.*": "stt", "worker.tasks.link.*": "link"}

NOTE_ID = ("note_id", "field", "pk")
TEXT = ("text", "field", "body")

# Name → task, conditions on the note, arguments of the task.
TRIGGERS = {
    "Summarise text notes": (
        "worker.tasks.llm.summarize_note",
        [("kind", "equals", "text"), ("title", "not_equals", FAILING_TITLE)],
        [NOTE_ID, TEXT],
    ),
    "Measure audio notes": (
        "worker.tasks.stt.transcribe_audio",
        [("kind", "equals", "audio")],
        [NOTE_ID, ("path", "field", "audio")],
    ),
    "Preview link notes": (
        "worker.tasks.link.preview_links",
        [("kind", "equals", "link")],
        [NOTE_ID, TEXT],
    ),
    "Fail where the title asks for it": (
        "worker.tasks.ops.fail_on_demand",
        [("title", "equals", FAILING_TITLE)],
        [NOTE_ID, ("reason", "constant", json.dumps("its title asks for it"))],
    ),
}


@transaction.atomic
def configure() -> None:
    """Write the rows; what is there already is left as the operator has made it."""
    queues = {name: _queue(name) for name in QUEUES}
    for position, (pattern, queue) in enumerate(ROUTES.items()):
        defaults = {"position": position, "queue": queues[queue]}
        Route.objects.get_or_create(pattern=pattern, kind=Route.Kind.GLOB, defaults=defaults)
    for name, (task, conditions, arguments) in TRIGGERS.items():
        if not Trigger.objects.filter(name=name).exists():
            _add_trigger(name, task, conditions, arguments)


def _queue(name: str) -> Queue:
    return Queue.objects.get_or_create(name=name, defaults={"is_default": name == "default"})[0]


def _add_trigger(name: str, task: str, conditions: list[Three], arguments: list[Three]) -> None:
    definition = TaskDefinition.objects.get(name=task)
    trigger = _checked(Trigger(name=name, model="notes.note", events=["created", "updated"], task=definition))
    for field, operator, value in conditions:
        _checked(TriggerCondition(trigger=trigger, field=field, operator=operator, value=value))
    for parameter, source, value in arguments:
        _checked(TriggerArgument(trigger=trigger, parameter=parameter, source=source, value=value))


def _checked(row: Row) -> Row:
    """Save it after the checks that the admin makes."""
    row.full_clean()
    row.save()
    return row
