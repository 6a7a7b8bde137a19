"""Where priorities are ignored or meet messages without one, as told for a queue and its senders."""

from __future__ import annotations

import pytest

from dispatch import registry
from dispatch.models import Exchange, Route
from dispatch.registry import priority_warnings
from tests.support.registry import make_queue, make_task, make_trigger

REDIS, RABBITMQ = "redis://host:6379/0", "amqp://host//"


@pytest.fixture(params=[REDIS, RABBITMQ], ids=["redis", "rabbitmq"])
def url(request, broker_settings, db):
    broker_settings(request.param)
    return request.param


def told(queue="llm", kind=None):
    found = priority_warnings.concerns(registry.current(), queue)
    return [concern.text for concern in found if kind in (None, concern.kind)]


def test_nothing_is_said_where_nobody_sets_a_priority(url):
    make_task(queue=make_queue("llm"))
    assert told() == []


def test_tasks_with_and_without_a_priority_in_one_queue_are_named(url):
    queue = make_queue("llm", max_priority=9)
    make_task("a.with", queue=queue, priority=7)
    make_task("a.without", queue=queue)
    [text] = told()
    place = "most" if url == REDIS else "least"
    assert text == (
        f"In queue 'llm' messages with a priority (7: a.with) meet messages without one (a.without), which count as "
        f"the {place} urgent. Give the queue a default priority."
    )


def test_a_default_priority_ends_the_mixing(url):
    queue = make_queue("llm", max_priority=9, default_priority=3)
    make_task("a.with", queue=queue, priority=7)
    make_task("a.without", queue=queue)
    assert told() == []


def test_a_default_priority_does_not_reach_messages_to_an_exchange(url):
    queue = make_queue("llm", max_priority=9, default_priority=3)
    exchange = Exchange.objects.create(name="media", type="topic")
    queue.bindings.create(exchange=exchange, routing_key="#")
    make_task("a.with", queue=queue)
    make_task("a.without", exchange=exchange, routing_key="a.b")
    [text] = told(kind="mixed")
    assert "(3: a.with) meet messages without one (a.without)" in text
    assert "a queue's default one does not reach messages to an exchange" in text


def test_a_task_that_is_switched_off_mixes_nothing(url):
    queue = make_queue("llm", max_priority=9)
    make_task("a.with", queue=queue, priority=7)
    make_task("a.without", queue=queue, enabled=False)
    assert told() == []


def test_the_priority_of_a_trigger_counts_too(url):
    make_trigger(
        make_task("a.task", queue=make_queue("llm", max_priority=9)), "created", name="T", priority=7
    )
    [text] = told()
    assert "(7: trigger T) meet messages without one (a.task)" in text


def test_many_names_are_cut(url):
    queue = make_queue("llm", max_priority=9)
    for number in range(8):
        make_task(f"a.without{number}", queue=queue)
    make_task("a.with", queue=queue, priority=7)
    assert "a.without4 and 3 more)" in told()[0]


def test_a_classic_queue_without_a_highest_priority_ignores_it(broker_settings, db):
    broker_settings(RABBITMQ)
    queue = make_queue("llm")
    make_task("a.with", queue=queue, priority=7)
    make_task("a.without", queue=queue)
    [text] = told()
    assert text.startswith(
        "Priority 7 would be ignored in queue 'llm'. A classic queue of RabbitMQ orders nothing"
    )
    assert priority_warnings.of_priority(registry.current().table.queues["llm"], 7) == text


def test_a_priority_above_the_highest_is_cut(broker_settings, db):
    broker_settings(RABBITMQ)
    make_task("a.with", queue=make_queue("llm", max_priority=5), priority=7)
    assert told() == ["Priority 7 would count as 5 in queue 'llm', the highest there."]


def test_the_range_is_that_of_the_queue(broker_settings, db):
    broker_settings(REDIS, brokers={"rabbit": {"URL": RABBITMQ}})
    make_queue("llm", broker="rabbit", max_priority=10)
    make_queue("small")
    queues = registry.current().table.queues
    assert priority_warnings.of_priority(queues["llm"], 10) == ""
    assert priority_warnings.of_priority(queues["llm"], 11).startswith("Priority 11 would count as 10")
    assert priority_warnings.of_priority(queues["small"], 9) == ""
    assert priority_warnings.of_priority(queues["small"], 10).startswith("Priority 10 would count as 9")


def test_a_quorum_queue_is_told_to_depend_on_the_version(broker_settings, db):
    broker_settings(RABBITMQ)
    make_task("a.with", queue=make_queue("llm", queue_type="quorum"), priority=7)
    [text] = told()
    assert text.startswith("Priority 7 in queue 'llm': What a quorum queue makes of it depends")


def test_priorities_that_redis_does_not_tell_apart_are_named(broker_settings, db):
    broker_settings(REDIS)
    queue = make_queue("llm")
    make_task("a.high", queue=queue, priority=9)
    make_task("a.higher", queue=queue, priority=8)
    assert told()[0].startswith("Priorities 8 and 9 are one and the same in queue 'llm'")


def test_the_brokers_own_steps_are_read(broker_settings, db):
    steps = {"broker_transport_options": {"priority_steps": list(range(10))}}
    broker_settings(REDIS, brokers={"default": {"URL": REDIS, "CONF": steps}})
    queue = make_queue("llm")
    make_task("a.high", queue=queue, priority=9)
    make_task("a.higher", queue=queue, priority=8)
    assert told() == []


def test_a_route_that_gives_a_priority_counts_for_what_it_decides(url):
    queue = make_queue("llm", max_priority=9)
    make_task("a.with", queue=queue)
    make_task("b.without", queue=queue)
    Route.objects.create(pattern="a.*", priority=5)
    assert "(5: a.with) meet messages without one (b.without)" in told()[0]
