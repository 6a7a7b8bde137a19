"""The words that say where a message is: of what is known, with its age, and nothing else."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.utils import timezone
from django_celery_results.models import TaskResult

from dispatch.admin import message_progress
from dispatch.admin.message_progress import Progress, progress
from dispatch.api import Call, send_chain
from dispatch.client import result_backend
from dispatch.models import OutboxMessage, Process, Queue, TaskDefinition
from dispatch.queues import Seen, Sight, sights

pytestmark = [pytest.mark.usefixtures("registry"), pytest.mark.one_database]
TASK = "by.hand"
PARTNER = {"url": "https://x.example", "token": "s3cr3t"}
NOW = timezone.now()


def before(**span: float) -> dt.datetime:
    return NOW - dt.timedelta(**span)


def message(status: str = "pending", **columns: Any) -> OutboxMessage:
    row: dict[str, Any] = {"task_name": TASK, "broker": "default", "queue": "llm", "available_at": NOW}
    row |= {"status": status, **columns}
    if status == "published":
        row = {"published_at": before(minutes=3), "published_to": {"queues": ["llm"]}, **row}
    found = OutboxMessage.objects.create(**row)
    found.refresh_from_db()
    return found


def process(kind: str = "relay", seen: float = 2, **columns: Any) -> Process:
    moments = {"started_at": before(hours=1), "seen_at": before(seconds=seen)}
    return Process.objects.create(id=uuid.uuid4(), kind=kind, host="web1", pid=7, **{**moments, **columns})


def words(of: OutboxMessage, result: Any = None, **options: Any) -> str:
    return progress(of, result, **options).words


@pytest.fixture(autouse=True)
def nobody_was_asked(broker_settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_progress, "_now", lambda message: NOW)
    broker_settings("memory://", result_backend="redis://127.0.0.1:1/0")
    sights.clear()


# ------------------------------------------------------------------ a step of a chain


def test_a_step_waits_for_the_first_of_its_chain() -> None:
    first = message()
    step = message("chained", root_id=first.pk)
    assert progress(step, None) == Progress(
        "It goes with the first message of its chain, which was not sent yet.", about=first
    )


def test_a_step_of_a_chain_that_was_not_sent_leads_to_its_first() -> None:
    first = message("dead")
    found = progress(message("chained", root_id=first.pk), None)
    assert (found.is_final, found.about) == (True, first)
    assert "requeue that one" in found.words
    first.delete()
    assert "is gone" in words(message("chained", root_id=uuid.uuid4()))


def test_a_step_that_a_worker_is_to_send_says_so() -> None:
    process("collector")
    step = message("published", root_id=uuid.uuid4())
    assert "the worker that ends the step before it sends it." in words(step)


def test_a_step_behind_one_that_failed_did_not_run(registry: Any) -> None:
    first, second, third = send_chain(
        [Call("worker.tasks.ops.push_to_partner", kwargs=PARTNER, immutable=True)] * 3
    )
    OutboxMessage.objects.update(status="published", published_at=NOW)
    results = [
        TaskResult.objects.create(task_id=str(each.pk), status=status)
        for each, status in ((first, "SUCCESS"), (second, "FAILURE"), (third, "FAILURE"))
    ]
    found = [progress(OutboxMessage.objects.get(pk=row.task_id), row) for row in results]
    assert [each.about for each in found] == [None, None, second]
    assert found[1].words.startswith("A worker ran it, and the task failed")
    assert found[2].words.startswith("It did not run: a step before it in its chain failed")


# ------------------------------------------------------------------ pending


def test_a_message_that_is_due_is_published_next_by_a_relay_that_was_seen() -> None:
    process(seen=4)
    assert "a relay, seen 4 s ago" in words(message())


def test_without_a_relay_nobody_is_said_to_publish_it() -> None:
    due = message(available_at=before(seconds=70))
    assert words(due).startswith("It has been due for 1 min 10 s (since ")
    assert "No relay has been seen: start one, manage.py dispatch relay." in words(due)
    process(seen=240)
    assert "No relay answers: web1:7 was last seen 4 min ago" in words(due)
    Process.objects.update(stopped_at=before(seconds=200))
    assert "web1:7 was stopped 3 min 20 s ago" in words(due)
    assert "publishes it next" not in words(due)


def test_a_relay_that_stopped_last_does_not_hide_one_that_runs() -> None:
    process(seen=5)
    process(seen=1, stopped_at=before(seconds=1))
    assert "publishes it next" in words(message())


def test_what_is_due_for_long_beside_a_relay_waits_behind_others() -> None:
    process()
    text = words(message(available_at=before(seconds=70)))
    assert "due for 1 min 10 s" in text
    assert "run more relays" in text


def test_a_broker_that_takes_nothing_is_told_with_the_time_since_when() -> None:
    process()
    away = message(last_error="Broker 'default' cannot be reached.", available_at=before(minutes=12))
    away.failed_attempts.create(id=uuid.uuid4(), at=before(minutes=11), error=away.last_error)
    assert "does not take it for 11 min (since " in words(away)
    assert "publishes it next" not in words(away)


def test_what_another_queue_of_the_broker_suffers_from_is_told_of_one_that_was_never_tried() -> None:
    process(errors={"default": "Broker 'default' cannot be reached."})
    text = words(message())
    assert (
        "cannot publish to queue default of this broker at present: Broker 'default' cannot be reached."
        in text
    )


def test_a_counted_attempt_is_told_with_the_time_of_the_next() -> None:
    process()
    retried = message(attempts=3, last_error="Refused.", available_at=NOW + dt.timedelta(seconds=40))
    assert words(retried).startswith("Attempt 3 failed as the error below says; the next is due in 40 s")
    OutboxMessage.objects.update(available_at=before(seconds=1))
    retried.failed_attempts.create(id=uuid.uuid4(), number=3, at=before(seconds=50), error="Refused.")
    retried.refresh_from_db()
    assert "Attempt 3 of 12 failed" in words(retried)


def test_a_countdown_tells_how_long_and_that_nobody_is_there_to_wait_for() -> None:
    late = message(available_at=NOW + dt.timedelta(minutes=3))
    assert words(late).startswith("It waits until it is due, in 3 min")
    assert "No relay has been seen" in words(late)


@pytest.mark.parametrize("change_message", ["Paused.", '[{"changed": {"fields": ["Paused"]}}]'])
@pytest.mark.parametrize("model", [Queue, TaskDefinition])
def test_who_paused_it_is_told_as_far_as_the_admin_knows(model: Any, change_message: str, boss: Any) -> None:
    row = model.objects.get(name="llm" if model is Queue else TASK)
    model.objects.filter(pk=row.pk).update(paused=True)
    held = message()
    assert "is paused: it waits" in words(held)
    history = {
        "user": User.objects.get(),
        "content_type": ContentType.objects.get_for_model(model),
        "object_id": str(row.pk),
        "action_flag": CHANGE,
    }
    LogEntry.objects.create(**history, change_message=change_message, action_time=before(hours=2))
    assert "is paused, by boss 2 h ago (" in words(held)
    assert progress(held, None).about == row
    LogEntry.objects.create(**history, change_message="Resumed.", action_time=before(hours=1))
    assert "is paused: it waits" in words(held)


# ------------------------------------------------------------------ claimed, published


def test_a_lease_that_ran_out_is_told() -> None:
    lease = {"lease_token": uuid.uuid4(), "lease_expires_at": NOW + dt.timedelta(seconds=30)}
    claimed = message("claimed", **lease)
    assert "another takes over in" in words(claimed)
    OutboxMessage.objects.update(lease_expires_at=before(seconds=90))
    claimed.refresh_from_db()
    assert "its lease ended 1 min 30 s ago" in words(claimed)
    assert "No relay has been seen" in words(claimed)
    process()
    assert "Another one takes over." in words(claimed)


def test_a_result_is_awaited_by_a_collector_that_was_seen() -> None:
    awaited = message("published")
    assert words(awaited).startswith("The broker took it 3 min ago (")
    assert "no collector has been seen" in words(awaited)
    process("collector", seen=300, stopped_at=before(seconds=300))
    assert "the collector web1:7 was stopped 5 min ago" in words(awaited)
    process("collector")
    assert words(awaited).endswith("No worker has reported a result yet.")


def test_consumers_are_told_of_with_the_age_of_the_answer_and_not_before_anybody_was_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process("collector")
    awaited = message("published")

    def see(seen: Seen) -> str:
        monkeypatch.setattr(
            sights, "_sight", lambda queue: Sight(seen, 36.4) if queue.name == "llm" else None
        )
        return words(awaited)

    assert "Asked 36 s ago, nobody consumed queue llm" in see(Seen("ok", "", 3, 0))
    assert "no worker told whether it consumes" in see(Seen("ok", "", 3, None))
    assert "had 2 consumers, messages waiting in it: 3." in see(Seen("ok", "", 3, 2))
    assert "did not tell of queue llm: Away." in see(Seen("down", "Away."))


def test_only_who_may_wait_lets_the_broker_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(sights, "_ask", lambda alias, queues: asked.append(alias))
    process("collector")
    awaited = message("published")
    words(awaited)
    assert not asked
    assert "cannot be read" in words(awaited, ask=True)  # a result backend that is not there is told of
    assert asked == ["default"]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (("", ""), "No worker has reported a result yet."),
        (("STARTED", "celery@one"), "A worker has begun it, and has not finished: celery@one."),
        (("MADE UP", ""), "the worker's last word is made up."),
        (("SUCCESS", ""), "It has ended, and the collector fetches its result."),
    ],
)
def test_who_may_wait_is_told_what_the_result_backend_holds(
    answer: tuple[str, str], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    process("collector")
    monkeypatch.setattr(result_backend, "last_word", lambda broker, task_id: answer)
    monkeypatch.setattr(sights, "_ask", lambda alias, queues: None)
    assert words(message("published"), ask=True).endswith(text)


@pytest.mark.parametrize(
    ("status", "text", "is_final"),
    [
        ("SUCCESS", "The worker finished it 1 min ago (", True),
        ("FAILURE", "the task failed 1 min ago (", True),
        ("REVOKED", "It was revoked 1 min ago (", True),
        ("STARTED", "A worker runs it for 1 min (since ", False),
        ("RETRY", "the last try failed 1 min ago (", False),
        ("PROGRESS", "its last word, 1 min ago (", False),
    ],
)
def test_what_the_worker_reported(status: str, text: str, is_final: bool) -> None:
    result = TaskResult(status=status, date_done=before(minutes=1))
    found = progress(message("published"), result)
    assert text in found.words
    assert found.is_final is is_final


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"ignore_result": True}, "No result is kept"),
        ({"handled_at": NOW}, "Its result was handled"),
        ({"published_at": before(days=2)}, "No result came within 1 d"),
    ],
)
def test_where_no_result_is_to_come_nothing_is_awaited(columns: dict[str, Any], text: str) -> None:
    found = progress(message("published", **columns), None)
    assert text in found.words
    assert found.is_final


def test_without_a_result_backend_nobody_is_said_to_fetch_results(broker_settings: Any) -> None:
    broker_settings("memory://")
    found = progress(message("published"), None)
    assert "no RESULT_BACKEND" in found.words
    assert found.is_final


# ------------------------------------------------------------------ not sent


def test_what_is_not_sent_says_why_and_what_to_do() -> None:
    later = message()
    ended = {"available_at": before(hours=3), "attempts": 12}
    assert progress(message("superseded", superseded_by=later.pk), None) == Progress(
        "It was not sent: a later message of the same object, within the coalescing window, took its place.",
        is_final=True,
        about=later,
    )
    assert "It died 3 h ago" in words(message("dead", last_error="Refused.", **ended))
    assert "after 12 attempts, of the error below" in words(message("dead", last_error="Refused.", **ended))
    assert "the trigger could not make the message" in words(message("dead", **{**ended, "broker": ""}))
    assert "is not sent unless you requeue it" in words(message("cancelled", **ended))
    assert "as the error below says" in words(message("cancelled", last_error="Expired at 3.", **ended))
