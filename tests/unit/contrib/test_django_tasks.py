"""The backend of django.tasks: what it enqueues, what it refuses, and what it knows of results."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.test import override_settings
from django.utils import timezone
from django_celery_results.models import TaskResult as StoredResult

from dispatch.api import InvalidArguments, UnknownTask
from dispatch.api import task_finished as dispatch_task_finished
from dispatch.models import OutboxMessage
from tests.support.how_to import blocks
from tests.support.registry import ARGUMENTS, TASK, make_queue, make_registry

pytest.importorskip("django.tasks", reason="Django has tasks from 6.0 on")

from django.tasks import TaskResultStatus, task_backends
from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist, TaskResultMismatch
from django.tasks.signals import task_enqueued, task_finished

from tests.support import declared_tasks

pytestmark = pytest.mark.django_db

BACKEND = "dispatch.contrib.django_tasks.DispatchBackend"
NAMES = {f"tests.support.declared_tasks.{name}": TASK for name in ("summarize_note", "later", "bound")}
TASKS: dict[str, Any] = {
    "default": {"BACKEND": BACKEND, "QUEUES": ["default", "llm"], "OPTIONS": {"NAMES": NAMES}},
    "other": {"BACKEND": BACKEND, "QUEUES": [], "OPTIONS": {"NAMES": NAMES}},
}
task = declared_tasks.summarize_note


@pytest.fixture(autouse=True)
def tasks(db: None) -> Iterator[None]:
    make_registry()
    with override_settings(TASKS=TASKS):
        import_module("dispatch.contrib.django_tasks")
        yield


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    """What the signals of django.tasks tell."""
    found: list[Any] = []

    def listen(sender: Any, signal: Any, task_result: Any, **kwargs: Any) -> None:
        found.append((signal, sender.__name__, task_result))

    for signal in (task_enqueued, task_finished):
        signal.connect(listen, dispatch_uid="test")
    yield found
    for signal in (task_enqueued, task_finished):
        signal.disconnect(dispatch_uid="test")


def settle(result: Any, status: str, returned: Any = None, **columns: Any) -> OutboxMessage:
    """Store a result as the collector does."""
    message = OutboxMessage.objects.get(pk=result.id)
    message.status, message.published_at, message.handled_at = "published", timezone.now(), timezone.now()
    message.save()
    columns = {"task_name": message.task_name, "result": json.dumps(returned), "worker": "w1", **columns}
    StoredResult.objects.create(task_id=result.id, status=status, **columns)
    return message


def test_a_task_becomes_a_message_of_the_outbox_and_its_body_is_not_run() -> None:
    result = task.enqueue("1", text="Cats.")
    message = OutboxMessage.objects.get()
    assert (result.id, message.task_name, message.queue) == (str(message.pk), TASK, "llm")
    assert (message.args, message.kwargs) == ('["1"]', '{"text":"Cats."}')
    assert (result.status, result.args, result.kwargs) == ("READY", ["1"], {"text": "Cats."})
    assert (result.task, result.backend, result.attempts, result.errors) == (task, "default", 0, [])
    assert result.enqueued_at == message.created_at


def test_the_name_is_the_path_of_the_function_where_none_is_given() -> None:
    path = "tests.support.declared_tasks.unknown"
    with pytest.raises(InvalidTask, match=f"No task '{path}'") as caught:
        declared_tasks.unknown.enqueue()
    assert isinstance(caught.value.__cause__, UnknownTask)


def test_coroutines_and_tasks_that_take_a_context_are_sent_like_others() -> None:
    for each in (declared_tasks.later, declared_tasks.bound):
        assert each.enqueue(**ARGUMENTS).status == TaskResultStatus.READY
    assert {*OutboxMessage.objects.values_list("args", "kwargs")} == {
        ("[]", '{"note_id":"1","text":"Hello."}')
    }


def test_arguments_that_do_not_fit_the_schema_are_refused_with_their_pointer() -> None:
    with pytest.raises(InvalidArguments) as caught:
        task.enqueue(note_id=1, text="Cats.")
    assert caught.value.pointer == "/kwargs/note_id"
    assert not OutboxMessage.objects.exists()


def test_arguments_that_are_no_json_are_refused_as_django_does() -> None:
    with pytest.raises(TypeError, match="Unsupported type"):
        task.enqueue(note_id=timezone.now(), text="Cats.")


@pytest.mark.parametrize(
    ("priority", "sent"),
    [(-100, 0), (-81, 0), (-80, 0), (-79, 1), (-1, 4), (0, None), (1, 5), (50, 7), (100, 9)],
)
def test_a_priority_is_mapped_and_the_default_left_to_the_registry(priority: int, sent: int | None) -> None:
    task.using(priority=priority).enqueue(**ARGUMENTS)
    assert OutboxMessage.objects.get().options.get("priority") == sent


def test_run_after_is_waited_for_in_the_outbox() -> None:
    moment = timezone.now() + dt.timedelta(hours=1)
    task.using(run_after=moment).enqueue(**ARGUMENTS)
    message = OutboxMessage.objects.get()
    assert (message.available_at, "eta" in message.options) == (moment, False)


def test_a_queue_that_is_named_is_the_queue_and_the_default_one_is_the_registrys_choice() -> None:
    task.using(queue_name="llm").enqueue(**ARGUMENTS)
    task.using(queue_name="default").enqueue(**ARGUMENTS)
    found = OutboxMessage.objects.order_by("pk").values_list("queue", "pinned")
    assert [*found] == [("llm", True), ("llm", False)]


def test_a_queue_that_the_setting_or_the_registry_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidTask, match="'gpu' is not valid for backend"):
        task.using(queue_name="gpu")
    unlisted = task.using(queue_name="gpu", backend="other")
    with pytest.raises(InvalidTask, match="'gpu'"):
        unlisted.enqueue(**ARGUMENTS)
    make_queue("gpu")
    assert unlisted.enqueue(**ARGUMENTS).task.queue_name == "gpu"


def test_what_is_rolled_back_is_not_sent() -> None:
    with transaction.atomic():
        result = task.enqueue(**ARGUMENTS)
        transaction.set_rollback(True)
    with pytest.raises(TaskResultDoesNotExist):
        task.get_result(result.id)


@pytest.mark.django_db(transaction=True)
def test_all_of_it_works_in_asynchronous_code() -> None:
    async def sent() -> Any:
        result = await task.aenqueue(**ARGUMENTS)
        found = await task.aget_result(result.id)
        await result.arefresh()
        return result, found

    result, found = async_to_sync(sent)()
    assert result == found


def test_a_result_is_found_again_with_the_task_as_it_was_enqueued() -> None:
    moment = timezone.now() + dt.timedelta(hours=1)
    result = task.using(priority=33, queue_name="llm", run_after=moment).enqueue(**ARGUMENTS)
    assert task.get_result(result.id) == result
    assert task.using(backend="other").enqueue(**ARGUMENTS).task.backend == "other"


def test_results_of_others_are_none_of_a_backends_own() -> None:
    result = task.enqueue(**ARGUMENTS)
    with pytest.raises(TaskResultMismatch):
        declared_tasks.unknown.get_result(result.id)
    by_name = OutboxMessage.objects.create(task_name=TASK)
    for backend, result_id in [("other", result.id), ("default", str(by_name.pk)), ("default", "123")]:
        with pytest.raises(TaskResultDoesNotExist, match=result_id):
            task_backends[backend].get_result(result_id)


def test_a_result_is_what_the_collector_has_stored() -> None:
    result = task.enqueue(**ARGUMENTS)
    settle(result, "SUCCESS", {"summary": "Cats."})
    result.refresh()
    assert (result.status, result.return_value) == ("SUCCESSFUL", {"summary": "Cats."})
    assert (result.is_finished, result.attempts, result.worker_ids) == (True, 1, ["w1"])
    assert result.finished_at is not None
    StoredResult.objects.all().delete()
    with pytest.raises(TaskResultDoesNotExist):
        result.refresh()


def test_a_failure_names_the_workers_exception() -> None:
    result = task.enqueue(**ARGUMENTS)
    raised = {"exc_type": "ZeroDivisionError", "exc_message": ["by zero"], "exc_module": "builtins"}
    settle(result, "FAILURE", raised, traceback="Traceback: by zero")
    result.refresh()
    [error] = result.errors
    assert (result.status, error.exception_class, error.traceback) == (
        "FAILED",
        ZeroDivisionError,
        "Traceback: by zero",
    )
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value


@pytest.mark.parametrize(
    ("state", "status"), [("STARTED", "RUNNING"), ("RETRY", "READY"), ("RECEIVED", "READY")]
)
def test_a_worker_that_tells_the_database_shows_what_it_is_doing(state: str, status: str) -> None:
    result = task.enqueue(**ARGUMENTS)
    settle(result, state)
    result.refresh()
    assert (result.status, result.finished_at) == (status, None)


@pytest.mark.parametrize(
    ("status", "error", "shown"),
    [
        ("dead", "The broker refused it.", "The broker refused it."),
        ("cancelled", "", "The message is cancelled."),
    ],
)
def test_a_message_that_will_not_be_published_has_failed(status: str, error: str, shown: str) -> None:
    result = task.enqueue(**ARGUMENTS)
    OutboxMessage.objects.update(status=status, last_error=error)
    result.refresh()
    assert (result.status, [each.traceback for each in result.errors]) == ("FAILED", [shown])
    assert result.errors[0].exception_class.__name__ == "DispatchError"


def test_djangos_signals_tell_that_a_task_was_enqueued_and_that_it_has_finished(heard: list[Any]) -> None:
    result = task.enqueue(**ARGUMENTS)
    message = settle(result, "SUCCESS", 42)
    stored = StoredResult.objects.get()
    dispatch_task_finished.send(sender=OutboxMessage, message=message, result=stored, using="default")
    message.headers["django_task"]["func"] = "no.such.function"
    dispatch_task_finished.send(sender=OutboxMessage, message=message, result=stored, using="default")
    message.headers.clear()
    dispatch_task_finished.send(sender=OutboxMessage, message=message, result=stored, using="default")
    [enqueued, finished] = heard
    assert enqueued == (task_enqueued, "DispatchBackend", result)
    assert finished[:2] == (task_finished, "DispatchBackend")
    assert (finished[2].id, finished[2].return_value) == (result.id, 42)


def test_its_how_to_works_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    setting, declaration, call, question = (block.text for block in blocks("django-tasks"))
    names: dict[str, Any] = {}
    exec(setting, names)
    for name, text in (("notes", ""), ("notes.tasks", declaration)):
        module = ModuleType(name)
        exec(text, vars(module))
        monkeypatch.setitem(sys.modules, name, module)
    with override_settings(TASKS=names["TASKS"]):
        exec(call, names)
        assert settle(names["result"], "SUCCESS", {"summary": "Cats sleep."}).task_name == TASK
        refresh, told = question.splitlines()
        exec(refresh, names)
        assert eval(told, names) == ("SUCCESSFUL", {"summary": "Cats sleep."})
