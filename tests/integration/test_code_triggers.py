"""Triggers that developers write in code."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import Group

from dispatch.api import trigger
from dispatch.models import OutboxMessage, TaskDefinition
from project.notes.models import Note
from tests.support.registry import TASK, make_registry, make_task

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_ttl", "declared")]


@pytest.fixture(autouse=True)
def task(no_ttl: None) -> TaskDefinition:
    return make_registry()


def sent() -> list[dict[str, Any]]:
    return [json.loads(row.kwargs) for row in OutboxMessage.objects.order_by("id")]


def test_a_trigger_in_code_sends_what_its_function_returns() -> None:
    @trigger(Note, on=["created"], task=TASK, when=lambda note: note.title != "skip", priority=7)
    def summarize(note: Note) -> dict[str, Any]:
        return {"note_id": str(note.pk), "text": note.body}

    Note.objects.create(title="skip")
    Note.objects.create(title="A", body="Hello")
    assert [each["text"] for each in sent()] == ["Hello"]
    assert OutboxMessage.objects.get().options == {"priority": 7}


def test_a_trigger_in_code_refuses_a_misspelt_option_at_once() -> None:
    with pytest.raises(TypeError, match="unexpected option 'prioritty'"):
        trigger(Note, on="created", task=TASK, prioritty=7)


def test_one_function_may_serve_several_models_and_each_of_them_fires() -> None:
    @trigger(Note, on="created", task=TASK)
    @trigger(Group, on="created", task=TASK)
    def arguments(instance: Any) -> dict[str, Any]:
        return {"note_id": str(instance.pk), "text": type(instance).__name__}

    Note.objects.create(title="A")
    Group.objects.create(name="B")
    assert [each["text"] for each in sent()] == ["Note", "Group"]


def test_one_function_may_serve_several_events_of_one_model_with_a_task_each() -> None:
    make_task("worker.tasks.llm.forget")

    @trigger(Note, on="created", task=TASK)
    @trigger(Note, on="deleted", task="worker.tasks.llm.forget")
    def arguments(note: Note) -> dict[str, Any]:
        return {"note_id": str(note.pk), "text": note.body}

    Note.objects.create(title="A").delete()
    names = OutboxMessage.objects.order_by("id").values_list("task_name", flat=True)
    assert list(names) == [TASK, "worker.tasks.llm.forget"]


def test_a_module_that_is_loaded_again_replaces_its_triggers(declared: dict[Any, Any]) -> None:
    def load(text: str) -> None:
        @trigger(Note, on="created", task=TASK)
        def arguments(note: Note) -> dict[str, Any]:
            return {"note_id": str(note.pk), "text": text}

    load("before")
    Note.objects.create(title="A")
    load("after")
    Note.objects.create(title="B")
    assert [each["text"] for each in sent()] == ["before", "after"]


def test_a_trigger_that_takes_the_place_of_another_is_noticed(declared: dict[Any, Any]) -> None:
    make_task("worker.tasks.llm.again")
    for task in (TASK, "worker.tasks.llm.again"):
        declared.clear()

        @trigger(Note, on="created", task=task)
        def arguments(note: Note) -> dict[str, Any]:
            return {"note_id": str(note.pk), "text": note.body}

        Note.objects.create(title="A")
    names = OutboxMessage.objects.order_by("id").values_list("task_name", flat=True)
    assert list(names) == [TASK, "worker.tasks.llm.again"]


def test_no_password_of_an_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    @trigger(Note, on="created", task=TASK)
    def arguments(note: Note) -> dict[str, Any]:
        raise RuntimeError("amqp://guest:hunter2@broker does not answer")

    Note.objects.create(title="A")
    assert "amqp://guest:***@broker does not answer" in caplog.text
    assert "hunter2" not in caplog.text
