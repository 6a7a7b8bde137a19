"""Many results in one transaction: what goes wrong with one costs only that one."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_results.models import TaskResult

from dispatch.api import Call, send_many, task_finished
from dispatch.models import OutboxMessage
from dispatch.models.database import database_now
from dispatch.results import Collector, handling, task_results
from project.notes.models import Note, Tag
from tests.support.registry import ARGUMENTS, TASK, make_registry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("at_each_sweep")]

MANY = 12
DONE = "2026-01-01T00:00:00+00:00"


@pytest.fixture(autouse=True)
def backend(
    broker_settings: Callable[..., None], tmp_path_factory: pytest.TempPathFactory, transactional_db: None
) -> Iterator[Any]:
    url = f"file://{tmp_path_factory.mktemp('results')}"
    broker_settings("memory://", url, BACKOFF_BASE=60)
    make_registry()
    with Celery("worker", backend=url, set_as_current=False) as app:
        yield app.backend


@pytest.fixture
def finished(backend: Any) -> Callable[[int], list[str]]:
    """Return a function that has that many messages end, in the order in which they are handled."""

    def make(count: int) -> list[str]:
        ids = [str(each.pk) for each in send_many([Call(TASK, kwargs=ARGUMENTS) for _ in range(count)])]
        for at, task_id in enumerate(ids):
            published = database_now() - dt.timedelta(seconds=1 - at / 100)
            OutboxMessage.objects.filter(pk=task_id).update(status="published", published_at=published)
            stored = {"status": "SUCCESS", "result": at, "date_done": DONE}
            backend.set(backend.get_key_for_task(task_id), json.dumps(stored))
        return ids

    return make


@pytest.fixture
def receive() -> Iterator[Callable[[Callable[..., None]], None]]:
    """Return a function that connects a receiver, which is given the place of a result among all."""

    def connect(receiver: Callable[..., None]) -> None:
        def call(*, message: OutboxMessage, result: TaskResult, **_: Any) -> None:
            receiver(int(result.result or ""), message)

        task_finished.disconnect(dispatch_uid="test")
        task_finished.connect(call, weak=False, dispatch_uid="test")

    yield connect
    task_finished.disconnect(dispatch_uid="test")


def stored() -> list[int]:
    return sorted(int(each) for each in TaskResult.objects.values_list("result", flat=True) if each)


def awaited() -> set[str]:
    return {str(pk) for pk in OutboxMessage.objects.awaiting_result().values_list("pk", flat=True)}


def all_but(*odd: int) -> list[int]:
    return [at for at in range(MANY) if at not in odd]


def note(at: int, _message: object) -> None:
    Note.objects.create(title=str(at))


def noted() -> list[int]:
    return sorted(int(title) for title in Note.objects.values_list("title", flat=True))


@pytest.mark.parametrize("is_heard", [False, True], ids=["without receivers", "with a receiver"])
def test_many_results_need_no_more_transactions_than_one(
    finished: Callable[[int], list[str]],
    receive: Any,
    monkeypatch: pytest.MonkeyPatch,
    is_heard: bool,
) -> None:
    monkeypatch.setattr(handling, "LONGEST", 60.0)
    if is_heard:
        receive(lambda at, message: None)
    finished(MANY)
    collector = Collector()
    collector.heart.beat()  # not one of the results' writes
    with CaptureQueriesContext(connection) as queries:
        assert collector.sweep() == MANY
    writes = [each["sql"] for each in queries if each["sql"].startswith(("INSERT", "UPDATE", "DELETE"))]
    assert len(writes) == 2, "the results, and the marks"
    assert stored() == all_but()
    assert awaited() == set()


def test_a_result_has_the_columns_that_django_celery_results_gives_it(
    finished: Callable[[int], list[str]],
) -> None:
    [task_id] = finished(1)
    before = timezone.now()
    Collector().sweep()
    row = TaskResult.objects.get()
    assert row.as_dict() == {
        "task_id": task_id,
        "task_name": TASK,
        "task_args": "[]",
        "task_kwargs": row.task_kwargs,
        "status": "SUCCESS",
        "result": "0",
        "date_done": dt.datetime.fromisoformat(DONE),
        "traceback": None,
        "meta": None,
        "worker": None,
    }
    assert (row.content_type, row.content_encoding, row.periodic_task_name) == (
        "application/json",
        "utf-8",
        None,
    )
    assert before <= row.date_created <= timezone.now()


def test_a_row_that_is_there_is_overwritten_but_for_what_is_not_of_the_result(
    finished: Callable[[int], list[str]],
) -> None:
    ids = finished(MANY)
    TaskResult.objects.create(task_id=ids[3], periodic_task_name="nightly", result='"old"')
    created = TaskResult.objects.get().date_created
    assert Collector().sweep() == MANY
    row = TaskResult.objects.get(task_id=ids[3])
    assert (row.result, row.periodic_task_name, row.date_created) == ("3", "nightly", created)


def test_results_longer_than_a_statement_may_be_are_stored_by_several(
    finished: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_results, "MOST_TEXT", 200)
    finished(MANY)
    assert Collector().sweep() == MANY
    assert stored() == all_but()


def test_a_receiver_that_fails_costs_its_own_result_alone(
    finished: Callable[[int], list[str]], receive: Any
) -> None:
    called: list[int] = []

    def fail(at: int, message: object) -> None:
        called.append(at)
        note(at, message)
        if at in (2, 5):
            raise RuntimeError(f"not {at}")

    receive(fail)
    ids = finished(MANY)
    collector = Collector()
    assert collector.sweep() == MANY - 2
    assert stored() == noted() == all_but(2, 5)
    assert awaited() == {ids[2], ids[5]}
    assert "RuntimeError: not 5" in OutboxMessage.objects.get(pk=ids[5]).last_error
    assert called == [0, 1, 2, *all_but()], "once more from the start, then nobody is called again"
    assert collector.sweep() == 0, "it waits"
    receive(note)  # in place of the other
    collector.results.not_before.clear()
    assert collector.sweep() == 2
    assert stored() == noted() == all_but()


def test_while_a_receiver_fails_for_one_nobody_else_is_called_again(
    finished: Callable[[int], list[str]], receive: Any
) -> None:
    called: list[int] = []

    def fail(at: int, _message: object) -> None:
        called.append(at)
        if at == 5:
            raise RuntimeError

    receive(fail)
    collector = Collector()
    counts = []
    for _ in range(3):
        called.clear()
        finished(MANY)
        collector.sweep()
        counts.append({at: called.count(at) for at in all_but(5)})
    assert counts == [{at: 2 if at < 5 else 1 for at in all_but(5)}, *[dict.fromkeys(all_but(5), 1)] * 2]


def test_the_row_that_a_result_would_have_overwritten_stays_if_its_receiver_fails(
    finished: Callable[[int], list[str]], receive: Any
) -> None:
    def fail(at: int, _message: object) -> None:
        if at == 3:
            raise RuntimeError

    receive(fail)
    ids = finished(MANY)
    TaskResult.objects.create(task_id=ids[3], result="3000", worker="other")
    before = TaskResult.objects.values().get()
    assert Collector().sweep() == MANY - 1
    assert TaskResult.objects.values().get(task_id=ids[3]) == before


def test_what_is_found_wrong_at_the_commit_costs_its_own_result_alone(
    finished: Callable[[int], list[str]], receive: Any
) -> None:
    tag = Tag.objects.create(name="t")

    def refer(at: int, message: object) -> None:
        note(at, message)
        if at == 4:
            Note.tags.through.objects.create(note_id=uuid4(), tag_id=tag.pk)  # PostgreSQL looks at the commit

    receive(refer)
    ids = finished(MANY)
    assert Collector().sweep() == MANY - 1
    assert stored() == noted() == all_but(4)
    assert OutboxMessage.objects.get(pk=ids[4]).last_error.startswith("A receiver of task_finished failed")


def broken() -> None:
    transaction.set_rollback(True)


def swallowed() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM no_such_table")
    except DatabaseError:
        pass


@pytest.mark.parametrize("leave", [broken, swallowed])
def test_a_receiver_that_leaves_its_transaction_broken_costs_its_own_result_alone(
    finished: Callable[[int], list[str]], receive: Any, leave: Callable[[], None]
) -> None:
    if leave is swallowed and connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL gives up a transaction after an error")

    def leave_it(at: int, message: object) -> None:
        note(at, message)
        if at == 4:
            leave()

    receive(leave_it)
    ids = finished(MANY)
    assert Collector().sweep() == MANY - 1
    assert noted() == all_but(4)
    assert awaited() == {ids[4]}


def test_a_receiver_that_ends_its_connection_costs_its_own_result_alone(
    finished: Callable[[int], list[str]], receive: Any
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("it has no server that could end it")

    def kill(at: int, message: object) -> None:
        note(at, message)
        if at == 4:
            is_postgresql = connection.vendor == "postgresql"
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pg_backend_pid())"
                    if is_postgresql
                    else "KILL CONNECTION_ID()"
                )

    receive(kill)
    ids = finished(MANY)
    assert Collector().sweep() == MANY - 1
    assert noted() == all_but(4)
    assert awaited() == {ids[4]}


def test_functions_for_after_the_commit_are_called_once_each_but_for_what_was_undone(
    finished: Callable[[int], list[str]], receive: Any, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[int] = []

    def later(at: int, _message: object) -> None:
        def call() -> None:
            called.append(at)
            if at == 2:
                raise RuntimeError("no mail today")

        transaction.on_commit(call)
        if at == 3:
            raise RuntimeError

    receive(later)
    ids = finished(MANY)
    assert Collector().sweep() == MANY - 1
    assert sorted(called) == all_but(3)
    assert f"on_commit failed for {ids[2]}" in caplog.text


def test_a_transaction_calls_no_further_receiver_when_it_has_taken_long(
    finished: Callable[[int], list[str]], receive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handling, "LONGEST", 0.0)
    begun: list[int] = []
    receive(lambda at, message: transaction.on_commit(lambda: begun.append(len(called))) or called.append(at))
    called: list[int] = []
    finished(MANY)
    assert Collector().sweep() == MANY
    assert sorted(called) == all_but(), "each once"
    assert begun == [*range(1, MANY + 1)], "each after its own commit"


def test_a_collector_that_is_told_to_stop_leaves_the_rest_awaited(
    finished: Callable[[int], list[str]], receive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handling, "LONGEST", 0.0)
    collector = Collector()
    receive(lambda at, message: collector.stop.set())
    finished(MANY)
    assert collector.sweep() == 1
    assert len(awaited()) == MANY - 1
    assert TaskResult.objects.count() == 1


@pytest.mark.parametrize("odd", [0, 5, MANY - 1])
def test_one_that_the_database_refuses_is_found_among_many(
    finished: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch, odd: int
) -> None:
    write = task_results.write
    statements: list[int] = []

    def refuse(rows: Any, using: str) -> None:
        statements.append(len(rows))
        if any(row["result"] == str(odd) for row in rows):
            raise DatabaseError("no")
        write(rows, using)

    monkeypatch.setattr(task_results, "write", refuse)
    finished(MANY)
    collector = Collector()
    assert collector.sweep() == MANY - 1
    assert stored() == all_but(odd)
    assert len(statements) < MANY, "not one by one"


def test_what_a_database_refuses_at_the_commit_is_that_results_own_failure(
    finished: Callable[[int], list[str]], receive: Any
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL has constraints of one's own that are checked at the commit")

    def leave_a_row(at: int, message: OutboxMessage) -> None:
        Note.objects.create(title=str(at))

    receive(leave_a_row)
    [first, *_] = finished(3)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql "
            "AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;"
            "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON notes_note DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW WHEN (NEW.title = '0') EXECUTE FUNCTION refuse()"
        )
    try:
        assert Collector().sweep() == 2
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER refuse ON notes_note; DROP FUNCTION refuse()")
    assert awaited() == {first}
    assert noted() == [1, 2]
    assert "not this one" in OutboxMessage.objects.get(pk=first).last_error
