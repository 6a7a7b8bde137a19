"""Exchanges on real brokers: every queue that a binding leads to, and no other."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import kombu
import pytest
from celery import Celery
from kombu.common import Broadcast

from dispatch.api import NoDestination, send_task
from dispatch.models import Binding, Exchange, OutboxMessage, Queue
from dispatch.relay import Relay
from tests.integration.conftest import Broker
from tests.support.brokers import delete_queue, task_ids
from tests.support.registry import ARGUMENTS, TASK, make_queue

pytestmark = pytest.mark.one_database

RABBITMQ = pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


@pytest.fixture
def bind(broker: Broker) -> Iterator[Callable[..., str]]:
    """Return a function that makes a queue with bindings to the test's exchange, which ends with the test."""
    made: list[str] = []

    def make(exchange: Exchange, *keys: str, arguments: dict[str, Any] | None = None, **columns: Any) -> str:
        made.append(f"{broker.queue}-{len(made)}")
        queue = make_queue(made[-1], **columns)
        for key in keys:
            Binding.objects.create(queue=queue, exchange=exchange, routing_key=key, arguments=arguments or {})
        return queue.name

    yield make
    if broker.kind == "rabbitmq":
        delete_queue(broker.url, *made, f"{broker.queue}-x")


def make_exchange(broker: Broker, kind: str) -> Exchange:
    return Exchange.objects.create(name=f"{broker.queue}-x", type=kind)


def test_a_topic_message_reaches_exactly_the_queues_whose_bindings_match(
    broker: Broker, relay: Relay, bind: Callable[..., str]
) -> None:
    exchange = make_exchange(broker, "topic")
    all_media, any_report, exact = (
        bind(exchange, "media.#"),
        bind(exchange, "*.report", "x.y"),
        bind(exchange, "z"),
    )
    keys = ("media.report", "media", "media.a.report", "x.y", "z")
    sent = {
        key: str(send_task(TASK, kwargs=ARGUMENTS, exchange=exchange.name, routing_key=key).pk)
        for key in keys
    }
    assert relay.drain() == len(keys)
    assert task_ids(broker.url, all_media) == [sent[key] for key in keys[:3]]
    assert task_ids(broker.url, any_report) == [sent["media.report"], sent["x.y"]]
    assert task_ids(broker.url, exact) == [sent["z"]]
    with pytest.raises(NoDestination, match=r"a key that matches 'audio\.report\.x'"):
        send_task(TASK, kwargs=ARGUMENTS, exchange=exchange.name, routing_key="audio.report.x")


def test_a_queue_that_two_bindings_lead_to_gets_the_message_once(
    broker: Broker, relay: Relay, bind: Callable[..., str]
) -> None:
    exchange = make_exchange(broker, "topic")
    name = bind(exchange, "media.#", "*.report")
    sent = send_task(TASK, kwargs=ARGUMENTS, exchange=exchange.name, routing_key="media.report")
    assert relay.drain() == 1
    assert task_ids(broker.url, name) == [str(sent.pk)]


def own_queue(exchange: str, queue: str) -> kombu.Queue:
    return kombu.Queue(queue, kombu.Exchange(exchange, "fanout"), durable=False, auto_delete=True)


@contextmanager
def listening(url: str, own: kombu.Queue) -> Iterator[Callable[[], list[str]]]:
    """A worker that consumes a queue of its own, bound to a fanout exchange; yields what tells the ids it got."""
    received: list[str] = []

    def take(body: Any, message: kombu.Message) -> None:
        received.append(message.headers["id"])
        message.ack()

    def wait(connection: kombu.Connection, seconds: float) -> None:
        with suppress(socket.timeout):
            connection.drain_events(timeout=seconds)

    with kombu.Connection(url) as connection, connection.Consumer(own, callbacks=[take], accept=["json"]):
        wait(connection, 0.3)  # on Redis it is subscribed at the first look

        def ids() -> list[str]:
            wait(connection, 3)
            wait(connection, 0.2)  # a second copy would be here
            return received

        yield ids


def test_a_broadcast_reaches_every_worker_that_bound_a_queue_of_its_own(broker: Broker, relay: Relay) -> None:
    exchange = make_exchange(broker, "fanout")
    try:
        with ExitStack() as workers:
            inboxes = [
                workers.enter_context(
                    listening(broker.url, own_queue(exchange.name, f"{broker.queue}-worker-{number}"))
                )
                for number in range(2)
            ]
            sent = send_task(TASK, kwargs=ARGUMENTS, exchange=exchange.name)
            assert relay.drain() == 1
            assert [inbox() for inbox in inboxes] == [[str(sent.pk)]] * 2
    finally:
        if broker.kind == "rabbitmq":
            delete_queue(broker.url, exchange.name)
    sent.refresh_from_db()
    assert sent.ignore_result, "many results of one task id would overwrite each other"


