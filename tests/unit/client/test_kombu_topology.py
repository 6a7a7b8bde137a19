from __future__ import annotations

import kombu
import pytest

from dispatch.client import kombu_topology
from dispatch.conf import Broker
from dispatch.core.routing import Binding, Exchange, Queue, RoutingTable, Target

AMQP = ("amqp://host", "amqps://host", "pyamqp://host")
REDIS = ("redis://host", "rediss://host", "redis+socket:///run/redis.sock", "sentinel://host:26379")
VIRTUAL = (*REDIS, "memory://", "filesystem://")


def broker(url):
    return Broker("default", url)


@pytest.fixture
def table():
    return RoutingTable(
        queues=[
            Queue("plain", "default", arguments={"x-max-priority": 9}),
            Queue("stt", "default", False, bindings=(Binding("media", "audio.#"), Binding("media", "wav"))),
            Queue("all", "default", bindings=(Binding("media", "#"),)),
        ],
        exchanges=[
            Exchange("media", "default", "topic", durable=False, arguments={"alternate-exchange": "lost"})
        ],
        routes=[],
        default_queue=None,
    )


def test_amqp_routes_by_itself_and_the_others_do_not():
    assert [broker(url).has_exchanges for url in AMQP] == [True] * len(AMQP)
    assert [broker(url).has_exchanges for url in VIRTUAL] == [False] * len(VIRTUAL)


@pytest.mark.parametrize("url", [*AMQP, *VIRTUAL])
def test_the_scheme_of_a_url_tells_of_a_broker_what_kombu_s_transport_says(url):
    driver = kombu.Connection(url).transport.driver_type
    assert broker(url).has_exchanges == (driver == "amqp")
    assert broker(url).is_urgent_low == (driver == "redis")


@pytest.mark.parametrize("url", REDIS)
@pytest.mark.parametrize(("priority", "number"), [(9, 0), (0, 9), (3, 6), (10, 0), (255, 0), (None, None)])
def test_priorities_are_turned_round_for_redis_where_zero_is_most_urgent(url, priority, number):
    assert kombu_topology.number_on(broker(url), priority) == number


@pytest.mark.parametrize("priority", [0, 9, 255, None])
def test_priorities_stay_as_they_are_for_rabbitmq(priority):
    assert kombu_topology.number_on(broker("amqp://host"), priority) == priority


def test_rabbitmq_gets_the_exchange_and_the_key(table):
    destination = table.destination(Target(exchange="media", routing_key="audio.wav"))
    assert kombu_topology.addresses(broker("amqp://host"), destination) == [("media", "audio.wav")]


@pytest.mark.parametrize("url", VIRTUAL)
def test_a_broker_without_exchanges_gets_each_queue_that_the_registry_finds(url, table):
    destination = table.destination(Target(exchange="media", routing_key="audio.wav"))
    assert kombu_topology.addresses(broker(url), destination) == [("", "all"), ("", "stt")]


@pytest.mark.parametrize("url", ["amqp://host", "redis://host"])
def test_a_queue_is_addressed_by_its_name_everywhere(url, table):
    assert kombu_topology.addresses(broker(url), table.destination(Target(queue="stt"))) == [("", "stt")]


BROADCASTS = RoutingTable(
    queues=[
        Queue("news", "default", arguments={"x-max-priority": 9}, bindings=(Binding("news", ""),)),
        Queue("mixed", "default", bindings=(Binding("news", ""), Binding("media", "a.#"))),
    ],
    exchanges=[Exchange("news", "default", "fanout"), Exchange("media", "default", "topic")],
    routes=[],
    default_queue="news",
)


@pytest.mark.parametrize(
    ("url", "key", "keys"),
    [
        ("redis://host", "", ["", "home"]),
        ("redis://host", "far", ["", "far"]),
        ("filesystem://", "far", [""]),
        ("memory://", "", [""]),
    ],
)
def test_a_broadcast_reaches_the_keys_under_which_workers_listen_and_the_bound_queues(url, key, keys):
    """On the other virtual brokers a key tells nothing apart: every copy more would be a message more."""
    destination = BROADCASTS.destination(Target(exchange="news", routing_key=key))
    found = kombu_topology.addresses(broker(url), destination, "home")
    assert found == [("news", each) for each in keys] + [("", "mixed"), ("", "news")]


def test_rabbitmq_gets_a_broadcast_once():
    destination = BROADCASTS.destination(Target(exchange="news"))
    assert kombu_topology.addresses(broker("amqp://host"), destination, "home") == [("news", "")]


def test_a_worker_on_rabbitmq_consumes_a_queue_with_all_its_bindings():
    found = kombu_topology.consumable(broker("amqp://host"), BROADCASTS, BROADCASTS.queues["mixed"])
    assert [queue.exchange.name for queue in found] == ["news", "media"]


@pytest.mark.parametrize("url", VIRTUAL)
def test_a_worker_elsewhere_consumes_the_list_into_which_the_relay_puts_broadcasts(url):
    [mixed] = kombu_topology.consumable(broker(url), BROADCASTS, BROADCASTS.queues["mixed"])
    assert (mixed.exchange.name, mixed.routing_key) == ("media", "a.#")
    [news] = kombu_topology.consumable(broker(url), BROADCASTS, BROADCASTS.queues["news"])
    assert (news.name, news.exchange.name, news.routing_key) == ("news", "", "news")
    assert news.queue_arguments == {"x-max-priority": 9}


def test_a_queue_without_a_binding_gets_the_direct_exchange_of_its_name_as_in_celery(table):
    [queue] = kombu_topology.declarable(table, table.queues["plain"])
    assert (queue.name, queue.routing_key, queue.durable) == ("plain", "plain", True)
    assert (queue.exchange.name, queue.exchange.type, queue.exchange.durable) == ("plain", "direct", True)
    assert queue.queue_arguments == {"x-max-priority": 9}


def test_a_queue_with_bindings_is_declared_once_per_binding_with_its_exchange(table):
    queues = kombu_topology.declarable(table, table.queues["stt"])
    assert [queue.routing_key for queue in queues] == ["audio.#", "wav"]
    for queue in queues:
        assert (queue.name, queue.durable) == ("stt", False)
        assert (queue.exchange.name, queue.exchange.type, queue.exchange.durable) == ("media", "topic", False)
        assert queue.exchange.arguments == {"alternate-exchange": "lost"}


def test_only_the_exchange_and_the_queues_of_the_destination_are_declared(table):
    destination = table.destination(Target(exchange="media", routing_key="video"))
    assert [queue.name for queue in kombu_topology.entities(table, destination)] == ["media", "all"]
