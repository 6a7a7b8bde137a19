"""What goes to Redis and RabbitMQ in batches is, byte by byte, what kombu's own producer sends one by one.

That this in turn is what Celery's ``send_task`` sends, ``tests/unit/client/test_parity.py`` shows.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import kombu
import pytest
import redis

from dispatch.client import publisher as publishing
from dispatch.client.amqp_frames import Frames
from dispatch.client.broker_connection import Parcel, connect
from dispatch.client.message_protocol import own_headers
from dispatch.client.publisher import Fate, Publisher
from dispatch.conf import Broker
from dispatch.core.message import Message, Shared
from dispatch.core.routing import Binding, Exchange, Queue, RoutingTable, Target
from dispatch.exceptions import MessageRefused
from tests.support.brokers import delete_queue, read_all

pytestmark = pytest.mark.one_database

LATER = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
ODD = '100 % "é" \\ 😀 %(id)s\n{}'
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "odd letters": ({"shadow": ODD, "headers": {"note": ODD}}, {"args_repr": ODD, "kwargs_repr": ODD}),
    "expires": ({}, {"expires": LATER}),
    "eta and expires": ({"eta": LATER}, {"expires": LATER}),
    "limits": ({"time_limit": 5.5, "soft_time_limit": 3, "ignore_result": True}, {}),
    "headers": ({"headers": {"trace": {"id": [1, 2**40, 1.5, None, True]}}}, {}),
    "headers of its own": ({"headers": {"n": 1}}, {"headers": {"traceparent": "00-ab", "note": ODD}}),
    "headers of its own named as the rest of it": (
        {},
        {"headers": {"body": "b", "tag": "t", "expiration": "e"}},
    ),
    "stamps": ({"stamps": {"tenant": ["a", "b"]}}, {}),
    "links": ({"link": [{"task": "b"}], "link_error": [{"task": "c"}]}, {}),
    "yaml": ({"serializer": "yaml"}, {}),
    "msgpack": ({"serializer": "msgpack"}, {}),
    "bzip2": ({"compression": "bzip2"}, {}),
    "yaml, compressed": ({"serializer": "yaml", "compression": "bzip2"}, {}),
    "transient, with a reply": ({"delivery_mode": 1, "reply_to": "answers"}, {}),
    "long": ({}, {"kwargs": json.dumps({"text": "é" * 200_000})}),
}


@pytest.fixture(autouse=True)
def serializers(broker_settings: Callable[..., None]) -> None:
    broker_settings("memory://", SERIALIZERS=["json", "yaml", "msgpack"])


def parcels(case: str, table: RoutingTable, target: Target) -> list[Parcel]:
    """Two messages of the same kind: the second one fills the gaps that the first one left."""
    shared, own = CASES[case]
    columns = {"args": '[1, "é"]', "kwargs": '{"a": null}', "args_repr": "(1,)", "kwargs_repr": "{}"} | own
    kind = Shared(task="tasks.a", **shared)
    destination = table.destination(target)
    messages = [Message(kind, task_id=f"6c1e-{number}", **columns) for number in range(2)]
    if own_texts := messages[1].headers:
        messages[1] = messages[1]._replace(headers={name: f"{text} 2" for name, text in own_texts.items()})
    return [Parcel(message, destination) for message in messages]


def hours(milliseconds: Any) -> int:
    return round(int(milliseconds) / 3_600_000)


def settled(message: dict[str, Any]) -> dict[str, Any]:
    """A message without what differs each time it is sent."""
    properties = message["properties"]
    assert len(properties.pop("delivery_tag")) == 36
    return {**message, "hours": hours(properties.pop("expiration", 0))}


# -- Redis ----------------------------------------------------------------------------------------


@pytest.fixture
def sent(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Return a function that publishes, in a pipeline or by kombu, and returns all that Redis was sent."""
    client = redis.Redis.from_url(redis_url)
    listener = client.pubsub()
    listener.psubscribe("*")

    def publish(batch: list[Parcel], table: RoutingTable, *, by_kombu: bool, **options: Any) -> Any:
        client.flushdb()
        monkeypatch.setattr(publishing, "repeats", lambda channel: by_kombu)
        publisher = Publisher(Broker("default", redis_url, conf={"broker_transport_options": options}))
        assert publisher.publish_batch(batch, table) == [Fate.TAKEN] * len(batch)
        publisher.close()
        lists = {
            key: [settled(json.loads(text)) for text in client.lrange(key, 0, -1)]
            for key in client.scan_iter()
        }
        heard = [
            (each["channel"], settled(json.loads(each["data"])))
            for each in iter(lambda: listener.get_message(timeout=0.05), None)
            if each["type"] == "pmessage"
        ]
        return lists, heard

    yield publish
    listener.close()
    client.close()


