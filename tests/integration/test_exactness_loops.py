"""The guard against loops: what a receiver of task_finished saves fires nothing, unless it asks for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery

from dispatch.api import allow_triggers, send_task, suppress_triggers, task_finished
from dispatch.models import OutboxMessage
from dispatch.models.database import database_now
from dispatch.results import Collector
from project.notes.models import Note, Tag
from tests.support.registry import ARGUMENTS, TASK, make_registry, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def worker(broker_settings: Callable[..., None], redis_url: str, transactional_db: None) -> Iterator[Celery]:
    broker_settings("memory://", redis_url)
    task = make_registry()
    make_trigger(task, "created", "updated", "deleted", name="notes")
    tags = make_trigger(task, "created", "updated", model="notes.tag", name="tags")
    tags.arguments.filter(parameter="text").update(value="name")
    app = Celery("worker", backend=redis_url, set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def finish(worker: Celery) -> Iterator[Callable[[Callable[[], object]], str]]:
    """Return a function that lets a task finish, with a receiver that does something, and returns the task's id."""

    def run(work: Callable[[], object]) -> str:
        def receive(**_: Any) -> None:
            work()

        task_finished.connect(receive, weak=False, dispatch_uid="test")
        message = send_task(TASK, kwargs=ARGUMENTS)
        OutboxMessage.objects.filter(pk=message.pk).update(status="published", published_at=database_now())
        worker.backend.store_result(str(message.pk), 1, "SUCCESS")
        assert Collector().sweep() == 1
        return str(message.pk)

    yield run
    task_finished.disconnect(dispatch_uid="test")


def sent() -> list[str]:
    return list(
        OutboxMessage.objects.filter(origin="trigger").order_by("id").values_list("origin_name", flat=True)
    )


def work_of_every_kind() -> None:
    note = Note.objects.create(title="A")
    note.save()
    note.delete()
    tags = Tag.objects.bulk_create([Tag(name="x"), Tag(name="y")])
    Tag.objects.update(weight=1)
    Tag.objects.bulk_update(tags, ["colour"])


def test_whatever_a_receiver_saves_fires_nothing_and_is_logged_with_the_task(
    finish: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dispatch.triggers")
    task_id = finish(work_of_every_kind)
    assert sent() == []
    told = [record.getMessage() for record in caplog.records if record.name == "dispatch.triggers"]
    assert all(f"suppressed while the result of task {task_id} is handled" in text for text in told)
    assert [text.rsplit(" ", 1)[1] for text in told if "'notes'" in text] == [
        "created.",
        "updated.",
        "deleted.",
    ]
    assert len([text for text in told if "'tags'" in text]) == 3, "one line for each bulk operation"


def test_a_receiver_that_asks_for_triggers_has_them(finish: Callable[..., str]) -> None:
    @allow_triggers()
    def work() -> None:
        Note.objects.create(title="A")
        with suppress_triggers("notes"):
            Note.objects.create(title="B")
            Tag.objects.bulk_create([Tag(name="x")])

    finish(work)
    assert sent() == ["notes", "tags"]


def test_a_message_that_a_receiver_sends_itself_is_sent(finish: Callable[..., str]) -> None:
    finish(lambda: send_task(TASK, kwargs=ARGUMENTS))
    assert OutboxMessage.objects.filter(status="pending", origin="code").count() == 1


def test_after_the_result_triggers_fire_as_before(finish: Callable[..., str]) -> None:
    finish(lambda: None)
    Note.objects.create(title="A")
    assert sent() == ["notes"]
