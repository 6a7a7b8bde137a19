from __future__ import annotations

import functools
import re

import pytest
from celery.utils.functional import mlazy
from kombu import Exchange, Queue
from kombu.common import Broadcast

from tests.support import foreign_routers

MEDIA = Queue("media", Exchange("media", "topic"), routing_key="media.#")


def keys(read, routes, **settings):
    return [(row["kind"], row["pattern"]) for row in read(task_routes=routes, **settings).document["routes"]]


def place(rows, value, **settings):
    row = rows(
        "routes", task_queues=[MEDIA, Queue("celery"), Broadcast("all")], task_routes={"a": value}, **settings
    )["a"]
    return row["queue"], row["exchange"], row["routing_key"], row["priority"]


def test_without_routes_there_are_no_rows(read):
    assert keys(read, None) == keys(read, ()) == keys(read, {}) == []


def test_names_come_before_patterns_inside_one_dictionary_only(read):
    routes = [{"a.*": "x", "a.b": "y", re.compile("c"): "z"}, {"b.*": "x", "b": "y"}]
    assert keys(read, routes) == [
        ("exact", "a.b"),
        ("glob", "a.*"),
        ("regex", "c"),
        ("exact", "b"),
        ("glob", "b.*"),
    ]


def test_positions_leave_room_between_them(read):
    routes = read(task_routes=[{"a.*": "x"}, {"b.*": "x"}]).document["routes"]
    assert [row["position"] for row in routes] == [10, 20]


def test_only_a_star_makes_a_pattern(read):
    assert keys(read, {"a?": "x", "[ab]": "x", "[ab]*": "x"}) == [
        ("exact", "a?"),
        ("exact", "[ab]"),
        ("glob", "[ab]*"),
    ]


def test_pairs_keep_the_place_of_the_first_and_the_value_of_the_last(rows):
    found = rows("routes", task_routes=[[("a.*", "x"), ("b.*", "y"), ("a.*", "z")]])
    assert [(pattern, row["queue"]) for pattern, row in found.items()] == [("a.*", "z"), ("b.*", "y")]


def test_a_rule_that_is_never_reached_is_noted(read):
    found = read(task_routes=[{"a.*": "x"}, {"a.*": "y"}])
    assert [row["queue"] for row in found.document["routes"]] == ["x"]
    assert "route 'a.*' (glob) is written twice: the second is never reached." in found.notes


@pytest.mark.parametrize(
    ("compiled", "pattern"),
    [
        (re.compile("a"), "a"),
        (re.compile("a", re.IGNORECASE), "(?i)a"),
        (re.compile("a .", re.VERBOSE | re.DOTALL | re.MULTILINE | re.ASCII), "(?amsx)a ."),
        (re.compile("(?i)a"), "(?i)a"),
        (re.compile("(?i)a", re.IGNORECASE | re.DOTALL), "(?s)(?i)a"),
    ],
)
def test_flags_are_written_into_the_pattern(compiled, pattern, read):
    assert keys(read, {compiled: "x"}) == [("regex", pattern)]
    again = re.compile(pattern)
    assert (again.flags & re.IGNORECASE, again.flags & re.DOTALL) == (
        compiled.flags & re.IGNORECASE,
        compiled.flags & re.DOTALL,
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("llm", ("llm", None, "", None)),
        ({"queue": "llm"}, ("llm", None, "", None)),
        ({"queue": "llm", "routing_key": "ignored"}, ("llm", None, "", None)),
        ({"queue": "llm", "exchange": "ignored"}, ("llm", None, "", None)),
        ({"queue": "media"}, (None, "media", "media.#", None)),
        ({"queue": "media", "routing_key": "media.video", "priority": 3}, (None, "media", "media.video", 3)),
        (
            {"queue": "llm", "exchange": "media", "routing_key": "media.video"},
            (None, "media", "media.video", None),
        ),
        ({"exchange": "media", "routing_key": "media.video"}, (None, "media", "media.video", None)),
        (
            {"exchange": Exchange("media", "topic"), "routing_key": "media.x"},
            (None, "media", "media.x", None),
        ),
        ({"queue": Queue("own", Exchange("own"))}, ("own", None, "", None)),
        ({"exchange": "", "routing_key": "ignored", "queue": "llm"}, ("llm", None, "", None)),
        ({"exchange": "", "exchange_type": "topic", "routing_key": "b"}, ("b", None, "", None)),
        ({"queue": "all"}, (None, "all", "celery", None)),
        ({"exchange": "all", "exchange_type": "fanout"}, (None, "all", "", None)),
        ({"priority": 3}, (None, None, "", 3)),
        ({"routing_key": "ignored"}, ("celery", None, "", None)),
        ({}, ("celery", None, "", None)),
        ("", ("celery", None, "", None)),
        ([("queue", "llm")], ("llm", None, "", None)),
    ],
)
def test_a_value_is_settled_as_celery_settles_it(value, expected, rows):
    assert place(rows, value) == expected


@pytest.mark.parametrize(
    ("url", "priority", "expected", "is_noted"),
    [
        ("amqp://x", 0, 0, False),
        ("amqp://x", 12, 12, False),
        ("amqp://x", 300, 255, True),
        ("redis://x", 0, 9, False),
        ("redis://x", 12, 0, False),
    ],
)
def test_priorities_are_turned_on_redis(url, priority, expected, is_noted, read):
    found = read(url, task_routes={"a": {"priority": priority}})
    assert found.document["routes"][0]["priority"] == expected
    assert bool(found.notes) == is_noted


