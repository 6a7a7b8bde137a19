"""What log records say in fields of their own, as a formatter that writes JSON hands on."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from django.core.management import call_command
from django.db import OperationalError, connection

from dispatch.api import send_task, suppress_triggers, task_finished
from dispatch.core.call import Call
from dispatch.models import OutboxMessage, TaskDefinition
from dispatch.outbox import Origin, enqueue, stored_log_fields
from dispatch.relay import Relay
from dispatch.results import Collector
from project.notes.models import Note
from tests.support.registry import ARGUMENTS, TASK, make_registry, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)

FIELDS = ("task_id", "task_name", "queue", "trigger")


class JSONFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        return json.dumps({"level": record.levelname, "message": record.getMessage(), **fields})


@pytest.fixture
def logged() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What the package logs, each line read back."""
    stream, logger = io.StringIO(), logging.getLogger("dispatch")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONFormatter())
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.setLevel(before)


def fields(line: dict[str, Any]) -> tuple[str, ...]:
    return tuple(line[name] for name in FIELDS)


@pytest.fixture
def task(broker_settings: Callable[..., None], tmp_path: Any, transactional_db: None) -> TaskDefinition:
    broker_settings("memory://", f"file://{tmp_path}", MAX_ATTEMPTS=2)
    return make_registry()


@pytest.mark.parametrize("name", ["summarise", ""], ids=["trigger", "code"])
def test_an_attempt_and_a_dead_message_are_logged_with_the_four_fields(
    task: TaskDefinition, logged: Callable[[], Any], name: str
) -> None:
    origin = Origin("trigger", name) if name else Origin()
    [message] = enqueue([Call(TASK, kwargs=ARGUMENTS)], origin=origin)
    OutboxMessage.objects.update(options={"serializer": "yaml"})  # which is not allowed
    relay = Relay()
    relay.step()
    OutboxMessage.objects.update(available_at=message.created_at)
    relay.step()
    waits, dead = logged()
    assert (waits["level"], dead["level"]) == ("WARNING", "ERROR")
    assert fields(waits) == fields(dead) == (str(message.pk), TASK, "llm", name)


def test_what_a_user_sent_names_no_trigger(task: TaskDefinition) -> None:
    [message] = enqueue([Call(TASK, kwargs=ARGUMENTS)], origin=Origin("user", "admin"))
    assert stored_log_fields("default", [message.pk])[str(message.pk)]["trigger"] == ""


def test_a_receiver_that_fails_is_logged_with_the_four_fields(
    task: TaskDefinition, logged: Callable[[], Any], settings: Any
) -> None:
    def fail(**_: Any) -> None:
        raise ValueError("It broke.")

    make_trigger(task, "created", name="summarise")
    Note.objects.create(title="N", body="Cats sleep.")
    message = OutboxMessage.objects.get()
    call_command("dispatch", "relay", "--once", stdout=io.StringIO())
    backend = settings.DISPATCH["BROKERS"]["default"]["RESULT_BACKEND"]
    Celery(backend=backend, set_as_current=False).backend.store_result(str(message.pk), 1, "SUCCESS")
    task_finished.connect(fail)
    try:
        Collector().drain()
    finally:
        task_finished.disconnect(fail)
    [line] = logged()
    assert fields(line) == (str(message.pk), TASK, "llm", "summarise")


def test_what_a_trigger_cannot_enqueue_is_logged_with_the_id_of_its_dead_message(
    task: TaskDefinition, logged: Callable[[], Any]
) -> None:
    make_trigger(task, "created", name="summarise")
    TaskDefinition.objects.update(enabled=False)
    Note.objects.create(title="N", body="Cats sleep.")
    [line] = logged()
    assert fields(line) == (str(OutboxMessage.objects.get().pk), TASK, "", "summarise")


def test_a_suppressed_trigger_is_logged_with_its_name_and_task(
    task: TaskDefinition, logged: Callable[[], Any]
) -> None:
    make_trigger(task, "created", name="summarise")
    with suppress_triggers():
        Note.objects.create(title="N", body="Cats sleep.")
    [line] = logged()
    assert fields(line) == ("", TASK, "", "summarise")


def test_a_deprecated_task_is_logged_with_its_name(
    task: TaskDefinition, logged: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatch.outbox.enqueueing._told", set())
    TaskDefinition.objects.update(deprecated="Use another.")
    send_task(TASK, kwargs=ARGUMENTS)
    [line] = logged()
    assert fields(line) == ("", TASK, "", "")


def test_a_database_that_does_not_answer_leaves_the_id(task: TaskDefinition) -> None:
    def away(*_: Any) -> None:
        raise OperationalError

    message = send_task(TASK, kwargs=ARGUMENTS)
    with connection.execute_wrapper(away):
        [found] = stored_log_fields("default", [message.pk]).values()
    assert found == {"task_id": str(message.pk), "task_name": "", "queue": "", "trigger": ""}


def test_no_name_breaks_a_line(task: TaskDefinition) -> None:
    [message] = enqueue([Call(TASK, kwargs=ARGUMENTS)], origin=Origin("trigger", "a\nb"))
    assert stored_log_fields("default", [message.pk])[str(message.pk)]["trigger"] == "a\\nb"
