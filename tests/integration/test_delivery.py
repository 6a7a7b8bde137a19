"""``DISPATCH["DELIVERY"]``: published, or printed, at the commit; what must wait or fails is left to a relay."""

from __future__ import annotations

import io
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.checks import run_checks
from django.db import OperationalError, connection, connections, transaction
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

from dispatch import delivery, outbox
from dispatch.api import (
    Call,
    asend_task,
    message_enqueued,
    message_published,
    send_chain,
    send_many,
    send_task,
)
from dispatch.client.publisher import Publisher
from dispatch.models import OutboxMessage, Queue, TaskDefinition, Trigger
from dispatch.models.database import database_now
from dispatch.relay import Relay, at_commit, settling
from dispatch.relay.publishing import Batches
from project.notes.models import Note
from tests.integration.conftest import Broker, Fragile
from tests.support import schemas
from tests.support.brokers import read_all, task_ids
from tests.support.databases import further_alias, savepoint_create
from tests.support.proxy import HOST
from tests.support.registry import ARGUMENTS, TASK, dead_message, make_queue, make_registry, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)
Status = OutboxMessage.Status


@pytest.fixture(autouse=True)
def closed_afterwards() -> Iterator[None]:
    yield
    at_commit._Pool.close()


@pytest.fixture
def deliver(settings: Any) -> Callable[..., None]:
    """Return a function that sets how messages are delivered, with further keys of DISPATCH."""

    def choose(way: str, **keys: Any) -> None:
        settings.DISPATCH = {**settings.DISPATCH, "DELIVERY": way, **keys}

    return choose


@pytest.fixture
def on_commit(broker: Broker, deliver: Callable[..., None]) -> Broker:
    deliver("on_commit")
    return broker


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


@pytest.fixture
def no_broker(broker_settings: Callable[..., None], deliver: Callable[..., None]) -> None:
    """At the commit an attempt is made at a broker that is this process."""
    broker_settings("memory://")
    deliver("on_commit")
    make_registry()


def send() -> OutboxMessage:
    return send_task(TASK, kwargs=ARGUMENTS)


def statuses() -> list[str]:
    return list(OutboxMessage.objects.order_by("id").values_list("status", flat=True))


def wait_for(status: str, message: OutboxMessage) -> None:
    for _ in range(1_000):
        message.refresh_from_db()
        if message.status == status:
            return
        time.sleep(0.01)
    raise AssertionError(f"It is {message.status}: {message.last_error}")


# -- on_commit: what is published -------------------------------------------------------------------


def test_what_waits_of_earlier_transactions_is_left_to_a_relay(
    broker: Broker, deliver: Callable[..., None]
) -> None:
    send()
    deliver("on_commit")
    message = send()
    assert task_ids(broker.url, broker.queue) == [str(message.pk)]
    assert statuses() == [Status.PENDING, Status.PUBLISHED]


def test_a_message_is_published_when_its_transaction_commits_and_not_before(
    on_commit: Broker, relay: Relay
) -> None:
    with transaction.atomic():
        message = send()
        assert read_all(on_commit.url, on_commit.queue) == []
    assert task_ids(on_commit.url, on_commit.queue) == [str(message.pk)]
    message.refresh_from_db()
    assert (message.status, message.attempts, message.published_to["queue"]) == (
        Status.PUBLISHED,
        1,
        on_commit.queue,
    )
    assert relay.drain() == 0


def test_without_a_transaction_it_is_published_at_once(on_commit: Broker) -> None:
    messages = [send(), async_to_sync(asend_task)(TASK, kwargs=ARGUMENTS)]
    assert task_ids(on_commit.url, on_commit.queue) == [str(message.pk) for message in messages]


def test_a_hooked_save_publishes(on_commit: Broker) -> None:
    make_trigger(TaskDefinition.objects.get(), "created")
    Note.objects.create(title="A", body="B")
    assert len(read_all(on_commit.url, on_commit.queue)) == 1


def test_what_is_rolled_back_is_never_published(on_commit: Broker, relay: Relay) -> None:
    def roll_back() -> None:
        with transaction.atomic():
            send()
            transaction.set_rollback(True)

    roll_back()
    with transaction.atomic():
        roll_back()
        kept = [send()]
        roll_back()
        with transaction.atomic():
            kept.append(send())
        by_hand = savepoint_create()
        send()
        transaction.savepoint_rollback(by_hand)
        kept.append(send())
    assert task_ids(on_commit.url, on_commit.queue) == [str(message.pk) for message in kept]
    assert relay.drain() == 0


def test_more_than_a_batch_is_published_in_order(on_commit: Broker, deliver: Callable[..., None]) -> None:
    deliver("on_commit", RELAY_BATCH_SIZE=20)
    messages = send_many(Call(TASK, kwargs=ARGUMENTS) for _ in range(45))
    assert task_ids(on_commit.url, on_commit.queue) == [str(message.pk) for message in messages]


