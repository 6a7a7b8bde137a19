"""The rows and calls that the benchmarks use: the demo's task, and a trigger that sends it."""

from __future__ import annotations

from collections.abc import Callable
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


def cursor_insert(connection: Any, *, of_trigger: bool) -> Callable[[Any, str], None]:
    """Return what a careful developer would write instead of a trigger or a send: one INSERT into the outbox, by hand.

    It writes the same table (so the same columns, indexes and checks) and the same values: a UUIDv7, the arguments as
    JSON, the time; that of a trigger the object, too. What is the same in each row is a constant in the SQL. It
    validates nothing.
    """
    import json

    from django.utils import timezone

    from dispatch.models.outbox_message import new_task_id

    clock = {
        "postgresql": "CLOCK_TIMESTAMP()",
        "mysql": "UTC_TIMESTAMP(6)",
        "sqlite": "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')",
    }[connection.vendor]
    origin = "'trigger', 'notes.note', %s, %s" if of_trigger else "'code', '', '', ''"
    sql = f"""
        INSERT INTO dispatch_outboxmessage (
            id, task_name, kwargs, created_at, available_at, origin, object_model, origin_name, object_pk, args,
            options, headers, ignore_result, object_schema, coalesce_key, superseded_by, status, broker, queue, pinned,
            expires_at, attempts, last_error, lease_token, lease_expires_at, published_at, published_to, handled_at
        ) VALUES (
            %s, %s, %s, %s, {clock}, {origin}, '[]', '{{}}',
            '{{}}', FALSE, '', '', NULL, 'pending', 'default', 'llm', FALSE, NULL,
            0, '', NULL, NULL, NULL, NULL, NULL
        )
    """
    as_id = (lambda key: key) if connection.features.has_native_uuid_field else (lambda key: key.hex)

    def insert(pk: Any, text: str) -> None:
        arguments = json.dumps({"note_id": str(pk), "text": text}, ensure_ascii=False)
        now = connection.ops.adapt_datetimefield_value(timezone.now())
        whose = ["on notes", str(pk)] if of_trigger else []
        with connection.cursor() as cursor:
            cursor.execute(sql, [as_id(new_task_id()), TASK, arguments, now, *whose])

    return insert
