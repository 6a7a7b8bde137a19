"""Queues on real brokers: looked at, declared, deleted, emptied, and their messages shown."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import kombu
import pytest
from amqp.exceptions import NotFound
from django.core.management import call_command
from django.core.management.base import CommandError

from dispatch import api, queues, registry
from dispatch.client import queue_state
from dispatch.conf import conf
from dispatch.exceptions import BrokerUnavailable
from dispatch.models import Binding, Exchange, OutboxMessage, Queue
from dispatch.relay import Relay
from tests.integration.conftest import Broker
from tests.support.brokers import delete_queue, read_all, task_ids
from tests.support.proxy import Proxy
from tests.support.registry import ARGUMENTS, TASK, make_queue, make_registry
from tests.support.stacks import eventually

#: Redis has no exchanges, no queue arguments and no count of consumers, so that none can differ.
RABBITMQ = pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
#: On a shared RabbitMQ workers of others may run.
REDIS = pytest.mark.parametrize("broker", ["redis"], indirect=True)
#: Transport options by which RabbitMQ has what was published.
CONFIRMED = {"confirm_publish": True}


pytestmark = pytest.mark.slow


def run(*arguments: str) -> str:
    output = io.StringIO()
    call_command("dispatch", "queues", *arguments, stdout=output, stderr=output)
    return output.getvalue()


def line(name: str) -> dict[str, Any]:
    output = io.StringIO()
    with contextlib.suppress(CommandError):
        call_command("dispatch", "queues", "list", "--format", "json", stdout=output)
    [found] = [entry for entry in json.loads(output.getvalue()) if entry["queue"] == name]
    return dict(found)


def publish(broker: Broker, *priorities: int | None) -> list[str]:
    """Publish a message per priority, and return their ids."""
    sent = [
        str(api.send_task(TASK, kwargs=ARGUMENTS, queue=broker.queue, priority=priority).pk)
        for priority in priorities
    ]
    Relay().drain()
    return sent


def exists(url: str, queue: str) -> bool:
    with kombu.Connection(url, connect_timeout=3) as connection:
        try:
            connection.channel().queue_declare(queue, passive=True)
        except NotFound:
            return False
        return True


@pytest.fixture
def declared_otherwise(broker: Broker) -> Broker:
    """RabbitMQ holds the queue with arguments that the registry does not have, and a message in it."""
    with kombu.Connection(broker.url, transport_options=CONFIRMED) as connection:
        queue = kombu.Queue(broker.queue, queue_arguments={"x-max-priority": 5})
        queue.bind(connection.channel()).declare()
        connection.Producer().publish({}, routing_key=broker.queue)
    return broker


# -- list ---------------------------------------------------------------------------------------


def test_a_queue_is_shown_with_what_the_broker_and_the_outbox_hold(broker: Broker) -> None:
    publish(broker, None, None)
    api.send_task(TASK, kwargs=ARGUMENTS)
    consumers = 0 if broker.kind == "rabbitmq" else None
    found = line(broker.queue)
    note = found.pop("note")
    assert ("No worker consumes it" in note) == (consumers == 0)
    assert found == {
        "queue": broker.queue,
        "broker": "default",
        "ready": 2,
        "consumers": consumers,
        "waiting": 1,
        "paused": False,
        "default": False,
        "state": "ok",
    }
    row = next(text for text in run("list").splitlines() if text.startswith(broker.queue))
    shown = "?" if consumers is None else "0"
    assert row.split() == [broker.queue, "default", "2", shown, "1", "ok"]


def test_looking_at_a_queue_does_not_create_it(broker: Broker) -> None:
    found = line(broker.queue)
    if broker.kind == "rabbitmq":
        assert (found["state"], found["ready"]) == ("missing", 0)
        assert "queues declare" in found["note"]
        assert not exists(broker.url, broker.queue)
    else:
        assert (found["state"], found["ready"]) == ("ok", 0), "on Redis an empty queue is no key at all"


@RABBITMQ
def test_rabbitmq_counts_the_consumers_itself(broker: Broker) -> None:
    run("declare", broker.queue)
    with kombu.Connection(broker.url) as connection:
        consumer = kombu.Consumer(connection.channel(), [kombu.Queue(broker.queue, no_declare=True)])
        with consumer:
            assert line(broker.queue)["consumers"] == 1


@RABBITMQ
def test_arguments_that_differ_from_the_brokers_are_a_drift_with_the_remedy(
    declared_otherwise: Broker,
) -> None:
    name = declared_otherwise.queue
    found = line(name)
    assert (found["state"], found["ready"]) == ("drift", 1)
    assert "inequivalent arg 'x-max-priority'" in found["note"]
    assert f"queues delete {name}" in found["note"]
    Queue.objects.filter(name=name).update(max_priority=5)
    assert line(name)["state"] == "ok", "asking has left the queue as it was"


@RABBITMQ
def test_an_exchange_that_is_missing_or_differs_is_a_drift(broker: Broker) -> None:
    run("declare", broker.queue)
    name = f"{broker.queue}.media"
    exchange = Exchange.objects.create(name=name, type="topic")
    Binding.objects.create(
        queue=Queue.objects.get(name=broker.queue), exchange=exchange, routing_key="media.#"
    )
    try:
        assert f"Exchange '{name}' is not on the broker" in line(broker.queue)["note"]
        run("declare", broker.queue)
        assert line(broker.queue)["state"] == "ok"
        Exchange.objects.filter(name=name).update(type="direct")
        found = line(broker.queue)
        assert found["state"] == "drift"
        assert f"inequivalent arg 'type' for exchange '{name}'" in found["note"]
        assert f"celery amqp exchange.delete {name}" in found["note"]
    finally:
        delete_queue(broker.url, name)


def proxied(broker: Broker) -> tuple[Proxy, str]:
    """Return a proxy before the broker, and the URL that leads through it."""
    port = str(urlsplit(broker.url).port)
    proxy = Proxy(int(port))
    return proxy, broker.url.replace(port, str(proxy.port))


@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_a_broker_that_is_down_is_a_line_and_hides_no_other(
    broker: Broker, broker_settings: Callable[..., None], fault: str
) -> None:
    proxy, url = proxied(broker)
    getattr(proxy, fault)()
    broker_settings(broker.url, brokers={"away": {"URL": url}}, BROKER_TIMEOUT=0.5)
    make_queue("elsewhere", broker="away")
    publish(broker, None)
    try:
        with pytest.raises(CommandError, match=r"Not every broker could be asked: away"):
            run("list")
        found = line("elsewhere")
        assert (found["state"], found["ready"], found["consumers"]) == ("down", None, None)
        assert "Broker 'away' cannot be reached" in found["note"]
        assert line(broker.queue)["ready"] == 1
    finally:
        proxy.close()


@pytest.mark.parametrize("fault", ["cut", "swallow_replies"])
def test_a_broker_that_is_lost_while_it_is_asked_is_said_to_be_so_in_time(
    broker: Broker, broker_settings: Callable[..., None], fault: str
) -> None:
    proxy, url = proxied(broker)
    broker_settings(url, BROKER_TIMEOUT=0.5)
    table = registry.current().table
    try:
        with queue_state.opened(conf.brokers["default"]) as link:
            getattr(proxy, fault)()
            with pytest.raises(BrokerUnavailable, match="Broker 'default' was lost"):
                queue_state.state(link, table, table.queues[broker.queue])
    finally:
        proxy.close()


def test_a_row_whose_broker_is_not_in_the_settings_says_so(broker: Broker) -> None:
    make_queue("elsewhere", broker="defalt")
    assert "no broker 'defalt' (did you mean 'default'?)" in line("elsewhere")["note"]


# -- declare, delete, purge ---------------------------------------------------------------------


def test_declared_bindings_bring_messages_into_the_queue(broker: Broker) -> None:
    name = f"{broker.queue}.media"
    exchange = Exchange.objects.create(name=name, type="topic")
    queue = Queue.objects.get(name=broker.queue)
    for key in ("audio.#", "video"):
        Binding.objects.create(queue=queue, exchange=exchange, routing_key=key)
    try:
        assert run("declare", broker.queue) == f"{broker.queue}: declared\n"
        with kombu.Connection(broker.url, transport_options=CONFIRMED) as connection:
            producer = connection.Producer()
            for key in ("audio.wav", "video", "text"):
                target = kombu.Exchange(name, type="topic")
                producer.publish({"key": key}, exchange=target, routing_key=key, declare=[target])
        assert line(broker.queue)["ready"] == 2
    finally:
        if broker.kind == "rabbitmq":
            delete_queue(broker.url, name)


@RABBITMQ
def test_a_queue_that_differs_is_not_declared_and_does_not_stop_the_others(
    declared_otherwise: Broker,
) -> None:
    other = make_queue(f"{declared_otherwise.queue}-other").name
    output = io.StringIO()
    try:
        with pytest.raises(CommandError, match=f"1 of 2 queues failed: {declared_otherwise.queue}"):
            call_command(
                "dispatch",
                "queues",
                "declare",
                declared_otherwise.queue,
                other,
                stdout=output,
                stderr=output,
            )
        assert f"{other}: declared" in output.getvalue()
        assert "inequivalent arg" in output.getvalue()
        assert exists(declared_otherwise.url, other)
    finally:
        delete_queue(declared_otherwise.url, other)


def test_a_deleted_queue_is_gone_from_the_broker_with_its_bindings_and_stays_in_the_registry(
    broker: Broker,
) -> None:
    publish(broker, None, 9)
    assert run("delete", broker.queue, "--yes") == f"{broker.queue}: deleted, 2 messages gone\n"
    assert Queue.objects.filter(name=broker.queue).exists()
    assert read_all(broker.url, broker.queue) == []
    if broker.kind == "rabbitmq":
        assert not exists(broker.url, broker.queue)
        again = run("delete", broker.queue, "--yes")
        assert again == f"{broker.queue}: is not on broker 'default'\n"
    else:
        with kombu.Connection(broker.url) as connection:
            assert [
                key for key in connection.channel().client.keys("*") if broker.queue in key.decode()
            ] == []


@RABBITMQ
def test_deleting_takes_the_exchange_of_the_same_name_too_unless_it_is_used(broker: Broker) -> None:
    other = f"{broker.queue}-other"
    run("declare", broker.queue)
    with kombu.Connection(broker.url) as connection:
        channel = connection.channel()
        kombu.Queue(other, kombu.Exchange(broker.queue), routing_key="x").bind(channel).declare()
    run("delete", broker.queue, "--yes")
    try:
        assert exchange_exists(broker), "another queue is bound to it"
    finally:
        delete_queue(broker.url, other)
    run("declare", broker.queue)
    run("delete", broker.queue, "--yes")
    assert not exchange_exists(broker)


def exchange_exists(broker: Broker) -> bool:
    with kombu.Connection(broker.url) as connection:
        try:
            connection.channel().exchange_declare(broker.queue, "direct", passive=True)
        except NotFound:
            return False
        return True


def test_purging_empties_the_broker_and_leaves_the_outbox(broker: Broker) -> None:
    publish(broker, None, 3, 9)
    waiting = api.send_task(TASK, kwargs=ARGUMENTS, queue=broker.queue)
    assert run("purge", broker.queue, "--yes") == f"{broker.queue}: purged, 3 messages gone\n"
    assert line(broker.queue)["ready"] == 0
    assert OutboxMessage.objects.get(pk=waiting.pk).status == "pending"


# -- peek ---------------------------------------------------------------------------------------


def test_peeking_shows_messages_in_their_turn_and_takes_none_away(broker: Broker) -> None:
    Queue.objects.filter(name=broker.queue).update(max_priority=9)
    low, first, second, high = publish(broker, 0, 5, 5, 9)
    seen = queues.peek(broker.queue, 10)
    assert [(message.task_id, message.priority) for message in seen] == [
        (high, 9),
        (first, 5),
        (second, 5),
        (low, 0),
    ]
    assert [message.task_id for message in queues.peek(broker.queue, 3)] == [high, first, second]
    # RabbitMQ takes them back a moment after the last one was handed out.
    eventually(lambda: line(broker.queue)["ready"] == 4)
    assert task_ids(broker.url, broker.queue) == [high, first, second, low]


def test_peeking_shows_task_id_arguments_and_headers_but_no_sensitive_value(broker: Broker) -> None:
    from dispatch.models import TaskDefinition

    TaskDefinition.objects.update(sensitive_parameters=["text"])
    [task_id] = publish(broker, 4) if broker.kind == "redis" else publish(broker, None)
    text = run("peek", broker.queue)
    assert f"1. {TASK} {task_id}\n" in text
    assert "kwargs: {'note_id': '1', 'text': '***'}" in text
    assert "lang: py\n" in text
    assert "Hello." not in text
    [message] = json.loads(run("peek", broker.queue, "--format", "json"))
    assert (message["task"], message["task_id"]) == (TASK, task_id)
    assert message["headers"]["root_id"] == task_id


def test_an_empty_queue_has_nothing_to_show(broker: Broker) -> None:
    run("declare", broker.queue)
    assert run("peek", broker.queue) == f"Queue '{broker.queue}' is empty.\n"


def test_a_message_that_is_not_celerys_is_shown_as_such(broker: Broker) -> None:
    run("declare", broker.queue)
    with kombu.Connection(broker.url, transport_options=CONFIRMED) as connection:
        connection.Producer().publish(b"\xff", routing_key=broker.queue, content_type="x/y")
        if broker.kind == "redis":
            connection.channel().client.lpush(broker.queue, "no envelope", "[]", "[" * 100_000)
    seen = queues.peek(broker.queue, 10)
    assert {message.task for message in seen} == {"(not a message of Celery)"}
    assert len(seen) == (4 if broker.kind == "redis" else 1)


@REDIS
def test_whatever_stands_in_a_header_it_is_shown_in_json_and_in_lines(broker: Broker) -> None:
    deep = "[" * 800 + "]" * 800
    odd = r'"id": "\ud800", "\udc80": "\ud800", "nan": NaN, "line": "\u001b\n"'
    headers = f'{{"task": {deep}, "deep": {deep}, {odd}}}'
    text = f'{{"headers": {headers}, "properties": {{}}, "body": ""}}'
    with kombu.Connection(broker.url) as connection:
        connection.channel().client.lpush(broker.queue, text)
    [message] = json.loads(run("peek", broker.queue, "--format", "json"), parse_constant=pytest.fail)
    assert message["task"].startswith("[[[[")
    assert message["headers"]["deep"] == message["task"]
    assert message["headers"] | {"deep": ""} == {
        "deep": "",
        "\ufffd": "\ufffd",
        "nan": "nan",
        "line": "\x1b\n",
    }
    assert "   line: \\x1b\\n\n" in run("peek", broker.queue)


@RABBITMQ
def test_a_quorum_queue_is_not_looked_into_because_looking_counts_as_delivery(broker: Broker) -> None:
    Queue.objects.filter(name=broker.queue).update(queue_type="quorum")
    run("declare", broker.queue)
    with pytest.raises(CommandError, match=r"is a quorum queue: RabbitMQ would count each look"):
        run("peek", broker.queue)


# -- Redis with a prefix ------------------------------------------------------------------------


@pytest.fixture
def prefixed(
    redis_url: str, broker_settings: Callable[..., None], unique: str, transactional_db: None
) -> str:
    options = {"broker_transport_options": {"global_keyprefix": "app:", "priority_steps": [0, 5], "sep": ":"}}
    broker_settings("", brokers={"default": {"URL": redis_url, "CONF": options}}, BROKER_TIMEOUT=1)
    make_registry(queue=unique)
    return unique


def test_a_key_prefix_a_separator_and_other_priority_steps_are_respected(prefixed: str) -> None:
    low, high = (
        str(api.send_task(TASK, kwargs=ARGUMENTS, queue=prefixed, priority=priority).pk)
        for priority in (0, 9)
    )
    Relay().drain()
    assert line(prefixed)["ready"] == 2
    assert [message.task_id for message in queues.peek(prefixed, 5)] == [high, low]
    assert "2 messages gone" in run("purge", prefixed, "--yes")
    assert "0 messages gone" in run("delete", prefixed, "--yes")


# -- apply --------------------------------------------------------------------------------------


@REDIS
def test_applying_where_no_worker_answers_says_how_to_start_one(broker: Broker) -> None:
    output = io.StringIO()
    with pytest.raises(CommandError, match="could not all be brought into step"):
        call_command("dispatch", "queues", "apply", "--yes", stdout=output, stderr=output)
    assert "No worker answered on broker 'default' within 2 s" in output.getvalue()
    assert "worker-command" in output.getvalue()


def test_a_worker_that_does_not_answer_is_an_error(broker: Broker) -> None:
    with pytest.raises(CommandError, match=r"No worker 'nobody@nowhere' answered"):
        run("apply", "--worker", "nobody@nowhere", "--yes")
