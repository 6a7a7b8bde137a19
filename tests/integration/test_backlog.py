"""What waits in the outbox: left alone while paused, moved when the routes change, due by one clock."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dispatch import outbox, registry
from dispatch.api import Call, send_many, send_task
from dispatch.models import Binding, Exchange, OutboxMessage, Queue, Route, TaskDefinition
from dispatch.models.database import database_now
from dispatch.relay import Relay, loop
from dispatch.relay.claims import LeftAlone, claim
from project.notes.models import Note
from tests.support.backlog import restamp
from tests.support.registry import ARGUMENTS, TASK, make_queue, make_registry, make_task, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)
Status = OutboxMessage.Status


@pytest.fixture(autouse=True)
def task(broker_settings: Callable[..., None], transactional_db: None) -> TaskDefinition:
    broker_settings("memory://")
    return make_registry()


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


def statuses() -> list[str]:
    return list(OutboxMessage.objects.order_by("id").values_list("status", flat=True))


# -- paused ---------------------------------------------------------------------------------------


def test_a_paused_task_is_left_alone_and_goes_on_when_it_is_resumed(relay: Relay) -> None:
    make_task("worker.tasks.llm.other")
    send_task(TASK, kwargs=ARGUMENTS)
    send_task("worker.tasks.llm.other", kwargs=ARGUMENTS)
    TaskDefinition.objects.filter(name=TASK).update(paused=True)
    send_task(TASK, kwargs=ARGUMENTS)
    assert relay.drain() == 1
    assert statuses() == [Status.PENDING, Status.PUBLISHED, Status.PENDING]
    waiting = OutboxMessage.objects.filter(task_name=TASK)
    assert set(waiting.values_list("attempts", "last_error")) == {(0, "")}
    TaskDefinition.objects.update(paused=False)
    assert relay.drain() == 2


def test_a_claim_leaves_the_rows_of_paused_tasks_where_they_are() -> None:
    make_task("worker.tasks.llm.other")
    send_task(TASK, kwargs=ARGUMENTS)
    other = send_task("worker.tasks.llm.other", kwargs=ARGUMENTS)
    without = LeftAlone(tasks={TASK}, open_queues=("default", "llm"))
    assert [row.pk for row in claim("default", 10, 60, without=without)] == [other.pk]


def test_a_task_that_is_paused_after_the_claim_is_not_published(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_task(TASK, kwargs=ARGUMENTS)
    TaskDefinition.objects.update(paused=True)
    monkeypatch.setattr(relay.batches, "left_alone", lambda snapshot: LeftAlone())
    assert relay.step() == 0
    assert statuses() == [Status.PENDING]


def test_a_message_to_an_exchange_waits_while_a_queue_that_it_would_reach_is_paused(relay: Relay) -> None:
    exchange = Exchange.objects.create(name="topic", type="topic")
    for queue, key in ((Queue.objects.get(name="llm"), "a.#"), (make_queue("paused", paused=True), "a.b")):
        Binding.objects.create(queue=queue, exchange=exchange, routing_key=key)
    for key in ("a.b", "a.c"):
        send_task(TASK, kwargs=ARGUMENTS, exchange="topic", routing_key=key)
    assert relay.drain() == 1
    assert statuses() == [Status.PENDING, Status.PUBLISHED]
    Queue.objects.update(paused=False)
    assert relay.drain() == 1


def test_a_claim_asks_only_the_open_queues_while_others_are_paused() -> None:
    make_queue("open")
    send_many(Call(TASK, kwargs=ARGUMENTS) for _ in range(3))
    passing = send_task(TASK, kwargs=ARGUMENTS, queue="open")
    lost = send_task(TASK, kwargs=ARGUMENTS)
    OutboxMessage.objects.filter(pk=lost.pk).update(queue="")
    without = LeftAlone(queues={"llm"}, open_queues=("default", "open"))
    with CaptureQueriesContext(connection) as queries:
        rows = claim("default", 10, 60, without=without)
    assert sorted(row.pk for row in rows) == sorted([passing.pk, lost.pk])
    reads = [query["sql"] for query in queries if "available_at" in query["sql"]]
    assert not any("llm'" in sql for sql in reads), "the paused queue's rows are not even looked for"
    assert len(reads) >= 3


def test_a_claim_stops_asking_when_its_batch_is_full() -> None:
    names = [make_queue(f"open {number}").name for number in range(5)]
    send_many(Call(TASK, kwargs=ARGUMENTS, queue=name) for name in names for _ in range(3))
    without = LeftAlone(queues={"llm"}, open_queues=names)
    rows = claim("default", 4, 60, without=without)
    assert (len(rows), len({row.pk for row in rows})) == (4, 4)
    assert OutboxMessage.objects.filter(status=Status.CLAIMED).count() == 4


# -- routes that change ---------------------------------------------------------------------------


def test_two_thousand_messages_follow_a_changed_route_in_a_few_queries(relay: Relay) -> None:
    make_task("worker.tasks.llm.other")
    names = [TASK, "worker.tasks.llm.other"]
    send_many(Call(names[number % 2], kwargs=ARGUMENTS) for number in range(2000))
    pinned = send_task(TASK, kwargs=ARGUMENTS, queue="llm")
    Route.objects.update(queue=make_queue("moved"))
    snapshot = registry.current()
    with CaptureQueriesContext(connection) as queries:
        assert restamp("default", snapshot) == 2000
    assert len(queries) <= 15
    assert OutboxMessage.objects.get(queue="llm").pk == pinned.pk
    assert restamp("default", snapshot) == 0


def test_a_row_that_is_committed_after_the_routes_changed_follows_them_too(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("on SQLite no transaction can be open while the registry changes")
    monkeypatch.setattr(loop, "RESTAMP_EVERY", 0.0)
    sent, commit = threading.Event(), threading.Event()

    def slow_request() -> None:
        with transaction.atomic():
            send_task(TASK, kwargs=ARGUMENTS)
            sent.set()
            commit.wait(10)
        connections.close_all()

    registry.current()
    thread = threading.Thread(target=slow_request)
    thread.start()
    assert sent.wait(10)
    Queue.objects.filter(name="llm").update(paused=True)
    Route.objects.update(queue=make_queue("moved"))
    assert relay.step() == 0
    commit.set()
    thread.join()
    assert relay.step() == 1
    assert OutboxMessage.objects.get().queue == "moved"


def test_rows_stamped_for_a_queue_that_is_gone_are_published(relay: Relay) -> None:
    send_task(TASK, kwargs=ARGUMENTS)
    make_queue("paused", paused=True)
    Route.objects.update(queue=make_queue("moved"))
    Queue.objects.filter(name="llm").delete()
    assert relay.drain() == 1


# -- requeue --------------------------------------------------------------------------------------


def test_what_a_trigger_could_not_enqueue_never_was_a_message_and_is_not_requeued(
    task: TaskDefinition, relay: Relay
) -> None:
    make_trigger(task, "created")
    TaskDefinition.objects.update(enabled=False)
    Note.objects.create(title="A")
    TaskDefinition.objects.update(enabled=True)
    assert outbox.requeue(OutboxMessage.objects.all()) == 0
    assert statuses() == [Status.DEAD]
    assert OutboxMessage.objects.get().last_error
    assert relay.drain() == 0


# -- clocks ---------------------------------------------------------------------------------------


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine's clock is ten minutes ahead of the database's."""
    real = timezone.now
    with monkeypatch.context() as clock:
        clock.setattr("django.utils.timezone.now", lambda: real() + dt.timedelta(minutes=10))
        yield


def test_what_is_due_now_is_due_by_the_databases_clock(ahead: None, relay: Relay) -> None:
    send_many(Call(TASK, kwargs=ARGUMENTS) for _ in range(2))
    assert relay.drain() == 2


def test_a_countdown_counts_from_the_databases_clock(ahead: None, relay: Relay) -> None:
    send_task(TASK, kwargs=ARGUMENTS, countdown=60)
    due = OutboxMessage.objects.filter(available_at__lte=database_now() + dt.timedelta(seconds=61))
    assert due.count() == 1
    assert relay.drain() == 0


def test_an_eta_is_a_moment_and_no_clock_moves_it(ahead: None) -> None:
    eta = timezone.now() + dt.timedelta(hours=1)
    send_task(TASK, kwargs=ARGUMENTS, eta=eta)
    assert OutboxMessage.objects.get().available_at == eta
