"""Results that no worker should have stored, or no table can hold, among others that are fine."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from celery import Celery
from django.db import DataError, OperationalError, connection
from django_celery_results.models import TaskResult
from hypothesis import given
from hypothesis import strategies as st

from dispatch.api import send_task, task_finished
from dispatch.client.result_backend import READY_STATES
from dispatch.models import OutboxMessage, TaskDefinition
from dispatch.models.database import database_now
from dispatch.results import Collector, task_results
from dispatch.results.handling import STORE_ATTEMPTS
from tests.support.odd_values import DEEP, JSON, LONG, TEXTS, write
from tests.support.registry import ARGUMENTS, TASK, make_registry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("at_each_sweep")]

FINE = {"status": "SUCCESS", "result": 1, "traceback": None, "date_done": "2026-01-01T00:00:00+00:00"}
ODD = {
    "no JSON": "{",
    "no text": b"\xff\xfe",
    "pickled": pickle.dumps(FINE),
    "null": "null",
    "a list": "[]",
    "a text": '"SUCCESS"',
    "a number": "5",
    "without a status": "{}",
    "too deep": DEEP,
    "too long a number": f'{{"status": "SUCCESS", "result": {LONG}}}',
    **{
        f"{name} {value!r}": json.dumps({**FINE, name: value})
        for name, value in [
            ("status", ["SUCCESS"]),
            ("status", None),
            ("status", 5),
            ("date_done", ""),
            ("date_done", "yesterday"),
            ("date_done", 5),
            ("date_done", ["2026-01-01"]),
            ("date_done", "0001-01-01T00:00:00+14:00"),
            ("date_done", "9999-12-31T23:59:59-14:00"),
            ("traceback", ["Traceback"]),
            ("traceback", {}),
            ("worker", ["celery@one"]),
            ("worker", 5),
        ]
    },
}


@pytest.fixture(scope="module")
def backend_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"file://{tmp_path_factory.mktemp('results')}"


@pytest.fixture(autouse=True)
def registry(broker_settings: Callable[..., None], backend_url: str) -> None:
    broker_settings("memory://", backend_url, BACKOFF_BASE=60)
    make_registry()


@pytest.fixture
def backend(backend_url: str) -> Iterator[Any]:
    with Celery("worker", backend=backend_url, set_as_current=False) as app:
        yield app.backend


@pytest.fixture
def blamed(caplog: pytest.LogCaptureFixture) -> Callable[[], bool]:
    return lambda: "A receiver of task_finished failed" in caplog.text


def published() -> OutboxMessage:
    message = send_task(TASK, kwargs=ARGUMENTS)
    OutboxMessage.objects.filter(pk=message.pk).update(status="published", published_at=database_now())
    return message


def store(backend: Any, message: OutboxMessage, payload: str | bytes) -> None:
    backend.set(backend.get_key_for_task(str(message.pk)), payload)


def three(backend: Any, payload: str | bytes) -> list[OutboxMessage]:
    messages = [published() for _ in range(3)]
    for message, stored in zip(messages, [json.dumps(FINE), payload, json.dumps(FINE)], strict=True):
        store(backend, message, stored)
    return messages


def kept(message: OutboxMessage) -> tuple[str, Any]:
    row = TaskResult.objects.get(task_id=message.pk)
    return row.status, json.loads(row.result)


@pytest.mark.parametrize("payload", ODD.values(), ids=ODD)
def test_an_odd_result_is_a_failure_of_its_task_with_the_reason_and_its_neighbours_are_handled(
    backend: Any, payload: str | bytes, blamed: Callable[[], bool]
) -> None:
    first, odd, last = three(backend, payload)
    assert Collector().sweep() == 3
    status, found = kept(odd)
    assert (status, found["exc_type"]) == ("FAILURE", "UnreadableResult")
    odd.refresh_from_db()
    assert odd.last_error.startswith("The worker stored a result that cannot be read: ")
    assert kept(first) == kept(last) == ("SUCCESS", 1)
    assert not blamed()


@given(st.one_of(TEXTS, st.tuples(st.sampled_from([*FINE, "worker", "children"]), JSON)))
def test_whatever_is_stored_its_neighbours_are_handled(backend_url: str, odd: str | tuple[str, Any]) -> None:
    OutboxMessage.objects.all().delete()
    TaskResult.objects.all().delete()
    payload = odd if isinstance(odd, str) else json.dumps(FINE | dict([odd]))
    with Celery("worker", backend=backend_url, set_as_current=False) as app:
        first, message, last = three(app.backend, payload.encode(errors="surrogatepass"))
    collector = Collector()
    collector.sweep()
    assert kept(first) == kept(last) == ("SUCCESS", 1)
    ended = TaskResult.objects.filter(task_id=message.pk)
    is_waiting = isinstance(odd, tuple) and odd[0] == "status" and isinstance(odd[1], str) and odd[1]
    assert ended.exists() or payload == "" or (is_waiting and odd[1] not in READY_STATES)
    assert not collector.results.failures


def test_a_result_of_a_row_that_was_changed_by_hand_is_stored_without_its_arguments(backend: Any) -> None:
    TaskDefinition.objects.update(sensitive_parameters=["text"])
    _, odd, _ = three(backend, json.dumps(FINE))
    write(odd, "args", "[")
    assert Collector().sweep() == 3
    assert TaskResult.objects.get(task_id=odd.pk).task_kwargs is None


def test_a_node_name_and_its_characters_fit_their_column(backend: Any) -> None:
    _, odd, _ = three(backend, json.dumps({**FINE, "worker": "\ud800\x00" + "w" * 200}))
    assert Collector().sweep() == 3
    assert TaskResult.objects.get(task_id=odd.pk).worker == "\ufffd\ufffd" + "w" * 98


@pytest.fixture
def refusing(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[dict[str, Any]], Exception | None]], None]:
    """Let the database refuse what a function returns an error for."""
    write_rows = task_results.write

    def refuse(judge: Callable[[dict[str, Any]], Exception | None]) -> None:
        def write(rows: Sequence[dict[str, Any]], using: str) -> None:
            for row in rows:
                if error := judge(row):
                    raise error
            write_rows(rows, using)

        monkeypatch.setattr(task_results, "write", write)

    return refuse


def test_what_the_table_has_no_letters_for_is_stored_as_json_that_means_the_same(
    backend: Any, refusing: Any, blamed: Callable[[], bool]
) -> None:
    refusing(lambda columns: None if columns["result"].isascii() else DataError("Incorrect string value"))
    _, odd, _ = three(backend, json.dumps({**FINE, "result": "Grüße 😀", "traceback": "😀"}))
    assert Collector().sweep() == 3
    assert kept(odd) == ("SUCCESS", "Grüße 😀")
    assert TaskResult.objects.get(task_id=odd.pk).traceback == r"\ud83d\ude00"
    assert not blamed()


def test_what_cannot_be_stored_is_told_once_on_the_message_as_what_it_is(
    backend: Any, refusing: Any, blamed: Callable[[], bool]
) -> None:
    refusing(lambda columns: DataError("string or blob too big") if len(columns["result"]) > 500 else None)
    _, odd, _ = three(backend, json.dumps({**FINE, "result": "x" * 1000}))
    heard: list[str] = []
    task_finished.connect(lambda result, **_: heard.append(result.status), weak=False, dispatch_uid="test")
    try:
        assert [Collector().sweep(), Collector().sweep()] == [3, 0]
    finally:
        task_finished.disconnect(dispatch_uid="test")
    odd.refresh_from_db()
    assert odd.last_error == "The result cannot be stored: DataError: string or blob too big"
    assert kept(odd)[1] == {"exc_type": "UnreadableResult", "exc_message": [odd.last_error]}
    assert sorted(heard) == ["FAILURE", "SUCCESS", "SUCCESS"]
    assert not blamed()


def test_what_the_database_may_take_another_time_is_stored_again_before_it_is_given_up(
    backend: Any, refusing: Any, blamed: Callable[[], bool]
) -> None:
    refusing(lambda columns: OperationalError("deadlock") if len(columns["result"]) > 500 else None)
    _, odd, _ = three(backend, json.dumps({**FINE, "result": "x" * 1000}))
    collector, handled = Collector(), []
    for _ in range(STORE_ATTEMPTS + 2):
        handled.append(collector.sweep())
        collector.results.not_before.clear()
    assert handled == [2, 0, 0, 1, 0]
    odd.refresh_from_db()
    assert odd.last_error == "The result cannot be stored: OperationalError: deadlock"
    assert not blamed()


def test_a_result_is_stored_once_the_database_is_over_its_trouble(backend: Any, refusing: Any) -> None:
    errors: list[Exception] = [OperationalError("deadlock")] * 2
    refusing(lambda columns: errors.pop() if errors else None)
    message = published()
    store(backend, message, json.dumps(FINE))
    collector = Collector()
    assert collector.sweep() == 0
    collector.results.not_before.clear()
    assert collector.sweep() == 1
    assert kept(message) == ("SUCCESS", 1)


@pytest.fixture
def mariadb() -> Any:
    if connection.vendor != "mysql":
        pytest.skip("only MariaDB has such limits")
    return connection


@pytest.fixture
def old_letters(mariadb: Any) -> Iterator[None]:
    """Tables in the character set that MariaDB called utf8 for long."""

    def convert(letters: str) -> None:
        with mariadb.cursor() as cursor:
            for model in (TaskResult, OutboxMessage):
                cursor.execute(f"ALTER TABLE {model._meta.db_table} CONVERT TO CHARACTER SET {letters}")

    convert("utf8mb3")
    yield
    convert("utf8mb4")


def test_characters_of_four_bytes_are_stored_in_a_table_of_three(
    backend: Any, old_letters: None, blamed: Callable[[], bool]
) -> None:
    _, odd, _ = three(backend, json.dumps({**FINE, "result": {"text": "😀"}, "worker": "w😀"}))
    assert Collector().sweep() == 3
    assert kept(odd) == ("SUCCESS", {"text": "😀"})
    assert not blamed()


def test_a_receivers_error_of_any_letters_is_told_in_a_table_of_three_bytes(
    backend: Any, old_letters: None
) -> None:
    message = published()
    store(backend, message, json.dumps(FINE))

    def fail(**_: Any) -> None:
        raise RuntimeError("no 😀")

    task_finished.connect(fail, dispatch_uid="test")
    try:
        assert Collector().sweep() == 0
    finally:
        task_finished.disconnect(dispatch_uid="test")
    message.refresh_from_db()
    assert message.last_error.endswith(r"RuntimeError: no \ud83d\ude00")


def test_a_result_that_is_larger_than_a_packet_is_told_on_its_message(
    backend: Any, mariadb: Any, blamed: Callable[[], bool]
) -> None:
    with mariadb.cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        [most] = cursor.fetchone()
    _, odd, _ = three(backend, json.dumps({**FINE, "result": "x" * most}))
    collector = Collector()
    for _ in range(STORE_ATTEMPTS + 1):
        collector.sweep()
        collector.results.not_before.clear()
        collector._schedules.clear()  # so large a message is no longer young
    odd.refresh_from_db()
    assert odd.last_error.startswith("The result cannot be stored: ")
    assert TaskResult.objects.filter(status="SUCCESS").count() == 2
    assert not blamed()