def test_all_messages_of_a_transaction_are_one_batch(no_broker: None) -> None:
    def queries(count: int) -> int:
        with CaptureQueriesContext(connection) as captured, transaction.atomic():
            for _ in range(count):
                send()
        return sum("INSERT" not in query["sql"] for query in captured)

    send()
    assert (
        queries(20) <= queries(1) + 20
    )  # the registry is looked at in each transaction, and at each send here
    assert statuses() == [Status.PUBLISHED] * 22


def test_the_signals_come_in_order(no_broker: None) -> None:
    seen: list[str] = []
    signals = {"enqueued": message_enqueued, "published": message_published}
    for name, signal in signals.items():
        signal.connect(lambda name=name, **_: seen.append(name), weak=False, dispatch_uid=f"test {name}")
    try:
        send()
    finally:
        for name, signal in signals.items():
            signal.disconnect(dispatch_uid=f"test {name}")
    assert seen == ["enqueued", "published"]


def test_beside_a_relay_each_message_is_published_once(on_commit: Broker) -> None:
    relay = Relay()

    def work() -> None:
        relay.run()
        connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        sent = [str(send().pk) for _ in range(60)]
        wait_for(Status.PUBLISHED, OutboxMessage.objects.latest("id"))
    finally:
        relay.stop.set()
        thread.join()
    Relay().drain()
    assert Counter(task_ids(on_commit.url, on_commit.queue)) == Counter(sent)


def test_the_outbox_of_another_database_is_published_too(on_commit: Broker, django_db_blocker: Any) -> None:
    with django_db_blocker.unblock(), further_alias("twin") as alias:
        with transaction.atomic(using=alias):
            message = send_task(TASK, kwargs=ARGUMENTS, using=alias)
        assert statuses() == [Status.PUBLISHED]
    assert task_ids(on_commit.url, on_commit.queue) == [str(message.pk)]


def test_connections_are_kept_for_the_next_commit(fragile: Fragile, deliver: Callable[..., None]) -> None:
    deliver("on_commit")
    send()
    opened = fragile.proxy.connections
    send()
    send()
    assert (statuses(), fragile.proxy.connections) == ([Status.PUBLISHED] * 3, opened)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_that_forks_after_a_publish_shares_no_socket(
    fragile: Fragile, deliver: Callable[..., None]
) -> None:
    deliver("on_commit")
    send()
    child = os.fork()
    if not child:
        os._exit(sockets_to(fragile.proxy.port))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    send()
    assert statuses() == [Status.PUBLISHED] * 2
    assert sockets_to(fragile.proxy.port) > 0, "and so they would have been seen"


