from __future__ import annotations

import datetime
from decimal import Decimal

import pytest
from celery import Celery
from kombu import Exchange, Queue, binding
from kombu.common import Broadcast

MEDIA = Exchange("media", "topic")


def queue(rows, found, **settings):
    return rows("queues", task_queues=[found], task_default_queue=found.name, **settings)[found.name]


def test_without_task_queues_there_is_celerys_default_queue(read):
    document = read().document
    assert document["exchanges"] == []
    assert document["queues"] == [
        {
            "name": "celery",
            "broker": "default",
            "durable": True,
            "queue_type": "classic",
            "max_priority": None,
            "arguments": {},
            "is_default": True,
            "bindings": [],
        }
    ]


def test_a_queue_with_its_own_direct_exchange_needs_no_rows_for_that(rows):
    own = Queue("llm", Exchange("llm"), routing_key="llm")
    assert queue(rows, own)["bindings"] == []


@pytest.mark.parametrize(
    "own",
    [
        Queue("llm", Exchange("llm", "topic"), routing_key="llm"),
        Queue("llm", Exchange("llm"), routing_key="other"),
        Queue("llm", Exchange("llm", durable=False), routing_key="llm"),
        Queue("llm", Exchange("llm", arguments={"alternate-exchange": "x"}), routing_key="llm"),
        Queue("llm", Exchange("llm"), routing_key="llm", binding_arguments={"x": 1}),
    ],
)
def test_any_other_binding_is_a_row_and_so_is_its_exchange(own, read):
    document = read(task_queues=[own], task_default_queue="llm").document
    assert [row["exchange"] for row in document["queues"][0]["bindings"]] == ["llm"]
    assert [row["name"] for row in document["exchanges"]] == ["llm"]


def test_an_exchange_that_others_are_bound_to_is_a_row(read):
    queues = [Queue("a", Exchange("a"), routing_key="a"), Queue("b", Exchange("a"), routing_key="b")]
    document = read(task_queues=queues, task_default_queue="a").document
    assert [row["name"] for row in document["exchanges"]] == ["a"]
    assert [row["bindings"][0]["routing_key"] for row in document["queues"]] == ["a", "b"]


def test_several_bindings_come_beside_that_to_the_default_exchange(rows):
    several = Queue("img", [binding(MEDIA, "image.*"), binding(MEDIA, "photo.#"), binding(MEDIA, "image.*")])
    assert [(row["exchange"], row["routing_key"]) for row in queue(rows, several)["bindings"]] == [
        ("img", "img"),
        ("media", "image.*"),
        ("media", "photo.#"),
    ]


def test_arguments_are_those_the_queue_is_declared_with(rows):
    found = Queue("llm", MEDIA, queue_arguments={"x-a": [1]}, message_ttl=1.5, expires=60, max_length=9)
    assert queue(rows, found)["arguments"] == {
        "x-a": [1],
        "x-message-ttl": 1500,
        "x-expires": 60_000,
        "x-max-length": 9,
    }


@pytest.mark.parametrize(
    ("found", "settings", "column", "left"),
    [
        (Queue("q", MEDIA), {}, None, {}),
        (Queue("q", MEDIA, max_priority=5), {}, 5, {}),
        (Queue("q", MEDIA, queue_arguments={"x-max-priority": 9}), {}, 9, {}),
        (Queue("q", MEDIA), {"task_queue_max_priority": 7}, 7, {}),
        (Queue("q", MEDIA, max_priority=5), {"task_queue_max_priority": 7}, 5, {}),
        (Queue("q", MEDIA, max_priority=255), {}, 255, {}),
        (Queue("q", MEDIA, max_priority=300), {}, None, {"x-max-priority": 300}),
    ],
)
def test_the_highest_priority_is_a_column_where_that_can_hold_it(found, settings, column, left, rows):
    row = queue(rows, found, **settings)
    assert (row["max_priority"], row["arguments"]) == (column, left)


def test_what_the_column_cannot_hold_is_noted(read):
    found = read(task_queues=[Queue("celery", MEDIA, max_priority=300)])
    assert "queue 'celery' keeps x-max-priority 300, but priorities go from 0 to 255." in found.notes


def test_a_quorum_queue_loses_its_highest_priority(read):
    arguments = {"x-queue-type": "quorum", "x-max-priority": 5}
    found = read(task_queues=[Queue("celery", MEDIA, queue_arguments=arguments)])
    [row] = found.document["queues"]
    assert (row["queue_type"], row["max_priority"], row["arguments"]) == ("quorum", None, {})
    assert "RabbitMQ refuses it on a quorum queue" in found.left_out[0]


@pytest.mark.skipif(
    not hasattr(Celery().conf, "task_create_missing_queue_type"),
    reason="Celery 5.5 makes classic queues only",
)
def test_queues_that_celery_makes_itself_may_be_quorum_queues(rows):
    made = rows("queues", task_create_missing_queue_type="quorum", task_routes={"a": "fresh"})
    assert (made["fresh"]["queue_type"], made["celery"]["queue_type"]) == ("quorum", "classic")
    assert rows("queues", task_default_queue_type="quorum")["celery"]["queue_type"] == "quorum"


def test_queues_may_be_given_as_a_dictionary(rows):
    found = rows(
        "queues", task_queues={"llm": {"exchange": "media", "exchange_type": "topic", "binding_key": "a.#"}}
    )
    assert found["llm"]["bindings"] == [{"exchange": "media", "routing_key": "a.#", "arguments": {}}]


def test_a_broadcast_is_its_exchange(read):
    document = read(task_queues=[Broadcast("everyone"), Queue("celery")]).document
    assert [row["name"] for row in document["queues"]] == ["celery"]
    assert ("everyone", "fanout") in {(row["name"], row["type"]) for row in document["exchanges"]}


