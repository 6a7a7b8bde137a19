"""What relays and collectors tell of themselves, and what is seen of one that is killed."""

from __future__ import annotations

import datetime as dt
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.db import OperationalError, connection

from dispatch import health, heartbeats
from dispatch.api import send_task
from dispatch.heartbeats import Heart, Tally
from dispatch.models import MinuteCount, OutboxMessage, Process, TaskDefinition
from dispatch.models.database import database_now
from dispatch.relay import Relay
from dispatch.results import Collector
from project.notes.models import Note
from tests.support.databases import elsewhere
from tests.support.dead_servers import closed_port
from tests.support.processes import grow_old, make_process
from tests.support.registry import ARGUMENTS, TASK, make_queue, make_registry, make_trigger
from tests.support.stacks import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def task(broker_settings: Callable[..., None], redis_url: str, transactional_db: None) -> TaskDefinition:
    broker_settings(redis_url, redis_url)
    return make_registry()


@pytest.fixture
def heart(transactional_db: None) -> Heart:
    return Heart("default", Process.Kind.RELAY)


def beat(heart: Heart) -> None:
    heart._due = 0
    heart.beat()


def counts() -> dict[tuple[str, str], int]:
    rows = MinuteCount.objects.order_by("pk").values_list("queue", "outcome", "number")
    return {(queue, outcome): number for queue, outcome, number in rows}


# -- what the loops tell ------------------------------------------------------------------------------


def test_a_relay_tells_who_it_is_and_what_it_published(task: TaskDefinition) -> None:
    for _ in range(3):
        send_task(TASK, kwargs=ARGUMENTS)
    relay = Relay()
    relay.step()
    beat(relay.heart)
    [row] = Process.objects.all()
    assert (row.kind, row.host, row.pid, row.stopped_at) == ("relay", socket.gethostname(), os.getpid(), None)
    assert counts() == {("llm", "published"): 3}
    [line] = health.look("default").processes
    assert (line.state, line.did) == ("alive", {"published": 3})
    relay.close()
    row.refresh_from_db()
    assert abs(row.stopped_at - row.seen_at) < dt.timedelta(seconds=1)


def test_what_became_of_every_message_is_counted_under_its_queue(task: TaskDefinition, settings: Any) -> None:
    settings.DISPATCH = {**settings.DISPATCH, "MAX_ATTEMPTS": 1}
    unreadable = send_task(TASK, kwargs=ARGUMENTS)
    OutboxMessage.objects.filter(pk=unreadable.pk).update(kwargs="{")
    expired = send_task(TASK, kwargs=ARGUMENTS)
    OutboxMessage.objects.filter(pk=expired.pk).update(expires_at="2020-01-01 00:00Z")
    trigger = make_trigger(task, "created", "updated", coalesce=60)
    note = Note.objects.create(title="1", body="Words.")
    note.save()
    OutboxMessage.objects.filter(origin_name=trigger.name).update(available_at=database_now())
    Relay().drain()
    assert counts() == {
        ("llm", "dead"): 1,
        ("llm", "cancelled"): 1,
        ("llm", "superseded"): 1,
        ("llm", "published"): 1,
    }


def test_a_broker_that_is_down_is_told_with_its_error_until_it_is_back(
    task: TaskDefinition, broker_settings: Callable[..., None], redis_url: str
) -> None:
    broker_settings(f"redis://127.0.0.1:{closed_port()}/0", BROKER_TIMEOUT=0.5)
    send_task(TASK, kwargs=ARGUMENTS)
    relay = Relay()
    relay.step()
    beat(relay.heart)
    [line] = [each for each in health.look("default").queues if each.queue == "llm"]
    assert (line.pending, line.failed, line.published) == (1, 1, 0)
    assert "refused" in line.error
    relay.close()
    broker_settings(redis_url)
    relay.breakers.reset("broker", "default")
    relay.step()
    beat(relay.heart)
    [line] = [each for each in health.look("default").queues if each.queue == "llm"]
    assert (line.published, line.error) == (1, "")
    relay.close()


def test_a_collector_tells_how_the_tasks_ended(task: TaskDefinition, redis_url: str) -> None:
    worker = Celery("worker", backend=redis_url, set_as_current=False)
    for state in ("SUCCESS", "FAILURE", "SUCCESS"):
        message = send_task(TASK, kwargs=ARGUMENTS)
        worker.backend.store_result(str(message.pk), Exception() if state == "FAILURE" else 1, state)
    OutboxMessage.objects.update(status="published", published_at=database_now())
    worker.close()
    assert Collector().drain() == 3
    assert counts() == {("llm", "task_succeeded"): 2, ("llm", "task_failed"): 1}
    [row] = Process.objects.all()
    assert (row.kind, row.stopped_at - row.seen_at < dt.timedelta(seconds=1)) == ("collector", True)


def test_how_long_messages_took_is_summed_beside_their_number(task: TaskDefinition, redis_url: str) -> None:
    sent = [send_task(TASK, kwargs=ARGUMENTS) for _ in range(2)]
    OutboxMessage.objects.filter(pk=sent[0].pk).update(available_at=database_now() - dt.timedelta(seconds=90))
    relay = Relay()
    relay.step()
    relay.close()
    worker = Celery("worker", backend=redis_url, set_as_current=False)
    worker.backend.store_result(str(sent[1].pk), 1, "SUCCESS")
    worker.close()
    OutboxMessage.objects.update(published_at=database_now() - dt.timedelta(seconds=3_600))
    Collector().drain()
    took = dict(MinuteCount.objects.values_list("outcome", "milliseconds"))
    assert 90_000 <= took["published"] < 180_000
    assert 3_600_000 <= took["task_succeeded"] < 3_690_000


