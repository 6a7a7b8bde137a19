"""The rows and calls that the benchmarks use: the demo's task, and a trigger that sends it."""

from __future__ import annotations

from typing import Any

TASK = "worker.tasks.llm.summarize_note"
ARGUMENTS = {"note_id": "0190f3a2-0000-7000-8000-000000000000", "text": "A text of some length. " * 5}
BODY = ARGUMENTS["text"]
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


def notice_changes() -> None:
    """Look at the registry outside of a transaction, as each web request does when it starts."""
    from dispatch.registry import current

    current()


def make_task() -> Any:
    """Make two queues, a route and the task."""
    from dispatch.models import Queue, Route, TaskDefinition

    Queue.objects.create(name="default", is_default=True)
    Route.objects.create(pattern="worker.tasks.llm.*", kind="glob", queue=Queue.objects.create(name="llm"))
    return TaskDefinition.objects.create(name=TASK, parameters=PARAMETERS)


def make_trigger(task: Any, name: str, model: str, **arguments: str) -> None:
    """Make a trigger on created objects; ``arguments`` are parameters and the fields they come from."""
    from dispatch.models import Trigger, TriggerArgument

    trigger = Trigger.objects.create(name=name, model=model, events=["created"], task=task)
    for parameter, field in arguments.items():
        TriggerArgument.objects.create(trigger=trigger, parameter=parameter, source="field", value=field)
