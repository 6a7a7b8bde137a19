"""A batch on a real broker: what became of each of its messages is known wherever it can be known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import kombu
import pytest
import redis

from dispatch.api import Call, send_many
from dispatch.client import amqp_frames
from dispatch.client.amqp_confirms import Confirming
from dispatch.models import Binding, Exchange, OutboxMessage, Queue
from dispatch.models.database import database_now
from dispatch.registry import current
from dispatch.relay import Relay
from dispatch.relay.claims import claim
from dispatch.relay.parcels import Parcels
from tests.integration.conftest import Broker, Fragile
from tests.support.brokers import delete_queue, read_all, task_ids
from tests.support.registry import ARGUMENTS, TASK, make_queue, make_registry, make_task

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]

RABBITMQ = pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
REDIS = pytest.mark.parametrize("broker", ["redis"], indirect=True)
#: Messages of a batch; bytes of requests that hold about half of them.
MANY, HALF = 40, 20_000


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


@pytest.fixture
def other(broker: Broker) -> Iterator[Queue]:
    """A second queue of the broker."""
    queue = make_queue(f"{broker.queue}-other")
    yield queue
    if broker.kind == "rabbitmq":
        delete_queue(broker.url, queue.name)


def send(count: int, **options: Any) -> list[str]:
    return [str(row.pk) for row in send_many(Call(TASK, kwargs=ARGUMENTS, **options) for _ in range(count))]


def states(ids: Sequence[str]) -> list[tuple[str, int]]:
    """The status and the attempts of each message, in order."""
    rows = OutboxMessage.objects.in_bulk(ids)
    found = {str(pk): (str(row.status), row.attempts) for pk, row in rows.items()}
    return [found[each] for each in ids]


def errors(ids: Sequence[str]) -> set[str]:
    return set(OutboxMessage.objects.filter(pk__in=ids).values_list("last_error", flat=True))


def publish_all(relay: Relay) -> None:
    """Go on until everything is published, without the waits in between."""
    for _ in range(20):
        relay.breakers._open_until.clear()
        OutboxMessage.objects.filter(status="pending").update(available_at=database_now())
        relay.step()
        if not OutboxMessage.objects.exclude(status="published").exists():
            return
    raise AssertionError(set(OutboxMessage.objects.values_list("status", "last_error")))


def test_a_batch_keeps_the_order_within_each_queue(broker: Broker, relay: Relay, other: Queue) -> None:
    targets = [None, other.name, None, None, other.name] * 10
    rows = send_many(Call(TASK, kwargs=ARGUMENTS, queue=target) for target in targets)
    assert relay.step() == len(targets)
    for name in (None, other.name):
        expected = [str(row.pk) for row, target in zip(rows, targets, strict=True) if target == name]
        assert task_ids(broker.url, name or broker.queue) == expected


@pytest.mark.parametrize(
    ("count", "replies", "fault"),
    [
        (HALF, False, "cut"),
        (HALF, False, "freeze"),
        (20, True, "cut"),
        (20, True, "freeze"),
        (16, True, "cut"),
        (16, True, "freeze"),
    ],
    ids=lambda value: {True: "replies", False: "requests"}.get(value, str(value)),
)
def test_a_connection_that_breaks_within_a_batch_loses_nothing_and_repeats_only_what_is_unknown(
    fragile: Fragile, relay: Relay, count: int, replies: bool, fault: str
) -> None:
    """The reply to the check takes 7 bytes (Redis) or 12 (RabbitMQ), each further one 5, of ten messages, or 21."""
    first = send(1)
    assert relay.step() == 1
    ids = send(MANY)
    fragile.proxy.limit(count, getattr(fragile.proxy, fault), replies=replies)
    relay.step()
    known = [each for each, state in zip(ids, states(ids), strict=True) if state == ("published", 1)]
    unsent = [each for each, state in zip(ids, states(ids), strict=True) if state == ("pending", 0)]
    unknown = [each for each, state in zip(ids, states(ids), strict=True) if state == ("pending", 1)]
    assert len(known) + len(unsent) + len(unknown) == MANY
    assert unknown
    assert all("while it took the message" in error for error in errors(unknown))
    fragile.proxy.open()
    arrived = Counter(task_ids(fragile.url, fragile.queue))
    assert all(arrived[each] == 1 for each in known)
    assert all(arrived[each] == 0 for each in unsent)

    publish_all(relay)
    arrived += Counter(task_ids(fragile.url, fragile.queue))
    assert arrived.keys() == {*first, *ids}
    assert {each for each, copies in arrived.items() if copies > 1} <= set(unknown)
    assert max(arrived.values()) <= 2


@pytest.mark.parametrize("fragile", ["redis"], indirect=True)
def test_what_redis_answered_before_the_connection_broke_is_published(fragile: Fragile, relay: Relay) -> None:
    send(1)
    relay.step()
    ids = send(MANY)
    pong, first_ten = len("+PONG\r\n"), len(":11\r\n")
    fragile.proxy.limit(pong + first_ten, fragile.proxy.freeze, replies=True)
    assert relay.step() == 10
    assert states(ids) == [("published", 1)] * 10 + [("pending", 1)] * (MANY - 10)


def test_a_broker_that_falls_silent_within_its_sign_of_life_is_left_in_time(
    fragile: Fragile, relay: Relay
) -> None:
    send(1)
    relay.step()
    ids = send(3)
    count = (
        3 if fragile.url.startswith("redis") else 9
    )  # after a frame's header py-amqp would read on for ever
    fragile.proxy.limit(count, fragile.proxy.freeze, replies=True)
    assert relay.step() == 0
    assert states(ids) == [("pending", 0)] * 3
    fragile.proxy.open()
    publish_all(relay)
    assert len(task_ids(fragile.url, fragile.queue)) == 1 + 3


def test_a_broker_that_came_back_between_two_batches_costs_no_attempt(fragile: Fragile, relay: Relay) -> None:
    send(1)
    relay.step()
    fragile.proxy.cut()
    fragile.proxy.open()
    ids = send(MANY)
    assert relay.step() == MANY
    assert states(ids) == [("published", 1)] * MANY
    assert len(task_ids(fragile.url, fragile.queue)) == MANY + 1


@pytest.mark.parametrize("options", [{"compression": "brotli"}, {"serializer": "nope"}], ids=str)
def test_a_message_that_cannot_be_encoded_does_not_harm_the_others_of_its_batch(
    broker: Broker, relay: Relay, options: dict[str, str]
) -> None:
    ids = send(9)
    OutboxMessage.objects.filter(pk=ids[4]).update(options=options)
    assert relay.step() == 8
    assert states(ids) == [("published", 1)] * 4 + [("pending", 1)] + [("published", 1)] * 4
    assert task_ids(broker.url, broker.queue) == [*ids[:4], *ids[5:]]


@RABBITMQ
def test_a_header_that_amqp_cannot_write_does_not_harm_the_others_of_its_batch(
    broker: Broker, relay: Relay
) -> None:
    ids = send(9)
    OutboxMessage.objects.filter(pk=ids[4]).update(headers={"big": 2**70})
    assert relay.step() == 8
    assert states(ids)[4] == ("pending", 1)
    assert "The message cannot be encoded" in " ".join(errors(ids[4:5]))
    assert task_ids(broker.url, broker.queue) == [*ids[:4], *ids[5:]]


@RABBITMQ
def test_a_message_that_makes_the_broker_close_the_connection_is_refused_when_it_goes_alone(
    broker: Broker, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amqp_frames, "OVERHEAD", -(1 << 20))  # or it would be refused before it is sent
    ids = send(9)
    OutboxMessage.objects.filter(pk=ids[4]).update(headers={"big": "x" * 200_000})  # more than a frame holds
    relay.step()
    assert set(states(ids)) <= {("published", 1), ("pending", 1)}
    for _ in range(2):
        relay.breakers._open_until.clear()
        OutboxMessage.objects.filter(status="pending").update(available_at=database_now())
        relay.step()
    assert [state for state, _ in states(ids)] == ["published"] * 4 + ["pending"] + ["published"] * 4
    assert "FRAME_ERROR" in " ".join(errors(ids[4:5]))
    assert relay.breakers.open("broker") == set(), "the broker is not to blame"
    assert Counter(task_ids(broker.url, broker.queue)).keys() == {*ids[:4], *ids[5:]}


@RABBITMQ
def test_a_full_queue_refuses_its_own_messages_and_no_others(
    broker: Broker, relay: Relay, other: Queue
) -> None:
    Queue.objects.filter(pk=other.pk).update(arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    calls = [Call(TASK, kwargs=ARGUMENTS, queue=name) for name in (other.name, None) for _ in range(5)]
    rows = [str(row.pk) for row in send_many(calls[::2] + calls[1::2])]
    full = [each for each in rows if OutboxMessage.objects.get(pk=each).queue == other.name]
    fine = [each for each in rows if each not in full]
    assert relay.step() == 5 + 2
    assert states(fine) == [("published", 1)] * 5
    assert sorted(states(full)) == [("pending", 0)] * 3 + [("published", 1)] * 2
    assert "takes no more messages" in " ".join(errors(full))
    waiting = OutboxMessage.objects.filter(status="pending")
    assert waiting.filter(available_at__lte=database_now()).count() == 3, (
        "for how long they are due can be told"
    )
    assert relay.breakers.open("broker") == set()
    assert task_ids(broker.url, broker.queue) == fine
    publish_all_of_a_full_queue(broker, relay, other, full)


def publish_all_of_a_full_queue(broker: Broker, relay: Relay, queue: Queue, ids: list[str]) -> None:
    arrived = task_ids(broker.url, queue.name)
    while len(arrived) < len(ids):
        before = len(arrived)
        relay.breakers._open_until.clear()
        OutboxMessage.objects.filter(status="pending").update(available_at=database_now())
        relay.step()
        arrived += task_ids(broker.url, queue.name)
        assert len(arrived) > before
    assert sorted(arrived) == sorted(ids), "each once"


@RABBITMQ
def test_a_message_that_no_queue_takes_is_refused_alone(broker: Broker, relay: Relay, other: Queue) -> None:
    send(2, queue=other.name)
    assert relay.step() == 2
    delete_queue(broker.url, other.name)  # the relay has declared it, and believes it to be there
    targets = [None, other.name, None, other.name, None]
    ids = [str(row.pk) for row in send_many(Call(TASK, kwargs=ARGUMENTS, queue=name) for name in targets)]
    assert relay.step() == 3
    assert states(ids) == [("pending", 1) if target else ("published", 1) for target in targets]
    assert "NO_ROUTE" in " ".join(errors(ids))
    assert task_ids(broker.url, broker.queue) == ids[::2]


@RABBITMQ
def test_a_missing_exchange_leaves_some_unknown_and_is_declared_again(
    broker: Broker, relay: Relay, other: Queue
) -> None:
    exchange = Exchange.objects.create(name=f"{broker.queue}-x", type="topic")
    Binding.objects.create(queue=other, exchange=exchange, routing_key="a")
    there = {"exchange": exchange.name, "routing_key": "a"}
    send(1, **there)
    assert relay.step() == 1
    with kombu.Connection(broker.url) as connection:
        connection.channel().exchange_delete(exchange.name)
    ids = [*send(5), *send(1, **there), *send(5)]
    relay.step()
    assert set(states(ids)) <= {("published", 1), ("pending", 1)}
    assert states(ids)[5] == ("pending", 1)
    unknown = {each for each, state in zip(ids, states(ids), strict=True) if state == ("pending", 1)}
    assert "no exchange" in " ".join(errors(ids))

    publish_all(relay)
    arrived = Counter(task_ids(broker.url, broker.queue))
    assert arrived.keys() == {*ids[:5], *ids[6:]}
    assert {each for each, copies in arrived.items() if copies > 1} <= unknown
    assert task_ids(broker.url, other.name)[-1] == ids[5]


@RABBITMQ
def test_what_failed_once_is_published_alone(
    broker: Broker, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, sizes, publish = send(9), [], Confirming.publish
    OutboxMessage.objects.filter(pk=ids[4]).update(attempts=1)

    def counted(self: Confirming, attempts: Sequence[Any], until: float) -> None:
        sizes.append(len(attempts))
        publish(self, attempts, until)

    monkeypatch.setattr(Confirming, "publish", counted)
    assert relay.step() == 9
    assert sizes == [4, 1, 4]
    assert task_ids(broker.url, broker.queue) == ids


@REDIS
def test_a_key_of_redis_that_is_no_list_refuses_its_own_messages_and_no_others(
    broker: Broker, relay: Relay, other: Queue
) -> None:
    with redis.Redis.from_url(broker.url) as client:
        client.set(other.name, "a text")
    targets = [None, other.name, None, other.name, None]
    ids = [str(row.pk) for row in send_many(Call(TASK, kwargs=ARGUMENTS, queue=name) for name in targets)]
    assert relay.step() == 3
    assert states(ids) == [("pending", 1) if target else ("published", 1) for target in targets]
    [_, error] = sorted(errors(ids))
    assert "WRONGTYPE" in error
    assert "Hello" not in error, "no payload is in the error"
    assert task_ids(broker.url, broker.queue) == ids[::2]


def test_a_redis_that_is_full_in_the_middle_of_a_batch_keeps_what_it_took(
    own_redis: redis.Redis, relay: Relay
) -> None:
    make_registry()
    own_redis.config_set("maxmemory-policy", "noeviction")
    own_redis.config_set("maxmemory", own_redis.info("memory")["used_memory"] + 700_000)
    call = Call(TASK, kwargs={"note_id": "1", "text": "x" * 40_000})
    ids = [str(row.pk) for row in send_many([call] * 20)]
    taken = relay.step()
    assert 0 < taken < 20
    assert own_redis.llen("llm") == taken
    assert sorted(states(ids)) == [("pending", 0)] * (20 - taken) + [("published", 1)] * taken
    assert "takes no messages: " in " ".join(errors(ids))
    own_redis.config_set("maxmemory", "0")
    publish_all(relay)
    assert own_redis.llen("llm") == 20


@REDIS
def test_where_redis_would_repeat_a_command_messages_go_one_by_one(
    broker: Broker, relay: Relay, broker_settings: Callable[..., None]
) -> None:
    retrying = {"broker_transport_options": {"retry_on_timeout": True}}
    broker_settings(broker.url, brokers={"default": {"URL": broker.url, "CONF": retrying}})
    ids = send(9)
    OutboxMessage.objects.filter(pk=ids[4]).update(options={"compression": "brotli"})
    assert relay.step() == 8
    assert task_ids(broker.url, broker.queue) == [*ids[:4], *ids[5:]]


def test_a_queue_that_the_broker_refuses_harms_no_other_of_its_batch(
    rabbitmq_url: str, broker_settings: Callable[..., None], unique: str, relay: Relay
) -> None:
    broker_settings(rabbitmq_url)
    with kombu.Connection(rabbitmq_url) as there:
        kombu.Queue(unique, durable=True, queue_arguments={"x-max-length": 5}).bind(there.channel()).declare()
    make_task(queue=make_queue(unique))
    fine = make_queue(f"{unique}-fine")
    targets = [None, fine.name, None, fine.name, fine.name]
    try:
        ids = [str(row.pk) for row in send_many(Call(TASK, kwargs=ARGUMENTS, queue=name) for name in targets)]
        assert relay.step() == 3
        assert states(ids) == [("published", 1) if target else ("pending", 0) for target in targets]
        assert task_ids(rabbitmq_url, fine.name) == [ids[1], ids[3], ids[4]]
        assert relay.breakers._failures == {("queue", unique): 1}, "a batch is one failure"
    finally:
        delete_queue(rabbitmq_url, unique, fine.name)


# -- headers of their own ---------------------------------------------------------------------------


def test_each_message_has_its_own_headers_though_they_share_all_else(broker: Broker, relay: Relay) -> None:
    given: list[dict[str, Any]] = [
        {"traceparent": "00-a", "n": 1},
        {"traceparent": "00-b", "n": 1},
        {"traceparent": "", "n": 1},
        {"traceparent": "00-c", "n": 2},
        {"traceparent": "00-d", "tenant": "é"},
        {"inner": {"traceparent": "00-e"}},
        {},
    ]
    sent = send_many(Call(TASK, kwargs=ARGUMENTS, headers=headers) for headers in given)
    publish_all(relay)
    names = {name for headers in given for name in headers}
    found = {
        message.headers["id"]: {name: value for name, value in message.headers.items() if name in names}
        for message in read_all(broker.url, broker.queue)
    }
    assert [found[str(row.pk)] for row in sent] == given


def test_messages_that_differ_in_the_texts_of_their_headers_are_written_by_one_form() -> None:
    make_registry()
    send_many(Call(TASK, kwargs=ARGUMENTS, headers={"traceparent": f"00-{n}", "n": 1}) for n in range(3))
    parcels = Parcels(current())
    [shared] = {parcels.of(row).message.shared for row in claim("default", 3, 60.0)}
    assert shared.headers == {"n": 1}
