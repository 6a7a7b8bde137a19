"""One effect for each message, however often it arrives: real workers on real brokers."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import uuid
from contextlib import closing
from pathlib import Path

import pytest

from worker import once
from worker.database import transaction
from worker.tasks.ledger import credit_account

NAME = "worker.tasks.ledger.credit_account"


@pytest.fixture
def database(tmp_path, monkeypatch):
    path = tmp_path / "worker.sqlite3"
    monkeypatch.setenv("WORKER_DATABASE", str(path))
    return path


def entries(path: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT account, cents FROM entries").fetchall()


def credit(task_id: str, **kwargs):
    return credit_account.apply(kwargs={"account": "7", "cents": 5} | kwargs, task_id=task_id)


def test_a_message_that_comes_again_changes_nothing_and_returns_the_same(database):
    results = [credit("one").get(), credit("one").get()]
    assert results == [{"account": "7", "cents": 5}] * 2
    assert entries(database) == [("7", 5)]


def test_another_message_has_an_effect_of_its_own(database):
    credit("one")
    assert credit("two").get() == {"account": "7", "cents": 10}


def test_another_consumer_of_the_same_message_has_an_effect_of_its_own(database):
    with transaction() as connection:
        found = [once.processed(connection, consumer, "one") for consumer in ("a", "b", "a")]
    assert found == [False, False, True]


def test_an_effect_that_fails_leaves_no_mark(database):
    with pytest.raises(sqlite3.IntegrityError):
        credit("one", cents=None).get()
    assert credit("one").get() == {"account": "7", "cents": 5}


def test_copies_that_run_at_the_same_time_wait_for_each_other(database):
    with transaction():
        pass  # the tables are there
    threads = [threading.Thread(target=credit, args=("one",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert entries(database) == [("7", 5)]


def send(site, task_id: str) -> None:
    site.sender.send_task(NAME, kwargs={"account": "7", "cents": 5}, task_id=task_id)


def result(site, task_id: str) -> dict[str, object]:
    return json.loads((site.folder / "results" / f"celery-task-meta-{task_id}").read_text())


def test_one_message_published_three_times_has_one_effect(site):
    worker = site.start("--concurrency", "2")
    task_id = str(uuid.uuid4())
    for _ in range(3):
        send(site, task_id)
    worker.says(rf"{NAME}\[{task_id}\] succeeded", times=3)
    assert entries(site.database) == [("7", 5)]
    assert result(site, task_id)["result"] == {"account": "7", "cents": 5}


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["process", "worker"])
def test_a_crash_between_effect_and_acknowledgement_leaves_one_effect(site, victim):
    crash = site.folder / "crash"
    environ = {"CRASH": str(crash), "VICTIM": victim}
    worker = site.start("--concurrency", "1", app="crashing", **environ)
    task_id = str(uuid.uuid4())
    send(site, task_id)
    if victim == "worker":
        assert worker.process.wait(30) < 0, "the worker was killed"
        assert entries(site.database) == [("7", 5)], "before the message came again"
        time.sleep(1.5)  # Redis: a worker gives back at its start what is past the visibility timeout by then
        worker = site.start("--concurrency", "1", app="crashing", **environ)
    worker.says(rf"{NAME}\[{task_id}\] succeeded")
    assert crash.exists()
    assert entries(site.database) == [("7", 5)]
    assert result(site, task_id)["result"] == {"account": "7", "cents": 5}


@pytest.fixture
def postgresql():
    psycopg = pytest.importorskip("psycopg")
    url = os.environ.get("TEST_POSTGRESQL_URL", "postgres://postgres@127.0.0.1:5432/postgres")
    try:
        connection = psycopg.connect(url, connect_timeout=2)
    except psycopg.OperationalError:
        pytest.skip("PostgreSQL does not answer")
    schema = f"stub_{uuid.uuid4().hex[:12]}"
    options = {"options": f"-c search_path={schema}"}
    with connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        connection.commit()
        yield lambda: psycopg.connect(url, **options)
        connection.execute(f"DROP SCHEMA {schema} CASCADE")


def test_on_postgresql_a_copy_waits_for_the_first_and_takes_its_place_if_it_fails(postgresql):
    mark = once.MARK.replace("?", "%s")
    answers = {}

    def copy(task_id):
        with postgresql() as second:
            answers[task_id] = second.execute(mark, ("a", task_id)).rowcount

    with postgresql() as first:
        first.execute(once.TABLE)
        first.commit()
        for task_id, end in (("kept", first.commit), ("failed", first.rollback)):
            assert first.execute(mark, ("a", task_id)).rowcount == 1
            thread = threading.Thread(target=copy, args=(task_id,))
            thread.start()
            thread.join(0.3)
            assert thread.is_alive(), "the copy waits"
            end()
            thread.join(10)
    assert answers == {"kept": 0, "failed": 1}
