"""A registry that holds something of everything, and the document that describes it."""

from __future__ import annotations

from typing import Any

from dispatch.models import Binding, Exchange, Queue, Route, TaskDefinition, Trigger
from tests.support.registry import PARAMETERS, TASK, make_queue, make_task, make_trigger

MODELS = (Trigger, TaskDefinition, Route, Binding, Queue, Exchange)


def make_everything() -> None:
    media = Exchange.objects.create(
        name="media", type="topic", arguments={"b": 1, "a": {"d": 1e16, "c": [2, 1]}}
    )
    make_queue("default", is_default=True)
    stt = make_queue("stt", max_priority=9, default_priority=3, arguments={"x-max-length": 5})
    make_queue("ärzte", paused=True, queue_type="quorum")
    for key in ("stt.#", "audio.*"):
        Binding.objects.create(queue=stt, exchange=media, routing_key=key)
    for pattern in ("worker.z.*", "worker.a.*", "worker.m.*"):  # all at position 0: their age decides
        Route.objects.create(pattern=pattern, queue=stt)
    Route.objects.create(pattern="worker.stt", kind="exact", position=7, exchange=media, routing_key="stt.x")
    task = make_task(TASK, queue=stt, countdown=1.5, ignore_result=False, sensitive_parameters=["text"])
    make_task("worker.tasks.plain", parameters={}, description="“Plain”,\nin two lines.")
    make_trigger(task, "updated", "created", name="Summarise", when=("kind", "equals", "text"))


def clear() -> None:
    for model in MODELS:
        model.objects.all().delete()


def minimal(**lists: Any) -> dict[str, Any]:
    return {"configuration": 1, **lists}


__all__ = ["PARAMETERS", "TASK", "clear", "make_everything", "minimal"]