def sockets_to(port: int) -> int:
    """The number of this process's sockets that are connected to a port."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # it is no socket, or not connected
            each = socket.socket(fileno=int(descriptor.name))
            try:
                found += each.getpeername()[1:2] == (port,)
            finally:
                each.detach()
    return found


# -- on_commit: what is left to a relay --------------------------------------------------------------


def test_what_must_wait_is_left_to_the_relay(on_commit: Broker, unique: str) -> None:
    make_queue(f"{unique}-paused", paused=True)
    TaskDefinition.objects.create(name="paused", queue=Queue.objects.get(name=on_commit.queue), paused=True)
    coalescing = make_trigger(TaskDefinition.objects.get(name=TASK), "created", coalesce=0)
    assert isinstance(coalescing, Trigger)
    send_task(TASK, kwargs=ARGUMENTS, countdown=60)
    send_task(TASK, kwargs=ARGUMENTS, queue=f"{unique}-paused")
    send_task("paused")
    Note.objects.create(title="A", body="B")
    assert statuses() == [Status.PENDING] * 4
    assert read_all(on_commit.url, on_commit.queue) == []


def test_what_a_trigger_could_not_enqueue_stays_dead(no_broker: None) -> None:
    dead_message(
        TASK,
        "It is wrong.",
        outbox.Origin(),
    )
    assert statuses() == [Status.DEAD]


def test_a_broker_that_stalls_holds_a_commit_up_no_longer_than_the_bound(
    fragile: Fragile, deliver: Callable[..., None], relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "LONGEST", 0.5)
    deliver("on_commit", BROKER_TIMEOUT=1.5, BACKOFF_BASE=5.0)
    fragile.proxy.stall()
    first = send()
    first.refresh_from_db()
    assert first.status == Status.CLAIMED, "nobody waited for the broker's silence to end"
    second = send()
    second.refresh_from_db()
    assert second.status == Status.PENDING, "a broker that is silent is not asked by the next commit"

    wait_for(Status.PENDING, first)
    wait_for(Status.PENDING, second)
    fragile.proxy.open()
    OutboxMessage.objects.update(available_at=database_now())
    assert relay.drain() == 2
    assert sorted(task_ids(fragile.url, fragile.queue)) == sorted([str(first.pk), str(second.pk)])


def test_the_bound_holds_whatever_the_timeout_of_a_broker_is(
    fragile: Fragile, deliver: Callable[..., None]
) -> None:
    deliver("on_commit", BROKER_TIMEOUT=30.0)
    fragile.proxy.stall()
    began = time.monotonic()
    send()
    assert time.monotonic() - began < 15
    fragile.proxy.cut()  # so that the call that is under way ends
    wait_for(Status.PENDING, OutboxMessage.objects.get())


def test_a_silent_broker_keeps_no_message_of_another_back(
    fragile: Fragile, redis_server: str, deliver: Callable[..., None], settings: Any
) -> None:
    good = f"{redis_server}/4"
    brokers = {**settings.DISPATCH["BROKERS"], "good": {"URL": good}}
    deliver("on_commit", BROKERS=brokers)
    make_queue("there", broker="good")
    fragile.proxy.stall()
    with transaction.atomic():
        waiting = send()
        passing = send_task(TASK, kwargs=ARGUMENTS, queue="there")
    assert task_ids(good, "there") == [str(passing.pk)]
    passing.refresh_from_db()
    assert passing.status == Status.PUBLISHED
    wait_for(Status.PENDING, waiting)


def test_a_broker_that_is_down_is_told_on_the_row_and_left_alone_for_a_while(
    fragile: Fragile, deliver: Callable[..., None], relay: Relay
) -> None:
    deliver("on_commit", BACKOFF_BASE=5.0)
    fragile.proxy.cut()
    first, second = send(), send()
    for message in (first, second):
        message.refresh_from_db()
    assert [first.status, second.status] == [Status.PENDING] * 2
    assert "cannot be reached" in first.last_error
    assert second.last_error == ""
    fragile.proxy.open()
    assert relay.drain() == 2


def test_what_is_not_begun_in_time_stays_pending(no_broker: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "LONGEST", 0.0)
    send_many(Call(TASK, kwargs=ARGUMENTS) for _ in range(10))
    assert statuses() == [Status.PENDING] * 10


def test_of_a_large_transaction_a_part_is_tried(no_broker: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "MOST", 15)
    with transaction.atomic():
        send_many(Call(TASK, kwargs=ARGUMENTS) for _ in range(10))
        send_many(Call(TASK, kwargs=ARGUMENTS) for _ in range(10))
    assert Counter(statuses()) == {Status.PUBLISHED: 15, Status.PENDING: 5}


def test_a_database_that_fails_at_the_claim_fails_no_send(
    no_broker: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("could not connect: postgres://web:s3cret@db/web")

    monkeypatch.setattr("dispatch.relay.claims.claim", fail)
    send()
    assert statuses() == [Status.PENDING]
    assert "are left to a relay: could not connect" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("is_back", [True, False], ids=["there again", "still away"])
def test_what_was_claimed_before_an_error_does_not_wait_for_its_lease(no_broker: None, is_back: bool) -> None:
    def lose_answers(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal is_lost
        if is_lost and not is_back:
            raise OperationalError("It is away.")
        answer = execute(sql, params, many, context)
        is_committed = not is_lost and "lease_token" in sql and not connection.in_atomic_block
        if is_committed and OutboxMessage.objects.filter(status=Status.CLAIMED).exists():
            is_lost = True
            raise OperationalError("The answer was lost.")
        return answer

    is_lost = False
    with connection.execute_wrapper(lose_answers):
        send()
    assert statuses() == [Status.PENDING if is_back else Status.CLAIMED]
    send()
    assert statuses() == [Status.PENDING, Status.PUBLISHED]


def test_an_error_that_nobody_foresaw_fails_no_send_and_leaves_nothing_claimed(
    no_broker: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        assert statuses() == [Status.CLAIMED]
        raise KeyError("postgres://web:s3cret@db/web")

    monkeypatch.setattr(Batches, "begin", fail)
    send()
    assert statuses() == [Status.PENDING]
    assert "in fail" in caplog.text
    assert "s3cret" not in caplog.text


def test_what_could_not_be_recorded_is_recorded_before_more_is_published(
    no_broker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(settling, "_write", fail)
        send()
        send()
    assert statuses() == [Status.CLAIMED, Status.PENDING]
    send()
    assert statuses() == [Status.PUBLISHED, Status.PENDING, Status.PUBLISHED]


def test_a_late_answer_is_recorded_by_its_schemas_next_commit_where_a_thread_stands_in_another(
    no_broker: None, deliver: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver("on_commit", SCHEMA_NAME="tests.support.schemas.name")
    answer, publish = threading.Event(), Publisher.publish_batch

    def late(*args: Any, **options: Any) -> Any:
        found = publish(*args, **options)
        answer.wait(60)
        return found

    monkeypatch.setattr(schemas, "current", "ada")
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "LONGEST", 0.5)
        patch.setattr(Publisher, "publish_batch", late)
        send()
    monkeypatch.setattr(schemas, "current", "")
    answer.set()
    for thread in threading.enumerate():
        if thread.name == "dispatch delivery":
            thread.join()
    send()
    assert statuses() == [Status.CLAIMED, Status.PUBLISHED]
    monkeypatch.setattr(schemas, "current", "ada")
    send()
    assert statuses() == [Status.PUBLISHED] * 3


def test_a_bad_setting_breaks_no_save(
    no_broker: None, deliver: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    deliver("at once")
    send()
    assert statuses() == [Status.PENDING]
    told = 'DISPATCH["DELIVERY"] is \'at once\', but must be "relay", "on_commit" or "console".'
    assert told in caplog.text
    assert [check.msg for check in run_checks() if check.id == "dispatch.E001"] == [told]


def test_where_somebody_commits_by_hand_the_relay_publishes(no_broker: None) -> None:
    transaction.set_autocommit(False)
    try:
        send()
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert statuses() == [Status.PENDING]


@pytest.mark.parametrize("way", ["on_commit", "console"])
def test_a_test_that_plays_commits_publishes_nothing(
    no_broker: None, deliver: Callable[..., None], way: str
) -> None:
    deliver(way)
    with transaction.atomic():
        with TestCase.captureOnCommitCallbacks(execute=True) as callbacks:
            send()
        assert len(callbacks) == 1
        assert statuses() == [Status.PENDING]
        transaction.set_rollback(True)


# -- console -----------------------------------------------------------------------------------------


@pytest.fixture
def console(broker_settings: Callable[..., None], deliver: Callable[..., None]) -> None:
    broker_settings(f"redis://{HOST}:1/0")
    deliver("console")
    make_registry()


def test_a_message_is_printed_at_the_commit_and_waits_for_nobody(
    console: None, capsys: pytest.CaptureFixture[str]
) -> None:
    TaskDefinition.objects.update(sensitive_parameters=["text"])
    with transaction.atomic():
        message = send_task(TASK, ["1"], {"text": "s3cret", "sentences": 2}, priority=7)
        assert capsys.readouterr().out == ""
    assert capsys.readouterr().out == (
        f"dispatch: {TASK}('1', text='***', sentences=2) to queue 'llm' of broker 'default', priority 7, "
        f"task id {message.pk}\n"
    )
    message.refresh_from_db()
    assert (message.status, message.last_error) == (Status.CANCELLED, delivery.PRINTED)


def test_the_steps_of_a_chain_are_printed_in_order(console: None, capsys: pytest.CaptureFixture[str]) -> None:
    steps = send_chain([Call(TASK, kwargs=ARGUMENTS), *[Call(TASK, kwargs={"text": "."})] * 2])
    first, *later = capsys.readouterr().out.splitlines()
    assert first.endswith(f"task id {steps[0].pk}")
    assert [line.rpartition(" task id ")[2] for line in later] == [
        f"{step.pk}, behind the step before it" for step in steps[1:]
    ]
    assert sorted(statuses()) == [Status.CANCELLED, Status.CHAINED, Status.CHAINED]


def test_what_waits_for_its_time_is_printed_with_it(
    console: None, capsys: pytest.CaptureFixture[str]
) -> None:
    message = send_task(TASK, kwargs=ARGUMENTS, countdown=60)
    assert f", due at {message.available_at.isoformat(' ', 'seconds')}, task id" in capsys.readouterr().out
    assert statuses() == [Status.CANCELLED]


def test_what_is_rolled_back_is_not_printed(console: None, capsys: pytest.CaptureFixture[str]) -> None:
    with transaction.atomic():
        send()
        transaction.set_rollback(True)
    assert capsys.readouterr().out == ""


def test_no_argument_steers_the_terminal(console: None, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    send_task(TASK, ["1"], {"text": "\x1b[2J\n\u202eä"})
    [line] = out.buffer.getvalue().decode("ascii").splitlines()  # type: ignore[attr-defined]
    assert line.isprintable()


def test_a_console_in_production_is_told_before_a_deployment(console: None, settings: Any) -> None:
    def told() -> list[str | None]:
        return [
            check.id for check in run_checks(include_deployment_checks=True) if check.id == "dispatch.W029"
        ]

    settings.DEBUG = False
    assert told() == ["dispatch.W029"]
    settings.DEBUG = True
    assert told() == []