def test_a_broadcast_with_a_queue_of_a_fixed_name_is_that_queue_too(read):
    found = read(task_queues=[Broadcast("everyone", queue="one")], task_default_queue="one")
    assert [row["name"] for row in found.document["queues"]] == ["one"]
    assert "queue 'one': auto_delete, alias cannot be written into the registry." in found.left_out


def test_a_headers_binding_keeps_its_arguments(rows):
    headers = Exchange("docs", "headers")
    bound = [
        binding(headers, "", {"x-match": "any", "format": "pdf"}),
        binding(headers, "", {"format": "svg"}),
    ]
    row = queue(rows, Queue("pdf", bound))
    assert {"exchange": "docs", "routing_key": "", "arguments": {"x-match": "any", "format": "pdf"}} in row[
        "bindings"
    ]


def test_what_cannot_be_written_is_told(read):
    odd = Exchange("odd", "x-delayed-message")
    gone = Exchange("gone", auto_delete=True, delivery_mode=1)
    queues = [
        Queue("celery", gone, exclusive=True, no_ack=True, consumer_arguments={"x-priority": 1}, alias="c"),
        Queue("late", odd, queue_arguments={"x-odd": object()}),
        Queue("", MEDIA),
        Queue("two", [binding(MEDIA, "a", {"x": 1}), binding(MEDIA, "a", {"x": 2})]),
    ]
    text = "\n".join(read(task_queues=queues).left_out)
    for sentence in (
        "queue 'celery': exclusive, auto_delete, no_ack, consumer_arguments, alias cannot be written",
        "exchange 'gone': auto_delete, delivery_mode cannot be written",
        "queue 'late': argument x-odd is no JSON",
        "queue 'late', binding to 'odd' (celery): the registry knows no exchanges of type 'x-delayed-message'.",
        "a queue without a name",
        "there is one with the same key and other arguments",
    ):
        assert sentence in text


def test_an_exchange_with_two_types_is_noted(read):
    queues = [Queue("celery", Exchange("e", "topic")), Queue("b", Exchange("e", "direct"))]
    assert "declared as topic and as direct: it is brought as topic" in read(task_queues=queues).notes[0]


def test_a_default_queue_that_celery_refuses_is_told(read):
    found = read(task_queues=[Queue("llm")], task_create_missing_queues=False)
    assert "'celery' is not in task_queues, and Celery refuses it too" in found.left_out[0]
    assert [row["is_default"] for row in found.document["queues"]] == [False]


@pytest.mark.parametrize(("url", "turned"), [("amqp://nowhere", 4), ("redis://nowhere", 5)])
def test_a_default_priority_is_that_of_each_queue(url, turned, read):
    document = read(url, task_default_priority=4, task_routes={"a": "llm"}).document
    assert [row["default_priority"] for row in document["queues"]] == [turned, turned]


def test_without_a_default_priority_that_of_the_rows_stays_as_it_is(rows):
    assert "default_priority" not in rows("queues")["celery"]


def test_an_argument_keeps_the_type_that_amqp_gives_it(read):
    arguments = {
        "x-message-ttl": Decimal(60000),
        "x-expires": Decimal("1.5"),
        "x-odd": datetime.date(2024, 5, 1),
        "x-list": [1, "a", {"b": (2.5, None)}],
    }
    found = read(task_queues=[Queue("celery", queue_arguments=arguments)])
    assert found.document["queues"][0]["arguments"] == {
        "x-message-ttl": 60000,
        "x-list": [1, "a", {"b": [2.5, None]}],
    }
    assert found.left_out == (
        "queue 'celery': argument x-expires is a Decimal, which is no JSON.",
        "queue 'celery': argument x-odd is a date, which is no JSON.",
    )


def test_a_queue_that_cannot_be_read_stops_no_other(read):
    found = read(task_queues=[Queue("celery"), Queue("odd", queue_arguments="x")])
    assert [row["name"] for row in found.document["queues"]] == ["celery"]
    assert found.left_out[0].startswith("queue 'odd' cannot be read: ")


@pytest.mark.parametrize("name", ["news", "eu-west-1-web-1"])
def test_a_broadcast_of_which_the_queue_has_a_name_is_a_queue(name, read):
    found = read(task_queues=[Queue("celery"), Broadcast("news", queue=name)])
    assert [row["name"] for row in found.document["queues"]] == ["celery", name]


def test_a_broadcast_of_which_each_queue_is_unique_is_none(read):
    found = read(task_queues=[Queue("celery"), Broadcast("news", queue="heard", unique=True)])
    assert [row["name"] for row in found.document["queues"]] == ["celery"]


EVENTS = Exchange("events", "fanout")
NAMED = [Queue("audit", EVENTS), Queue("search", EVENTS)]


@pytest.mark.parametrize(
    ("bound", "broadcast"),
    [
        (NAMED, False),
        ([Broadcast("events", queue="events")], False),
        ([*NAMED, Broadcast("events")], True),
        ([Broadcast("events")], None),
    ],
)
@pytest.mark.parametrize("url", ["amqp://x", "redis://x"])
def test_a_fanout_exchange_with_named_queues_is_no_broadcast_unless_there_is_one_too(
    url, bound, broadcast, read
):
    found = read(url, task_queues=[Queue("celery"), *bound], task_routes={"a": {"exchange": "events"}})
    [row] = [row for row in found.document["exchanges"] if row["name"] == "events"]
    assert row.get("broadcast") is broadcast
    told = [note for note in found.notes if "each worker that consumes" in note]
    assert bool(told) == (url.startswith("redis") and broadcast is not None)
