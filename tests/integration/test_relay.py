"""From the outbox to a real broker."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest
from asgiref.sync import async_to_sync
from celery import Celery
from django.db import DataError, InterfaceError, OperationalError, connection
from django.forms import model_to_dict
from django.utils import timezone

from dispatch.api import Call, UnknownTask, asend_task, message_published, send_many, send_task
from dispatch.client.amqp_confirms import Confirming
from dispatch.client.broker_connection import Session
from dispatch.client.publisher import Fate, OneByOne, Publisher
from dispatch.client.redis_pipeline import Pipelining
from dispatch.exceptions import BrokerUnavailable, QueueUnavailable
from dispatch.models import OutboxMessage, Queue, Route, TaskDefinition
from dispatch.models.database import database_now
from dispatch.outbox import requeue
from dispatch.relay import Relay, loop, settling
from dispatch.relay.claims import claim
from dispatch.relay.settling import Outcome, settle
from tests.integration.conftest import Broker
from tests.support.brokers import body, delete_queue, read_all, task_ids
from tests.support.failpoints import filled_in, is_claim
from tests.support.registry import ARGUMENTS, TASK, make_queue, make_registry, make_task

Status = OutboxMessage.Status


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


def test_a_sent_task_is_a_celery_message_in_its_queue(broker: Broker, relay: Relay) -> None:
    message = send_task(TASK, ["1"], {"text": "Grüße"})
    assert relay.drain() == 1
    [received] = read_all(broker.url, broker.queue)
    assert received.headers["id"] == str(message.id)
    assert received.headers["task"] == TASK
    assert body(received)[:2] == [["1"], {"text": "Grüße"}]
    message.refresh_from_db()
    assert (message.status, message.attempts, message.last_error) == (Status.PUBLISHED, 1, "")
    assert message.published_to["queue"] == broker.queue
    assert abs(message.published_at - timezone.now()) < dt.timedelta(seconds=30)


def test_what_is_published_is_not_published_again(broker: Broker, relay: Relay) -> None:
    send_task(TASK, kwargs=ARGUMENTS)
    assert [relay.drain(), relay.drain()] == [1, 0]
    assert len(read_all(broker.url, broker.queue)) == 1


def test_send_many_is_published_in_order(broker: Broker, relay: Relay) -> None:
    messages = send_many(Call(TASK, [str(number), "text"]) for number in range(25))
    relay.drain()
    assert task_ids(broker.url, broker.queue) == [str(message.id) for message in messages]


def test_a_countdown_waits_in_the_outbox(broker: Broker, relay: Relay) -> None:
    message = send_task(TASK, kwargs=ARGUMENTS, countdown=3600)
    assert relay.drain() == 0
    OutboxMessage.objects.filter(pk=message.pk).update(available_at=database_now())
    assert relay.drain() == 1
    [received] = read_all(broker.url, broker.queue)
    assert received.headers["eta"] is None


def test_deliver_eta_leaves_the_wait_to_the_worker(broker: Broker, relay: Relay) -> None:
    eta = timezone.now() + dt.timedelta(hours=1)
    send_task(TASK, kwargs=ARGUMENTS, eta=eta, deliver_eta=True)
    assert relay.drain() == 1
    [received] = read_all(broker.url, broker.queue)
    assert received.headers["eta"] == eta.isoformat()


def test_what_expired_before_its_turn_is_cancelled_visibly(broker: Broker, relay: Relay) -> None:
    message = send_task(TASK, kwargs=ARGUMENTS, expires=timezone.now() - dt.timedelta(seconds=1))
    assert relay.drain() == 0
    message.refresh_from_db()
    assert message.status == Status.CANCELLED
    assert "Expired at" in message.last_error
    assert read_all(broker.url, broker.queue) == []


def test_a_paused_queue_waits_and_holds_up_no_other(broker: Broker, relay: Relay, unique: str) -> None:
    other = make_queue(f"{unique}-other")
    Queue.objects.filter(name=broker.queue).update(paused=True)
    waiting = send_task(TASK, kwargs=ARGUMENTS)
    passing = send_task(TASK, kwargs=ARGUMENTS, queue=other.name)
    try:
        assert relay.drain() == 1
        assert task_ids(broker.url, other.name) == [str(passing.id)]
        Queue.objects.filter(name=broker.queue).update(paused=False)
        assert relay.drain() == 1
        assert task_ids(broker.url, broker.queue) == [str(waiting.id)]
    finally:
        if broker.kind == "rabbitmq":
            delete_queue(broker.url, other.name)


def test_a_changed_route_moves_what_is_waiting(broker: Broker, relay: Relay, unique: str) -> None:
    message = send_task(TASK, kwargs=ARGUMENTS)
    moved = make_queue(f"{unique}-moved")
    Route.objects.update(queue=moved)
    try:
        relay.drain()
        assert task_ids(broker.url, moved.name) == [str(message.id)]
    finally:
        if broker.kind == "rabbitmq":
            delete_queue(broker.url, moved.name)


def test_a_queue_with_priorities_delivers_the_urgent_one_first(broker: Broker, relay: Relay) -> None:
    Queue.objects.filter(name=broker.queue).update(max_priority=9, default_priority=3)
    calls = [Call(TASK, kwargs=ARGUMENTS, priority=priority) for priority in (0, 9, None)]
    lazy, urgent, normal = send_many(calls)
    relay.drain()
    received = task_ids(broker.url, broker.queue)
    assert received == [str(urgent.id), str(normal.id), str(lazy.id)]


def test_a_sensitive_argument_is_masked_for_flower_and_logs(broker: Broker, relay: Relay) -> None:
    TaskDefinition.objects.update(sensitive_parameters=["text"])
    send_task(TASK, ["1", "by position, secret"])
    send_task(TASK, kwargs={"note_id": "1", "text": "by name, secret"})
    relay.drain()
    for received in read_all(broker.url, broker.queue):
        assert "secret" in received.body if isinstance(received.body, str) else b"secret" in received.body
        assert "secret" not in received.headers["argsrepr"] + received.headers["kwargsrepr"]


def test_links_and_stamps_are_written_as_celery_writes_them(broker: Broker, relay: Relay) -> None:
    make_task("worker.tasks.after")
    send_task(
        TASK,
        kwargs=ARGUMENTS,
        link="worker.tasks.after",
        link_error=[{"task": "worker.tasks.after", "kwargs": {"failed": True}}],
        stamps={"tenant": "a"},
    )
    relay.drain()
    [received] = read_all(broker.url, broker.queue)
    celery = Celery(set_as_current=False)
    expected = celery.amqp.as_task_v2(
        "id",
        TASK,
        callbacks=[celery.signature("worker.tasks.after")],
        errbacks=[celery.signature("worker.tasks.after", kwargs={"failed": True})],
        stamped_headers=["tenant"],
        tenant="a",
    )
    assert body(received)[2] == json.loads(json.dumps(expected.body[2]))
    for header in ("stamped_headers", "stamps"):
        assert received.headers[header] == expected.headers[header]


def test_a_linked_task_must_be_in_the_registry(broker: Broker) -> None:
    with pytest.raises(UnknownTask, match=r"worker\.tasks\.aftr"):
        send_task(TASK, kwargs=ARGUMENTS, link="worker.tasks.aftr")


def test_asend_task_enqueues_from_async_code(broker: Broker, relay: Relay) -> None:
    message = async_to_sync(asend_task)(TASK, kwargs=ARGUMENTS)
    relay.drain()
    assert task_ids(broker.url, broker.queue) == [str(message.id)]


def test_a_task_that_left_the_registry_is_tried_again_and_then_dead(
    broker: Broker, relay: Relay, settings: object, broker_settings: Callable[..., None]
) -> None:
    broker_settings(broker.url, MAX_ATTEMPTS=2, BACKOFF_MAX=0)
    message = send_task(TASK, kwargs=ARGUMENTS)
    TaskDefinition.objects.all().delete()
    relay.step()
    message.refresh_from_db()
    assert (message.status, message.attempts) == (Status.PENDING, 1)
    relay.step()
    message.refresh_from_db()
    assert (message.status, message.attempts) == (Status.DEAD, 2)
    assert f"No task '{TASK}' in the registry" in message.last_error

    make_task()
    assert requeue(OutboxMessage.objects.filter(pk=message.pk)) == 1
    assert relay.drain() == 1
    assert task_ids(broker.url, broker.queue) == [str(message.id)]


def test_a_queue_that_the_broker_refuses_stops_alone(
    rabbitmq_url: str, broker_settings: Callable[..., None], unique: str, transactional_db: None, relay: Relay
) -> None:
    broker_settings(rabbitmq_url)
    with kombu.Connection(rabbitmq_url) as there:
        kombu.Queue(unique, durable=True, queue_arguments={"x-max-length": 5}).bind(there.channel()).declare()
    refused = make_queue(unique)
    fine = make_queue(f"{unique}-fine")
    make_task(queue=refused)
    try:
        waiting = send_many(Call(TASK, kwargs=ARGUMENTS) for _ in range(3))
        passing = send_task(TASK, kwargs=ARGUMENTS, queue=fine.name)
        assert relay.step() == 1
        assert task_ids(rabbitmq_url, fine.name) == [str(passing.id)]
        rows = OutboxMessage.objects.filter(pk__in=[message.pk for message in waiting])
        assert {row.status for row in rows} == {Status.PENDING}
        assert {row.attempts for row in rows} == {0}
        assert "does not accept queue" in "".join(row.last_error for row in rows)
    finally:
        delete_queue(rabbitmq_url, refused.name, fine.name)


def test_a_row_that_another_relay_took_over_is_not_settled_by_the_first(transactional_db: None) -> None:
    make_task(queue=make_queue("default", is_default=True))
    send_task(TASK, kwargs=ARGUMENTS)
    [slow] = claim("default", 10, lease=60)
    OutboxMessage.objects.update(lease_expires_at=database_now() - dt.timedelta(seconds=1))
    Relay()._sweep()
    [fast] = claim("default", 10, lease=60)
    assert settle("default", [Outcome(slow, Status.DEAD, "too late")]) == []
    assert len(settle("default", [Outcome(fast, Status.PENDING, "released")])) == 1
    assert OutboxMessage.objects.get().last_error == "released"


def test_a_message_left_by_a_killed_relay_is_published_with_the_same_id(broker: Broker, relay: Relay) -> None:
    message = send_task(TASK, kwargs=ARGUMENTS)
    claim("default", 10, lease=60)  # by a relay that is killed now
    assert relay.drain() == 0
    OutboxMessage.objects.update(lease_expires_at=database_now() - dt.timedelta(seconds=1))
    relay._swept = 0.0
    assert relay.drain() == 1
    assert task_ids(broker.url, broker.queue) == [str(message.id)]


@pytest.mark.parametrize(
    "is_meant",
    [is_claim, lambda statement: "coalesce_key" in statement and statement.startswith("SELECT")],
    ids=["the claim", "the look for later messages"],
)
def test_what_was_claimed_before_an_error_does_not_wait_for_its_lease(
    broker: Broker, relay: Relay, is_meant: Callable[[str], bool]
) -> None:
    message = send_task(TASK, kwargs=ARGUMENTS)
    OutboxMessage.objects.update(coalesce_key="a note")

    def lose_the_answer(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        answer = execute(sql, params, many, context)
        if is_meant(filled_in(sql, params)) and OutboxMessage.objects.filter(status="claimed").exists():
            raise OperationalError("The answer was lost.")
        return answer

    with connection.execute_wrapper(lose_the_answer), pytest.raises(OperationalError):
        relay.step()
    assert relay.step() == 1
    assert task_ids(broker.url, broker.queue) == [str(message.id)]


@pytest.mark.parametrize("error", [OperationalError, KeyError])
def test_a_relay_that_an_error_ends_gives_back_what_it_has_claimed(
    broker: Broker, relay: Relay, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: Any) -> None:
        assert counts() == {Status.CLAIMED: 1}
        raise error

    send_task(TASK, kwargs=ARGUMENTS)
    monkeypatch.setattr(loop, "coalesced", fail)
    with pytest.raises(error):
        relay.drain()
    assert counts() == {Status.PENDING: 1}


@pytest.mark.one_database
def test_a_relay_claims_fewer_messages_where_they_are_large(
    transactional_db: None, broker_settings: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker_settings("memory://", RELAY_BATCH_SIZE=10)
    make_registry()
    monkeypatch.setattr(loop, "FIRST", 2)
    monkeypatch.setattr(loop, "LARGE", 3_000)
    for text, number in (("a", 24), ("a" * 1_000, 20), ("a", 9)):
        send_many([Call(TASK, ["1", text])] * number)
    relay, claims = Relay(), list[int]()
    while OutboxMessage.objects.filter(status=Status.PENDING).exists():
        claims.append(relay.step())
    assert claims == [2, 4, 8, 10, 10, 2, 2, 2, 2, 2, 2, 4, 3]


def then_stop(relay: Relay, publish: Callable[..., None]) -> Callable[..., None]:
    def publish_and_stop(*args: Any) -> None:
        publish(*args)
        relay.stop.set()

    return publish_and_stop


def counts() -> dict[str, int]:
    return dict(Counter(OutboxMessage.objects.values_list("status", flat=True)))


def test_a_relay_that_is_told_to_stop_releases_the_rest_of_its_batch(
    broker: Broker, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_many(Call(TASK, kwargs=ARGUMENTS) for _ in range(5))
    for way in (Confirming, Pipelining):
        monkeypatch.setattr(way, "limit", 2)
        monkeypatch.setattr(way, "publish", then_stop(relay, way.publish))
    relay.run()
    assert counts() == {Status.PUBLISHED: 2, Status.PENDING: 3}
    assert len(read_all(broker.url, broker.queue)) == 2


def test_a_relay_claims_and_settles_while_its_broker_works_and_gives_back_at_its_end_what_is_not_begun(
    broker: Broker, relay: Relay, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.DISPATCH = {**settings.DISPATCH, "RELAY_BATCH_SIZE": 2}
    gate, publish = threading.Semaphore(0), Publisher.publish_batch

    def wait_and_publish(*args: Any, **options: Any) -> Any:
        gate.acquire()
        return publish(*args, **options)

    monkeypatch.setattr(Publisher, "publish_batch", wait_and_publish)
    monkeypatch.setattr(loop, "PATIENCE", 0.01)
    send_many(Call(TASK, [str(number), "text"]) for number in range(6))
    for claimed in (2, 4, 4):  # one batch is under way, another is ready, and no more
        relay._batch()
        assert counts() == {Status.CLAIMED: claimed, Status.PENDING: 6 - claimed}
    gate.release()
    while not relay._batch():
        pass
    assert counts() == {Status.PUBLISHED: 2, Status.CLAIMED: 2, Status.PENDING: 2}
    relay._batch()
    assert counts() == {Status.PUBLISHED: 2, Status.CLAIMED: 4}
    gate.release()
    relay.stop.set()
    relay.run()
    assert counts() == {Status.PUBLISHED: 2, Status.PENDING: 4}
    assert [body(message)[0][0] for message in read_all(broker.url, broker.queue)] == ["0", "1"]


@pytest.mark.parametrize(
    ("place", "step", "error"),
    [(Publisher, "_open", BrokerUnavailable), (Session, "declare", QueueUnavailable)],
    ids=["broker", "queue"],
)
def test_a_batch_that_is_ready_is_not_tried_where_its_broker_or_its_queue_failed_meanwhile(
    broker: Broker,
    relay: Relay,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    place: type,
    step: str,
    error: type[Exception],
) -> None:
    settings.DISPATCH = {**settings.DISPATCH, "RELAY_BATCH_SIZE": 1}
    relay.breakers.base = 60
    gate, tried = threading.Event(), []

    def fail(*args: Any) -> Any:
        tried.append(gate.wait())
        raise error("gone")

    monkeypatch.setattr(place, step, fail)
    send_many([Call(TASK, kwargs=ARGUMENTS)] * 2)
    relay._batch()
    relay._batch()
    gate.set()
    relay._batch()
    relay._rest()
    assert tried == [True]
    assert counts() == {Status.PENDING: 2}


def test_an_error_that_nobody_foresaw_leaves_the_relay_and_other_brokers_alone(
    broker: Broker,
    relay: Relay,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    settings: Any,
) -> None:
    brokers = {**settings.DISPATCH["BROKERS"], "other": {"URL": "memory://"}}
    settings.DISPATCH = {**settings.DISPATCH, "BROKERS": brokers}
    make_task("notes.other", queue=make_queue("other", broker="other"))
    messages = send_many([Call(TASK, kwargs=ARGUMENTS)] * 3)
    other = send_task("notes.other", kwargs=ARGUMENTS)
    over, calls = threading.Event(), list[None]()

    def at_the_second(publish: Callable[..., None]) -> Callable[..., None]:
        def fail(way: Any, attempts: Any, until: float) -> None:
            over.wait()
            calls.append(publish(way, attempts, until))
            if len(calls) == 2:
                attempts[0].answer = Fate.UNTRIED  # as if no answer had been noted
                raise KeyError("amqp://user:s3cret@host")

        return fail

    def then_tell(publish: Callable[..., None]) -> Callable[..., None]:
        return lambda *args: publish(*args) or over.set()

    with monkeypatch.context() as patch:
        for way in (Confirming, Pipelining):
            patch.setattr(way, "limit", 1)
            patch.setattr(way, "publish", at_the_second(way.publish))
        patch.setattr(OneByOne, "publish", then_tell(OneByOne.publish))
        assert relay.step() == 2
    for message in (*messages, other):
        message.refresh_from_db()
    became = [(each.status, each.attempts) for each in messages]
    assert became == [(Status.PUBLISHED, 1), (Status.PENDING, 1), (Status.PENDING, 0)]
    assert other.status == Status.PUBLISHED
    assert "KeyError" in messages[1].last_error
    assert "in fail" in caplog.text
    assert "s3cret" not in caplog.text + messages[1].last_error
    while OutboxMessage.objects.exclude(status=Status.PUBLISHED).exists():
        relay.step()
    first, second, third = (str(message.pk) for message in messages)
    assert sorted(task_ids(broker.url, broker.queue)) == sorted([first, second, second, third])


def test_a_relay_waits_for_a_database_that_is_away(
    broker: Broker, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def batch() -> list[Outcome]:
        calls.append(None)
        if len(calls) == 1:
            raise OperationalError("server closed the connection unexpectedly")
        relay.stop.set()
        return []

    monkeypatch.setattr(relay, "_batch", batch)
    relay.run()
    assert len(calls) == 2
    assert OutboxMessage.objects.count() == 0


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """Errors that the database raises, one after the other, when a relay records what the broker took."""
    errors: list[Exception] = []
    write = settling._write

    def fail(*args: Any) -> int:
        if errors:
            raise errors.pop()
        return write(*args)

    monkeypatch.setattr(settling, "_write", fail)
    return errors


@pytest.mark.parametrize("times", [1, 2, 5])
def test_what_the_broker_took_is_recorded_when_the_database_is_back_and_not_published_again(
    broker: Broker, relay: Relay, failing: list[Exception], times: int
) -> None:
    send_many(Call(TASK, kwargs=ARGUMENTS) for _ in range(50))
    failing += [OperationalError("could not serialize access")] * times
    while failing:
        with contextlib.suppress(OperationalError):
            relay.step()
    relay.step()
    assert len(read_all(broker.url, broker.queue)) == 50
    assert set(OutboxMessage.objects.values_list("status", "attempts")) == {(Status.PUBLISHED, 1)}


def test_who_listens_hears_of_a_message_whose_record_failed_at_first(
    broker: Broker, relay: Relay, failing: list[Exception]
) -> None:
    message = send_task(TASK, kwargs=ARGUMENTS)
    heard: list[object] = []
    message_published.connect(lambda message, **_: heard.append(message.pk), weak=False, dispatch_uid="test")
    failing += [InterfaceError("connection already closed")] * 2
    try:
        with pytest.raises(InterfaceError):
            relay.step()
        assert heard == []
        relay.step()
    finally:
        message_published.disconnect(dispatch_uid="test")
    assert heard == [message.pk]


def test_who_listens_is_given_each_column_of_the_message_as_it_is_now(broker: Broker, relay: Relay) -> None:
    expires = timezone.now() + dt.timedelta(hours=1)
    message = send_task(TASK, kwargs=ARGUMENTS, expires=expires)
    heard: list[dict[str, Any]] = []
    message_published.connect(
        lambda message, **_: heard.append(model_to_dict(message)), weak=False, dispatch_uid="test"
    )
    try:
        relay.step()
    finally:
        message_published.disconnect(dispatch_uid="test")
    assert heard == [model_to_dict(OutboxMessage.objects.get(pk=message.pk))]
    assert (heard[0]["status"], heard[0]["expires_at"]) == (Status.PUBLISHED, expires)


def test_a_record_that_still_fails_when_the_lease_is_over_is_left_to_the_next_relay(
    transactional_db: None, failing: list[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    make_task(queue=make_queue("default", is_default=True))
    send_task(TASK, kwargs=ARGUMENTS)
    [row] = claim("default", 10, lease=60)
    unsettled = settling.Unsettled("default")
    failing += [OperationalError("read-only")] * 2
    with pytest.raises(OperationalError):
        unsettled.record([Outcome(row, Status.DEAD, "no")])
    OutboxMessage.objects.update(lease_expires_at=database_now() - dt.timedelta(seconds=1))
    Relay()._sweep()
    assert len(claim("default", 10, lease=60)) == 1
    assert unsettled.record([]) == []
    assert counts() == {Status.CLAIMED: 1}
    assert "1 of 1 messages were settled after their lease ran out" in caplog.text


def test_a_reason_that_the_table_has_no_letters_for_is_stored_in_others(
    transactional_db: None, failing: list[Exception]
) -> None:
    make_task(queue=make_queue("default", is_default=True))
    send_task(TASK, kwargs=ARGUMENTS)
    [row] = claim("default", 10, lease=60)
    failing += [DataError("Incorrect string value")] * 2  # with the others of its batch, and alone
    assert len(settling.Unsettled("default").record([Outcome(row, Status.DEAD, "so 😀")])) == 1
    assert OutboxMessage.objects.get().last_error == r"so \ud83d\ude00"


def test_an_outcome_that_was_recorded_already_is_recorded_again_without_a_warning(
    transactional_db: None, caplog: pytest.LogCaptureFixture
) -> None:
    make_task(queue=make_queue("default", is_default=True))
    send_task(TASK, kwargs=ARGUMENTS)
    [row] = claim("default", 10, lease=60)
    outcomes = [Outcome(row, Status.DEAD, "no")]
    assert settle("default", outcomes) == settle("default", outcomes) == outcomes
    assert caplog.text == ""