def test_a_time_that_cannot_be_true_takes_no_time(heart: Heart) -> None:
    now = time.time()
    heart.count(Tally("llm", "published", "", since) for since in (0.0, -math.inf, now + 3_600, now - 10))
    beat(heart)
    [row] = MinuteCount.objects.all()
    assert (row.number, row.milliseconds // 1_000) == (4, 10)


@pytest.mark.slow
def test_a_relay_that_is_killed_falls_silent_and_one_that_is_stopped_says_so(
    task: TaskDefinition, tmp_path: Path
) -> None:
    database = dict(connection.settings_dict)
    code = (
        "import os, threading, django; django.setup()\n"
        "from django.db import connections\n"
        f"connections['default'].settings_dict['NAME'] = {str(database['NAME'])!r}\n"
        "from dispatch.relay import Relay\n"
        "import signal; relay = Relay(); signal.signal(signal.SIGTERM, lambda *_: relay.stop.set())\n"
        "relay.run()"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    try:
        eventually(lambda: Process.objects.count() == 2)
        processes[0].send_signal(signal.SIGKILL)
        processes[1].send_signal(signal.SIGTERM)
        assert [process.wait(30) for process in processes] == [-signal.SIGKILL, 0]
    finally:
        for process in processes:
            process.kill()
    grow_old(3600)
    states = {line.pid: line.state for line in health.look("default").processes}
    assert states == {processes[0].pid: "silent", processes[1].pid: "stopped"}


# -- how it is written --------------------------------------------------------------------------------


def test_a_heart_beats_no_more_often_than_every_few_seconds(heart: Heart) -> None:
    heart.beat()
    heart.count([Tally("llm", "published")])
    heart.beat()
    assert counts() == {}


def test_the_counts_of_a_minute_grow_and_a_new_minute_has_its_own(heart: Heart) -> None:
    now = dt.datetime(2026, 1, 1, 12, 0, 30, tzinfo=dt.UTC)
    for passed in (0, 5, 60):
        heart.count([Tally("llm", "published")] * 2)
        heart._totals, heart._minute = _written(heart, now + dt.timedelta(seconds=passed))
    rows = MinuteCount.objects.order_by("minute").values_list("minute", "number")
    assert list(rows) == [(now.replace(second=0), 4), (now.replace(minute=1, second=0), 2)]


def _written(heart: Heart, now: dt.datetime) -> Any:
    """Beat at another time than the database has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Heart, "_tell", lambda *_: now)
        heart._write()
    return heart._totals, heart._minute


def test_counts_that_the_database_did_not_take_are_written_with_the_next_beat(
    heart: Heart, monkeypatch: pytest.MonkeyPatch
) -> None:
    heart.count([Tally("llm", "published")])

    def fail(*_: Any) -> None:
        raise OperationalError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(heartbeats, "_upsert", fail)
        with pytest.raises(OperationalError):
            beat(heart)
        heart.stop()  # raises nothing
    heart.count([Tally("llm", "published")])
    beat(heart)
    beat(heart)
    assert counts() == {("llm", "published"): 2}


def test_two_relays_count_side_by_side(transactional_db: None) -> None:
    hearts = [Heart("default", Process.Kind.RELAY) for _ in range(2)]
    for heart in hearts:
        heart.count([Tally("llm", "published")])
        elsewhere(lambda heart=heart: beat(heart))  # type: ignore[misc]
    assert sorted(MinuteCount.objects.values_list("process", "number")) == sorted(
        (heart.id, 1) for heart in hearts
    )
    make_queue("llm")
    [line] = health.look("default").queues
    assert line.published == 2


def test_what_is_a_day_old_is_forgotten_a_few_minutes_at_a_time(heart: Heart) -> None:
    day = 86_400
    make_process(seconds=day + 60)
    kept = make_process(seconds=day - 60)
    last_collector = make_process("collector", seconds=30 * day)
    for minutes in (20, 15, 5, -5):
        minute = database_now() - dt.timedelta(seconds=day, minutes=minutes)
        MinuteCount.objects.create(
            minute=minute, process=kept.pk, queue="llm", outcome="published", number=minutes + 5
        )
    beat(heart)
    assert set(Process.objects.values_list("pk", flat=True)) == {kept.pk, last_collector.pk, heart.id}
    assert sorted(MinuteCount.objects.values_list("number", flat=True)) == [0, 10]
    heart._minute = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    beat(heart)
    assert list(MinuteCount.objects.values_list("number", flat=True)) == [0]


def test_a_process_takes_the_place_of_one_that_stopped_on_its_host(heart: Heart) -> None:
    here = {"host": socket.gethostname(), "stopped_at": database_now()}
    make_process(**here)
    others = [make_process("collector", **here), make_process(stopped_at=database_now())]
    silent = make_process(host=socket.gethostname(), seconds=300)
    beat(heart)
    left = {each.pk for each in [*others, silent]}
    assert set(Process.objects.values_list("pk", flat=True)) == {heart.id, *left}


def test_errors_hold_what_any_table_takes_and_only_the_newest(heart: Heart) -> None:
    for number in range(heartbeats.MOST_ERRORS + 5):
        heart.count([Tally(f"queue {number}", "failed", "\0\ud800 Grüße 🎉" + "x" * 5_000)])
    heart.count([Tally("llm", "dead", "It cannot be read.")])  # which is no error of its queue
    beat(heart)
    [row] = Process.objects.all()
    assert set(row.errors) == {f"queue {n}" for n in range(5, heartbeats.MOST_ERRORS + 5)}
    assert {len(error) for error in row.errors.values()} == {heartbeats.ERROR_LENGTH}
