"""A site with rows of each kind, as it may look in the middle of a day."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django_celery_results.models import TaskResult

from dispatch import contract, outbox
from dispatch.api import Call
from dispatch.core import manifest as documents
from dispatch.models import Exchange, MinuteCount, OutboxMessage, Queue, Route, TaskDefinition, Trigger
from project.notes.models import Note
from tests.support.browser_steps import page_of
from tests.support.processes import make_process
from tests.support.registry import PARAMETERS, TASK, dead_message

MODELS = ("exchange", "queue", "route", "taskdefinition", "manifest", "trigger", "outboxmessage", "process")
ADDABLE = ("exchange", "queue", "route", "taskdefinition", "trigger")
ORDER = "worker.tasks.orders.place_order"
QUEUES = [{"name": name, "durable": True, "arguments": {}} for name in ("default", "llm")]
TEXT = {"type": "string"}
ORDER_PARAMETERS = {
    "type": "object",
    "properties": {
        "number": {"type": "integer", "minimum": 1, "description": "As it stands on the invoice."},
        "currency": {"enum": ["EUR", "USD", "CHF"], "default": "EUR"},
        "deliver_on": {"type": "string", "format": "date"},
        "address": {
            "type": "object",
            "properties": {"street": TEXT, "town": TEXT},
            "required": ["street", "town"],
            "additionalProperties": False,
        },
        "lines": {
            "type": "array",
            "items": {"type": "object", "properties": {"article": TEXT, "pieces": {"type": "integer"}}},
        },
        "token": TEXT,
    },
    "required": ["number", "address"],
    "additionalProperties": False,
    "x-positional": ["number", "currency", "deliver_on", "address", "lines", "token"],
}


def manifest(version: str, tasks: dict[str, Any]) -> str:
    """The text of a worker's manifest that offers these tasks, by name."""
    entries = [{"name": name, "parameters": parameters} for name, parameters in tasks.items()]
    return documents.sealed(
        {"manifest": 1, "worker": "worker", "version": version, "tasks": entries, "queues": QUEUES}
    )


def fill_site() -> dict[str, str]:
    """Write rows of each kind, and return the addresses of the pages by the names of their pictures."""
    exchange = Exchange.objects.create(name="media", type="topic")
    Queue.objects.create(name="default", is_default=True)
    queue = Queue.objects.create(name="llm", paused=True)
    queue.bindings.create(exchange=exchange, routing_key="media.#")
    route = Route.objects.create(pattern="worker.tasks.llm.*", queue=queue)
    contract.sync(documents.read(manifest("1.4.0", {TASK: PARAMETERS, ORDER: ORDER_PARAMETERS})))
    task, order = TaskDefinition.objects.get(name=TASK), TaskDefinition.objects.get(name=ORDER)
    TaskDefinition.objects.filter(pk=order.pk).update(sensitive_parameters=["token"])
    note = Note.objects.create(title="Old", kind="audio")
    trigger = Trigger.objects.create(name="New notes", model="notes.note", events=["created"], task=task)
    trigger.conditions.create(field="kind", operator="equals", value="text")
    trigger.arguments.create(parameter="note_id", value="pk")
    waits, *others = outbox.enqueue(
        [
            Call(TASK, kwargs={"note_id": "1", "text": "Words. " * 200}),
            Call(ORDER, kwargs={"number": 7, "address": {"street": "High Street 1", "town": "York"}}),
            Call(ORDER, kwargs={"number": 8, "address": {"street": "High Street 2", "town": "York"}}),
        ]
    )
    origin = outbox.Origin("trigger", "New notes", "notes.note", str(note.pk))
    dead = dead_message(TASK, "A long reason. " * 40, origin)
    failed = others[0]
    OutboxMessage.objects.filter(pk__in=[each.pk for each in others]).update(
        status="published",
        published_at=timezone.now(),
        published_to={
            "broker": "default",
            "queue": "default",
            "queues": ["default"],
            "exchange": "",
            "routing_key": "default",
            "priority": None,
            "exchange_type": "direct",
        },
        attempts=1,
    )
    TaskResult.objects.create(
        task_id=str(failed.pk),
        task_name=ORDER,
        status="FAILURE",
        worker="worker@shop-1",
        result='{"exc_type": "ValueError", "exc_message": ["No stock."]}',
        traceback='Traceback (most recent call last):\n  File "orders.py", line 7\nValueError: No stock.',
    )
    write_counts()
    rows = (exchange, queue, route, task, trigger)
    return {
        "index": reverse("admin:index"),
        "overview": reverse("admin:app_list", args=["dispatch"]),
        **{f"{name}-list": f"/admin/dispatch/{name}/" for name in MODELS},
        **{f"{name}-add": f"/admin/dispatch/{name}/add/" for name in ADDABLE},
        **{f"{row._meta.model_name}-page": page_of(row) for row in rows},
        "manifest-page": page_of(task.manifest),
        "message-waits": page_of(waits),
        "message-failed": page_of(failed),
        "message-dead": page_of(dead),
        "object": reverse("admin:notes_note_change", args=[note.pk]),
        "preview": f"{reverse('admin:dispatch_trigger_preview', args=[trigger.pk])}?pk={note.pk}",
        "send-form": reverse("admin:dispatch_taskdefinition_send", args=[order.pk]),
        "contract": reverse("admin:dispatch_contract"),
        "manifest-upload": reverse("admin:dispatch_manifest_sync"),
        **{
            f"queue-{verb}": f"{reverse(f'admin:dispatch_queue_{verb}')}?pk={queue.pk}"
            for verb in ("declare", "purge")
        },
    }


def write_counts() -> None:
    """A relay that runs, and what it did in the last hour."""
    relay = make_process()
    now = timezone.now().replace(second=0, microsecond=0)
    for ago in range(60):
        for outcome, number, milliseconds in (
            ("published", 40 + ago % 7 * 9, 90),
            ("failed", ago % 5 == 0, 0),
        ):
            MinuteCount.objects.create(
                minute=now - dt.timedelta(minutes=ago),
                process=relay.pk,
                queue="default",
                outcome=outcome,
                number=number,
                milliseconds=number * milliseconds,
            )