def test_a_broadcast_reaches_a_worker_that_listens_with_celerys_broadcast(
    broker: Broker, relay: Relay
) -> None:
    """Celery binds it with its default routing key, which on Redis is a part of the channel's name."""
    exchange = make_exchange(broker, "fanout")
    default = Queue.objects.get(is_default=True).name
    app = Celery(broker=broker.url, set_as_current=False)
    app.conf.update(task_default_queue=default, task_queues=[Broadcast(exchange.name)])
    try:
        with listening(broker.url, app.amqp.queues[exchange.name]) as inbox:
            sent = send_task(TASK, kwargs=ARGUMENTS, exchange=exchange.name)
            assert relay.drain() == 1
            assert inbox() == [str(sent.pk)]
    finally:
        if broker.kind == "rabbitmq":
            delete_queue(broker.url, exchange.name)


def test_a_broadcast_reaches_the_registrys_own_queues_as_well(
    broker: Broker, relay: Relay, bind: Callable[..., str]
) -> None:
    exchange = make_exchange(broker, "fanout")
    names = [bind(exchange, ""), bind(exchange, "any")]
    sent = send_task(TASK, kwargs=ARGUMENTS, exchange=exchange.name)
    assert relay.drain() == 1
    assert [task_ids(broker.url, name) for name in names] == [[str(sent.pk)]] * 2


def test_a_broadcast_that_no_worker_listens_to_is_published_all_the_same(
    broker: Broker, relay: Relay, bind: Callable[..., str]
) -> None:
    exchange = make_exchange(broker, "fanout")
    send_task(TASK, kwargs=ARGUMENTS, exchange=exchange.name)
    assert relay.drain() == 1


@RABBITMQ
def test_a_headers_exchange_takes_what_its_bindings_ask_for(
    broker: Broker, relay: Relay, bind: Callable[..., str]
) -> None:
    exchange = make_exchange(broker, "headers")
    pdf = bind(exchange, "", arguments={"x-match": "all", "format": "pdf"})
    image = bind(exchange, "", arguments={"x-match": "any", "format": "png", "kind": "image"})
    sent = send_task(TASK, kwargs=ARGUMENTS, exchange=exchange.name, headers={"format": "pdf"})
    lost = send_task(TASK, kwargs=ARGUMENTS, exchange=exchange.name, headers={"format": "doc"})
    assert relay.step() == 1
    assert task_ids(broker.url, pdf) == [str(sent.pk)]
    assert task_ids(broker.url, image) == []
    lost.refresh_from_db()
    assert (lost.status, lost.attempts) == ("pending", 1)
    assert "refused the message" in lost.last_error


@RABBITMQ
def test_a_binding_that_is_added_while_the_relay_runs_brings_messages_at_once(
    broker: Broker, relay: Relay, bind: Callable[..., str]
) -> None:
    exchange = make_exchange(broker, "topic")
    first, second = bind(exchange, "a.#"), bind(exchange, "b.#")
    for key in ("a.1", "b.1"):
        send_task(TASK, kwargs=ARGUMENTS, exchange=exchange.name, routing_key=key)
    assert relay.step() == 2
    Binding.objects.create(queue=Queue.objects.get(name=second), exchange=exchange, routing_key="a.#")
    send_task(TASK, kwargs=ARGUMENTS, exchange=exchange.name, routing_key="a.2")
    assert relay.step() == 1
    assert [len(task_ids(broker.url, name)) for name in (first, second)] == [2, 2]


@RABBITMQ
def test_a_full_queue_behind_an_exchange_is_counted_and_backed_off(
    broker: Broker, relay: Relay, bind: Callable[..., str], broker_settings: Callable[..., None]
) -> None:
    broker_settings(broker.url, BACKOFF_BASE=30)
    exchange = make_exchange(broker, "topic")
    healthy = bind(exchange, "#")
    full = bind(exchange, "#")
    Queue.objects.filter(name=full).update(arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
    send_task(TASK, kwargs=ARGUMENTS, exchange=exchange.name, routing_key="a")
    assert [relay.step() for _ in range(5)] == [0] * 5
    row = OutboxMessage.objects.get()
    assert (row.status, row.attempts) == ("pending", 1)
    assert "takes no more messages" in row.last_error
    assert len(task_ids(broker.url, healthy)) == 1, "the healthy queue is not flooded with copies"
