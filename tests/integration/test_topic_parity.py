"""RabbitMQ itself says which bindings take which keys; dispatch must say the same, and so must Redis be served."""

from __future__ import annotations

import itertools
import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import kombu
import pytest

from dispatch.core.binding_match import key_matches
from dispatch.models import Binding, Exchange, OutboxMessage, Queue
from dispatch.relay import Relay
from tests.integration.conftest import Broker
from tests.support.brokers import task_ids
from tests.support.registry import ARGUMENTS, TASK

pytestmark = pytest.mark.one_database

ALL_WORDS = ("a", "b", "", "*", "#", "a*", "ä")
SPECIAL = (
    "",
    "*",
    "#",
    "#.#",
    "*.*",
    "#.*",
    "*.#",
    "#.a.#",
    ".",
    "..",
    ".a",
    "a.",
    "#.",
    ".#",
    "*.",
    ".*",
    "a.#.#.b",
)


def generated(words: Sequence[str], count: int, seed: int) -> list[str]:
    """Return distinct dotted texts: every one of up to two words, and longer ones by chance."""
    chance = random.Random(seed)
    short = [".".join(parts) for size in (1, 2) for parts in itertools.product(words, repeat=size)]
    found = dict.fromkeys([*SPECIAL, *short])
    while len(found) < count:
        found[".".join(chance.choices(words, k=chance.randint(3, 6)))] = None
    return list(found)[:count]


PATTERNS = generated(ALL_WORDS, 120, seed=1)
KEYS = generated(ALL_WORDS, 250, seed=2)


@pytest.fixture
def channel(rabbitmq_url: str) -> Iterator[kombu.transport.base.StdChannel]:
    with kombu.Connection(rabbitmq_url) as connection:
        yield connection.channel()


def reached(channel: kombu.transport.base.StdChannel, kind: str) -> dict[str, set[str]]:
    """Bind a queue per pattern to an exchange, publish every key, and return which patterns took it."""
    exchange = f"dispatch-test-{uuid.uuid4().hex[:12]}"
    channel.exchange_declare(exchange, kind, durable=False, auto_delete=True)
    queues = {}
    for pattern in PATTERNS:
        queues[pattern] = channel.queue_declare("", exclusive=True, durable=False).queue
        channel.queue_bind(queues[pattern], exchange, pattern)
    for key in KEYS:
        message = channel.prepare_message(key.encode(), properties={"delivery_mode": 1})
        channel.basic_publish(message, exchange, key)
    found: dict[str, set[str]] = defaultdict(set)
    for pattern, queue in queues.items():
        while message := channel.basic_get(queue, no_ack=True):
            body = message.body if isinstance(message.body, str) else bytes(message.body).decode()
            assert pattern not in found[body], "one queue got one message twice"
            found[body].add(pattern)
        channel.queue_delete(queue)
    return found


@pytest.mark.parametrize("kind", ["topic", "direct", "fanout"])
def test_a_binding_takes_exactly_the_keys_that_it_takes_in_rabbitmq(
    channel: kombu.transport.base.StdChannel, kind: str
) -> None:
    theirs = reached(channel, kind)
    ours = {key: {pattern for pattern in PATTERNS if key_matches(kind, pattern, key)} for key in KEYS}
    assert {key: theirs[key] for key in KEYS} == ours
    sizes = Counter(bool(patterns) for patterns in ours.values())
    assert sizes[True] > 50, "most keys reach somebody, so that the comparison says something"


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"], indirect=True)
def test_the_relay_brings_a_message_to_the_same_queues_on_redis_and_rabbitmq(broker: Broker) -> None:
    """The oracle is RabbitMQ's own answer for these patterns, which the test above compares with key_matches."""
    patterns, keys = PATTERNS[:30], KEYS[:40]
    exchange = Exchange.objects.create(name=f"{broker.queue}-x", type="topic")
    queues = [Queue(name=f"{broker.queue}-{number}") for number in range(len(patterns))]
    Queue.objects.bulk_create(queues)
    names = dict(zip(patterns, (queue.name for queue in queues), strict=True))
    bindings = zip(Queue.objects.filter(name__in=names.values()).order_by("id"), patterns, strict=True)
    Binding.objects.bulk_create(
        Binding(queue=queue, exchange=exchange, routing_key=pattern) for queue, pattern in bindings
    )
    expected = {key: {p for p in patterns if key_matches("topic", p, key)} for key in keys}
    sent = {str(send(exchange, key).pk): key for key in keys if expected[key]}
    try:
        assert Relay().drain() == len(sent)
        found: dict[str, set[str]] = defaultdict(set)
        for pattern, name in names.items():
            ids = task_ids(broker.url, name)
            assert len(ids) == len(set(ids))
            for task_id in ids:
                found[sent[task_id]].add(pattern)
        assert found == {key: expected[key] for key in sent.values()}
    finally:
        if broker.kind == "rabbitmq":
            remove(broker.url, exchange.name, names.values())


def send(exchange: Exchange, key: str) -> OutboxMessage:
    from dispatch.api import send_task

    return send_task(TASK, kwargs=ARGUMENTS, exchange=exchange.name, routing_key=key)


def remove(url: str, exchange: str, queues: Iterator[str]) -> None:
    with kombu.Connection(url) as connection:
        channel = connection.channel()
        for name in queues:
            channel.queue_delete(name)
        channel.exchange_delete(exchange)
