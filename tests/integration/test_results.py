"""From the worker's own result backend to TaskResult, each result handled once."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest
from celery import Celery
from django.db import connection, connections
from django.utils import timezone
from django_celery_results.models import TaskResult

from dispatch.api import result, send_task, task_finished
from dispatch.models import OutboxMessage, TaskDefinition
from dispatch.models.database import database_now
from dispatch.results import Collector
from project.notes.models import Note
from tests.support import servers
from tests.support.registry import ARGUMENTS, TASK, make_registry, make_trigger
from tests.support.result_backends import READS_SQL

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("at_each_sweep")]


@pytest.fixture(params=["redis", "file", "database"])
def backend_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return f"file://{tmp_path}" if request.param == "file" else f"db+sqlite:///{tmp_path}/results.sqlite3"


@pytest.fixture
def worker(
    backend_url: str, broker_settings: Callable[..., None], transactional_db: None
) -> Iterator[Celery]:
    """Stores results as a worker does, with Celery's own code."""
    broker_settings("memory://", backend_url, BACKOFF_BASE=60)
    make_registry()
    app = Celery("worker", backend=backend_url, set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def received() -> Iterator[list[tuple[str, str]]]:
    """What receivers of task_finished were called with."""
    calls: list[tuple[str, str]] = []

    def receive(*, message: OutboxMessage, result: TaskResult, **_: Any) -> None:
        calls.append((str(message.pk), result.status))

    task_finished.connect(receive, weak=False, dispatch_uid="test")
    yield calls
    task_finished.disconnect(dispatch_uid="test")


def published(**options: Any) -> OutboxMessage:
    message = send_task(TASK, kwargs=ARGUMENTS, **options)
    OutboxMessage.objects.filter(pk=message.pk).update(status="published", published_at=database_now())
    return message


def test_a_success_is_stored_with_its_data(worker: Celery, received: list[tuple[str, str]]) -> None:
    message = published()
    worker.backend.store_result(str(message.pk), {"summary": "Grüße"}, "SUCCESS")
    assert Collector().sweep() == 1
    row = TaskResult.objects.get(task_id=message.pk)
    assert (row.status, row.task_name, json.loads(row.result)) == ("SUCCESS", TASK, {"summary": "Grüße"})
    assert json.loads(row.task_kwargs) == ARGUMENTS
    assert received == [(str(message.pk), "SUCCESS")]


def test_a_failure_keeps_the_exception_and_its_traceback(worker: Celery) -> None:
    message = published()
    worker.backend.store_result(
        str(message.pk), ValueError("no such note"), "FAILURE", traceback="Traceback …"
    )
    Collector().sweep()
    row = TaskResult.objects.get(task_id=message.pk)
    assert (row.status, row.traceback) == ("FAILURE", "Traceback …")
    kept = json.loads(row.result)
    assert kept == {"exc_type": "ValueError", "exc_message": ["no such note"], "exc_module": "builtins"}


@pytest.fixture
def own_postgresql(unique: str) -> Iterator[str]:
    """A database for results on the real PostgreSQL, whose sessions are not in UTC."""
    import psycopg

    url = servers.POSTGRESQL.require()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{unique}"')
        connection.execute(f"ALTER DATABASE \"{unique}\" SET timezone TO 'America/New_York'")
        yield url.replace("postgres://", "db+postgresql+psycopg://").rpartition("/")[0] + f"/{unique}"
        connection.execute(f'DROP DATABASE "{unique}" WITH (FORCE)')


@pytest.mark.one_database
def test_the_end_of_a_task_in_postgresql_is_local_to_its_sessions(
    own_postgresql: str, broker_settings: Callable[..., None]
) -> None:
    entry = {
        "URL": "memory://",
        "RESULT_BACKEND": own_postgresql,
        "CONF": READS_SQL | {"timezone": "Asia/Tokyo"},
    }
    broker_settings("", brokers={"default": entry})
    make_registry()
    message = published()
    app = Celery("worker", backend=own_postgresql, set_as_current=False)
    app.conf.update(timezone="Asia/Tokyo")
    before = timezone.now()
    app.backend.store_result(str(message.pk), 1, "SUCCESS")
    assert Collector().sweep() == 1
    assert before <= TaskResult.objects.get(task_id=message.pk).date_done <= timezone.now()


def test_a_result_is_handled_once(worker: Celery, received: list[tuple[str, str]]) -> None:
    message = published()
    worker.backend.store_result(str(message.pk), 1, "SUCCESS")
    collector = Collector()
    assert [collector.sweep(), collector.sweep(), Collector().sweep()] == [1, 0, 0]
    assert len(received) == 1


def test_what_is_not_ready_is_asked_again(worker: Celery) -> None:
    message = published()
    worker.backend.store_result(str(message.pk), ValueError("again"), "RETRY")
    assert Collector().sweep() == 0
    worker.backend.store_result(str(message.pk), 1, "SUCCESS")
    assert Collector().sweep() == 1


@pytest.mark.parametrize("value", [{"__type__": "para", "__value__": 1}, [{"__type__": 1, "__value__": []}]])
def test_a_result_that_looks_like_kombus_own_is_stored_and_stops_no_other(worker: Celery, value: Any) -> None:
    odd, plain = published(), published()
    for message, stored in ((odd, value), (plain, 1)):
        worker.backend.store_result(str(message.pk), stored, "SUCCESS")
    assert Collector().sweep() == 2
    kept = json.loads(TaskResult.objects.get(task_id=odd.pk).result)
    if "sqlite" in worker.backend.as_uri() and kombu.VERSION >= (
        5,
        6,
    ):  # Celery itself reads that one, and cannot
        assert kept["exc_type"] == "UnreadableResult"
    else:
        assert kept == value
    assert TaskResult.objects.get(task_id=plain.pk).result == "1"


@pytest.mark.parametrize("text", ["bad \x00 byte", "half \ud800 pair"], ids=["NUL", "surrogate"])
def test_results_and_tracebacks_of_any_characters_are_stored(worker: Celery, text: str) -> None:
    if "ud800" in ascii(text) and "sqlite" in worker.backend.as_uri():
        pytest.skip("Celery's own database backend cannot store half a pair")
    success, failure = published(), published()
    worker.backend.store_result(str(success.pk), {"text": text}, "SUCCESS")
    worker.backend.store_result(str(failure.pk), ValueError(text), "FAILURE", traceback=f"ValueError: {text}")
    assert Collector().sweep() == 2
    kept = TaskResult.objects.get(task_id=failure.pk)
    assert (kept.status, kept.traceback[:16]) == ("FAILURE", f"ValueError: {text}"[:16])
    assert json.loads(TaskResult.objects.get(task_id=success.pk).result)["text"][:4] == text[:4]


def test_what_no_reader_understands_is_a_failure_of_that_task_alone(worker: Celery) -> None:
    if not hasattr(worker.backend, "get_key_for_task"):
        pytest.skip("only backends of keys and values hold texts")
    broken, plain = published(), published()
    for message in (broken, plain):
        worker.backend.store_result(str(message.pk), 1, "SUCCESS")
    worker.backend.set(worker.backend.get_key_for_task(str(broken.pk)), b"{")
    assert Collector().sweep() == 2
    assert TaskResult.objects.get(task_id=broken.pk).status == "FAILURE"
    assert "cannot be read" in TaskResult.objects.get(task_id=broken.pk).result


def test_a_receiver_that_fails_undoes_the_result_and_is_called_again(worker: Celery) -> None:
    message = published()
    worker.backend.store_result(str(message.pk), 1, "SUCCESS")
    calls: list[int] = []

    def fail_once(**_: Any) -> None:
        Note.objects.create(title="half done")
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("not now")

    task_finished.connect(fail_once, dispatch_uid="test")
    try:
        collector = Collector()
        assert collector.sweep() == 0
        assert not TaskResult.objects.exists()
        assert not Note.objects.exists()
        assert "RuntimeError: not now" in OutboxMessage.objects.get().last_error
        collector.results.not_before.clear()
        assert collector.sweep() == 1
    finally:
        task_finished.disconnect(dispatch_uid="test")
    assert Note.objects.count() == 1
    assert OutboxMessage.objects.get().last_error == ""


def test_what_another_collector_handled_is_a_failure_of_this_one_no_longer(worker: Celery) -> None:
    message = published()
    worker.backend.store_result(str(message.pk), 1, "SUCCESS")

    def fail(**_: Any) -> None:
        raise RuntimeError("not now")

    collector = Collector()
    task_finished.connect(fail, dispatch_uid="test")
    collector.sweep()
    task_finished.disconnect(dispatch_uid="test")
    assert [*collector.results.failures] == [str(message.pk)]
    assert Collector().sweep() == 1
    collector.results.not_before.clear()
    collector.sweep()
    assert not collector.results.failures


def test_saves_of_receivers_fire_no_trigger(worker: Celery) -> None:
    make_trigger(TaskDefinition.objects.get(), "created", "updated")
    message = published()
    worker.backend.store_result(str(message.pk), 1, "SUCCESS")

    def save(**_: Any) -> None:
        Note.objects.create(title="from a receiver")

    task_finished.connect(save, dispatch_uid="test")
    try:
        Collector().sweep()
    finally:
        task_finished.disconnect(dispatch_uid="test")
    assert Note.objects.count() == 1
    assert OutboxMessage.objects.count() == 1


def test_an_ignored_result_is_not_asked_for(worker: Celery) -> None:
    message = published(ignore_result=True)
    worker.backend.store_result(str(message.pk), 1, "SUCCESS")
    assert Collector().sweep() == 0


def test_ids_are_asked_for_until_the_horizon(worker: Celery) -> None:
    message = published()
    worker.backend.store_result(str(message.pk), 1, "SUCCESS")
    OutboxMessage.objects.update(published_at=timezone.now() - dt.timedelta(days=2))
    assert Collector().sweep() == 0


def test_sensitive_arguments_are_masked_in_the_result(worker: Celery) -> None:
    TaskDefinition.objects.update(sensitive_parameters=["text"])
    message = published()
    worker.backend.store_result(str(message.pk), 1, "SUCCESS")
    Collector().sweep()
    assert json.loads(TaskResult.objects.get().task_kwargs) == {"note_id": "1", "text": "***"}


def test_api_result_is_celerys_own_async_result(worker: Celery) -> None:
    message = published()
    worker.backend.store_result(str(message.pk), {"summary": "S"}, "SUCCESS")
    assert result(message).get(timeout=5) == {"summary": "S"}
    assert result(str(message.pk)).state == "SUCCESS"


def test_two_collectors_handle_each_result_once(
    redis_url: str, broker_settings: Callable[..., None], received: list[tuple[str, str]]
) -> None:
    broker_settings("memory://", redis_url)
    make_registry()
    app = Celery("worker", backend=redis_url, set_as_current=False)
    ids = [str(published().pk) for _ in range(20)]
    for task_id in ids:
        app.backend.store_result(task_id, 1, "SUCCESS")
    handled: list[int] = []

    def collect() -> None:
        collector = Collector()
        for _ in range(3):
            handled.append(collector.sweep())
            collector.results.not_before.clear()
        connections.close_all()

    threads = [threading.Thread(target=collect) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    app.close()
    assert sum(handled) == len(ids)
    assert sorted(received) == sorted((task_id, "SUCCESS") for task_id in ids)


def test_a_result_backend_that_is_away_is_waited_for(broker_settings: Callable[..., None]) -> None:
    broker_settings("memory://", "redis://:secret@127.0.0.1:1/0")
    make_registry()
    published()
    collector = Collector()
    assert collector.sweep() == 0
    assert "default" in collector.backends.failures


def test_a_worker_that_writes_to_django_db_itself_is_supported(
    broker_settings: Callable[..., None], received: list[tuple[str, str]]
) -> None:
    broker_settings("memory://", "django-db")
    make_registry()
    message = published()
    TaskResult.objects.store_result(
        "application/json", "utf-8", str(message.pk), '{"summary": "S"}', "SUCCESS"
    )
    collector = Collector()
    assert [collector.sweep(), collector.sweep()] == [1, 0]
    assert received == [(str(message.pk), "SUCCESS")]
    assert TaskResult.objects.count() == 1


@pytest.mark.parametrize("moment", ["infinity", "2026-99-99 00:00"])
def test_a_row_of_a_worker_that_cannot_be_read_is_told_on_its_message_and_its_neighbours_are_handled(
    broker_settings: Callable[..., None], received: list[tuple[str, str]], moment: str
) -> None:
    if connection.vendor == "mysql" or (connection.vendor == "postgresql") != (moment == "infinity"):
        pytest.skip("this database refuses such a time")
    broker_settings("memory://", "django-db")
    make_registry()
    odd, fine = published(), published()
    for message in (odd, fine):
        TaskResult.objects.store_result("application/json", "utf-8", str(message.pk), "1", "SUCCESS")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE django_celery_results_taskresult SET date_done = %s WHERE task_id = %s",
            [moment, str(odd.pk)],
        )
    collector = Collector()
    assert [collector.sweep(), collector.sweep()] == [1, 0]
    assert received == [(str(fine.pk), "SUCCESS")]
    odd.refresh_from_db()
    assert odd.handled_at
    assert odd.last_error.startswith("The result cannot be read: ")