def test_a_route_to_an_exchange_carries_the_default_priority_itself(rows):
    assert place(rows, "media", task_default_priority=4)[3] == 4
    assert place(rows, "llm", task_default_priority=4)[3] is None
    assert place(rows, {"queue": "media", "priority": 2}, task_default_priority=4)[3] == 2


def test_a_default_queue_behind_a_topic_gets_a_route_of_its_own_at_the_end(read):
    settings = {"task_queues": [MEDIA], "task_default_queue": "media"}
    found = read(task_routes={"a": "llm"}, **settings)
    assert [(row["pattern"], row["exchange"], row["position"]) for row in found.document["routes"]] == [
        ("a", None, 10),
        ("*", "media", 20),
    ]
    assert "route '*' (glob) is added as the last one" in found.notes[0]
    assert keys(read, {"*": "llm"}, **settings) == [("glob", "*")]


@pytest.mark.parametrize(
    ("routes", "path"),
    [
        ("tests.support.foreign_routers.by_prefix", "by_prefix"),
        ("tests.support.foreign_routers:by_prefix", "by_prefix"),
        ((foreign_routers.by_prefix,), "by_prefix"),
        (foreign_routers.by_prefix, "by_prefix"),
        ([foreign_routers.Reports()], "Reports"),
        ([mlazy(lambda: foreign_routers.of_undo)], "of_undo"),
    ],
    ids=["path", "path with a colon", "function", "alone", "instance", "lazy"],
)
def test_a_router_goes_by_its_dotted_path(routes, path, read):
    assert keys(read, routes) == [("callable", f"tests.support.foreign_routers.{path}")]


def test_an_instance_goes_by_its_name_in_a_module(read, monkeypatch):
    router = foreign_routers.Reports()
    router.state = 1
    monkeypatch.setattr(foreign_routers, "reports", router, raising=False)
    assert keys(read, [router]) == [("callable", "tests.support.foreign_routers.reports")]


def test_a_router_keeps_its_place_among_the_rules(read):
    routes = [{"a.*": "x"}, foreign_routers.by_prefix, {"a": "y"}]
    assert [kind for kind, _ in keys(read, routes)] == ["glob", "callable", "exact"]


@pytest.mark.parametrize(
    ("routes", "sentence"),
    [
        ([lambda *args, **options: None], "cannot be imported by a name"),
        ([functools.partial(print)], "cannot be imported by a name"),
        ([foreign_routers.Slotted("b")], "cannot be imported by a name"),
        ([foreign_routers.Counted(7)], "cannot be imported by a name"),
        ([7], "router 7 in task_routes cannot be called, and Celery fails"),
        ([None], "router None in task_routes cannot be called"),
        ([{"a": {"queue": ["l"]}}], "route 'a' (exact): Celery itself cannot read its value {'queue': ['l']}: a queue"),
        ([{"a": {"priority": "high"}}], "a priority is a number, not 'high'"),
        ([{"a": {"exchange": ""}}], "route 'a' (exact): exchange '' is no place without a queue"),
        ([("a.*", {"queue": "x"})], "that Celery itself cannot read"),
        ([{"a": None}], "route 'a' (exact): Celery itself cannot read its value None"),
        ([{"a": 5}], "route 'a' (exact): Celery itself cannot read its value 5"),
        ([{re.compile(b"a"): "x"}], "an expression over bytes matches no name"),
        ([{"a": {"queue": "x", "serializer": "yaml"}}], "route 'a' (exact): serializer: set that on the task"),
        ([{"a": {"exchange": Exchange("e", "x-odd"), "routing_key": "k"}}], "of type 'x-odd', which the registry"),
    ],
)  # fmt: skip
def test_what_cannot_be_brought_is_told(routes, sentence, read):
    found = read(task_routes=routes)
    assert any(sentence in each for each in found.left_out), found.left_out


def test_what_cannot_be_read_stops_no_other_route(read):
    assert keys(read, [{"a": {"queue": ["l"]}, "b": "x"}, 7]) == [("exact", "b")]


def test_an_instance_with_slots_that_holds_nothing_goes_by_its_class(read):
    assert keys(read, [foreign_routers.Slotted()]) == [("callable", "tests.support.foreign_routers.Slotted")]


def test_a_key_for_the_default_exchange_which_celery_drops_is_noted_and_names_the_queue(read, rows):
    route = {"exchange": "", "routing_key": "b"}
    assert place(rows, route) == ("b", None, "", None)
    found = read(task_routes={"a": route})
    assert found.notes[0].startswith("route 'a' (exact): through exchange '' Celery loses such messages")
    assert "b" in [queue["name"] for queue in found.document["queues"]]


def test_a_route_to_a_queue_that_celery_refuses_is_left_out(read):
    found = read(task_routes={"a": "x"}, task_queues=[Queue("celery")], task_create_missing_queues=False)
    assert found.document["routes"] == []
    assert (
        "route 'a' (exact): queue 'x' is not in task_queues, and task_create_missing_queues is off."
        in found.left_out
    )


@pytest.mark.parametrize(
    "value", [{"exchange": "media"}, {"exchange": "media", "routing_key": "other"}, {"exchange": "all"}]
)
def test_messages_that_celery_loses_are_noted(value, read):
    found = read(task_queues=[MEDIA, Queue("celery"), Broadcast("all")], task_routes={"a": value})
    assert "Celery loses such messages" in found.notes[0]
    assert found.document["routes"][0]["exchange"] == value["exchange"]