TABLE = RoutingTable(
    [
        Queue("llm", "default"),
        Queue("eu", "default", bindings=(Binding("topic", "eu.#"),)),
        Queue("all", "default", bindings=(Binding("topic", "#"), Binding("news", ""))),
    ],
    [Exchange("topic", "default", "topic"), Exchange("news", "default", "fanout")],
    [],
    "llm",
)
TARGETS = {
    "queue": Target(queue="llm"),
    "most urgent": Target(queue="llm", priority=9),
    "priority 4": Target(queue="llm", priority=4),
    "least urgent": Target(queue="llm", priority=0),
    "topic": Target(exchange="topic", routing_key="eu.de.berlin"),
    "fanout": Target(exchange="news", routing_key="k"),
    "fanout without a key": Target(exchange="news"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_pipeline_holds_what_kombu_would_send(sent: Callable[..., Any], case: str) -> None:
    batch = parcels(case, TABLE, TARGETS["queue"])
    lists, _ = found = sent(batch, TABLE, by_kombu=False)
    assert len(lists[b"llm"]) == 2
    assert found == sent(batch, TABLE, by_kombu=True)


@pytest.mark.parametrize("options", [{}, {"global_keyprefix": "50 %:"}], ids=["", "prefix"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_message_reaches_the_keys_and_channels_that_kombu_would_choose(
    sent: Callable[..., Any], target: str, options: dict[str, str]
) -> None:
    batch = parcels("nothing", TABLE, TARGETS[target])
    lists, heard = found = sent(batch, TABLE, by_kombu=False, **options)
    assert lists or heard
    assert found == sent(batch, TABLE, by_kombu=True, **options)


def test_no_two_messages_have_one_delivery_tag(redis_url: str) -> None:
    batch = parcels("nothing", TABLE, TARGETS["topic"]) * 15
    Publisher(Broker("default", redis_url)).publish_batch(batch, TABLE)
    with redis.Redis.from_url(redis_url) as client:
        found = [json.loads(text) for key in client.scan_iter() for text in client.lrange(key, 0, -1)]
    assert len({each["properties"]["delivery_tag"] for each in found}) == len(found) == 60


# -- RabbitMQ -------------------------------------------------------------------------------------


@pytest.mark.parametrize("priority", [None, 7])
@pytest.mark.parametrize("case", CASES)
def test_frames_hold_what_kombu_would_send(
    rabbitmq_url: str, unique: str, case: str, priority: int | None
) -> None:
    table = RoutingTable([Queue(unique, "default", arguments={"x-max-priority": 9})], [], [], unique)
    batch = parcels(case, table, Target(queue=unique, priority=priority))
    broker = Broker("default", rabbitmq_url)
    publisher, session = Publisher(broker), connect(broker)
    try:
        assert publisher.publish_batch(batch, table) == [Fate.TAKEN] * 2
        found = [shown(each) for each in read_all(rabbitmq_url, unique)]
        session.follow(table)
        for parcel in batch:
            session.put(parcel)
        assert found == [shown(each) for each in read_all(rabbitmq_url, unique, at_least=2)]
    finally:
        session.close()
        publisher.close()
        delete_queue(rabbitmq_url, unique)


def test_each_header_stands_once_in_a_frame(rabbitmq_url: str, unique: str) -> None:
    table = RoutingTable([Queue(unique, "default")], [], [], unique)
    session = connect(Broker("default", rabbitmq_url))
    try:
        for parcel in parcels("nothing", table, Target(queue=unique)):
            frames = Frames(session).of(parcel)
            names = [bytes((len(name),)) + name.encode() for name in own_headers(parcel.message)]
            assert [frames.count(name) for name in names] == [1] * len(names)
    finally:
        session.close()


def test_headers_that_are_larger_than_a_frame_are_refused_on_their_own_row(
    rabbitmq_url: str, unique: str
) -> None:
    table = RoutingTable([Queue(unique, "default")], [], [], unique)
    large, fine = parcels("nothing", table, Target(queue=unique))
    shared = replace(large.message.shared, headers={"x": "y" * 200_000})
    large = large._replace(message=large.message._replace(shared=shared))
    publisher = Publisher(Broker("default", rabbitmq_url))
    try:
        refused, taken = publisher.publish_batch([large, fine], table)
        assert isinstance(refused, MessageRefused)
        assert taken is Fate.TAKEN
    finally:
        publisher.close()
        delete_queue(rabbitmq_url, unique)


def test_a_message_to_an_exchange_takes_its_routing_key_along(rabbitmq_url: str, unique: str) -> None:
    queue = Queue(unique, "default", bindings=(Binding(unique, "eu.#"),))
    table = RoutingTable([queue], [Exchange(unique, "default", "topic")], [], unique)
    publisher = Publisher(Broker("default", rabbitmq_url))
    try:
        publisher.publish_batch(parcels("nothing", table, Target(exchange=unique, routing_key="eu.é")), table)
        [first, _] = read_all(rabbitmq_url, unique)
        assert (first.delivery_info["exchange"], first.delivery_info["routing_key"]) == (unique, "eu.é")
    finally:
        publisher.close()
        delete_queue(rabbitmq_url, unique)


def shown(message: kombu.Message) -> dict[str, Any]:
    properties = dict(message.properties)
    expiration = hours(properties.pop("expiration", 0))
    where = {name: message.delivery_info[name] for name in ("exchange", "routing_key")}
    return {
        "headers": message.headers,
        "properties": properties,
        "body": message.body,
        "expiration": expiration,
        "where": where,
        "type": message.content_type,
        "encoding": message.content_encoding,
    }
