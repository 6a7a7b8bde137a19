from __future__ import annotations

import re
import string

import pytest
from celery.app.routes import MapRoute
from hypothesis import given
from hypothesis import strategies as st

from dispatch.core.route_patterns import compile_pattern
from dispatch.core.routing import (
    Binding,
    Exchange,
    Queue,
    Request,
    Route,
    RoutingTable,
    Target,
    merge,
)
from dispatch.exceptions import ConfigurationError, NoDestination

queue_names = st.none() | st.sampled_from(["q", "r"])
targets = st.builds(
    Target,
    queue=queue_names,
    exchange=st.none() | st.sampled_from(["e", "f"]),
    routing_key=st.none() | st.sampled_from(["k", "l", ""]),
    priority=st.none() | st.integers(0, 9),
)


# -- precedence ---------------------------------------------------------------


@given(targets, targets, targets)
def test_merging_three_levels_gives_the_same_whichever_two_come_first(high, middle, low):
    assert merge(merge(high, middle), low) == merge(high, merge(middle, low))


@given(targets)
def test_an_empty_level_changes_nothing(target):
    assert merge(target, Target()) == target
    assert merge(Target(), target) == target


@given(targets, targets)
def test_what_the_higher_level_asks_for_is_never_overruled(high, low):
    merged = merge(high, low)
    for key in ("queue", "exchange", "routing_key", "priority"):
        assert getattr(high, key) is None or getattr(merged, key) == getattr(high, key)


@given(targets, targets)
def test_queue_and_exchange_always_come_from_one_level(high, low):
    merged = merge(high, low)
    assert (merged.queue, merged.exchange) in [(high.queue, high.exchange), (low.queue, low.exchange)]


def test_a_routing_key_of_the_call_is_used_with_the_exchange_of_the_route():
    assert merge(Target(routing_key="k"), Target(exchange="e", routing_key="l")) == Target(None, "e", "k")


def test_a_queue_of_the_call_leaves_the_routes_exchange_and_key_behind_and_keeps_its_priority():
    assert merge(Target(queue="q"), Target(None, "e", "k", 5)) == Target("q", None, None, 5)


# -- patterns ---------------------------------------------------------------------

task_names = st.lists(st.sampled_from(["a", "tasks", "b.c", "[x]", "\n", "?"]), max_size=4).map(".".join)
globs = st.lists(st.sampled_from(["a", "*", ".", "tasks", "?", "[ab]", "[!a]", "\n"]), max_size=6).map(
    "".join
)
regexes = st.lists(
    st.sampled_from(["a", ".", ".*", r"\.", "tasks", "(b|c)", "$", "^", "[ab]+"]), max_size=6
).map("".join)


def celery_matches(pattern, name):
    return MapRoute({pattern: {"queue": "q"}})(name) is not None


def matches(kind, pattern, name):
    return bool(Route(pattern, kind, Target()).matcher()(name))


@given(globs.filter(lambda pattern: "*" in pattern), task_names)
def test_a_glob_matches_what_it_matches_in_celery(pattern, name):
    assert matches("glob", pattern, name) == celery_matches(pattern, name)


@given(regexes, task_names)
def test_a_regular_expression_matches_what_it_matches_in_celery(pattern, name):
    assert matches("regex", pattern, name) == celery_matches(re.compile(pattern), name)


@given(st.text(string.printable.replace("*", ""), max_size=6), task_names)
def test_an_exact_name_matches_itself_alone_as_in_celery(pattern, name):
    assert matches("exact", pattern, name) == celery_matches(pattern, name)
    assert matches("exact", pattern, pattern)
    assert not matches("exact", pattern, f"{pattern}\n")


def test_an_exact_name_may_hold_characters_that_mean_something_elsewhere():
    assert matches("exact", "tasks.*", "tasks.*")
    assert not matches("exact", "tasks.*", "tasks.a")


@pytest.mark.parametrize(
    "pattern", ["(", "*a", "a{99999999999999999999}", "(" * 5000 + ")" * 5000], ids=lambda p: p[:10]
)
def test_what_is_no_regular_expression_is_a_configuration_error(pattern):
    with pytest.raises(ConfigurationError, match="is not a regular expression"):
        compile_pattern("regex", pattern)


# -- the table ----------------------------------------------------------------------


@pytest.fixture
def table():
    topic = Exchange("media", "default", "topic")
    return RoutingTable(
        queues=[
            Queue("default", "default"),
            Queue("stt", "default", bindings=(Binding("media", "audio.#"), Binding("media", "*.wav"))),
            Queue("all", "default", bindings=(Binding("media", "#"),)),
            Queue("video", "default", bindings=(Binding("only-video", "v"),)),
            Queue("elsewhere", "other", bindings=(Binding("media", "#"),)),
            Queue("llm", "other", default_priority=3),
        ],
        exchanges=[topic, Exchange("only-video", "default")],
        routes=[
            Route("tasks.llm.urgent", "exact", Target(queue="llm", priority=9)),
            Route("tasks.llm.*", "glob", Target(queue="llm")),
            Route(r"tasks\.(stt|link)", "regex", Target(exchange="media", routing_key="audio.wav")),
            Route("tasks.*", "glob", Target(queue="default")),
        ],
        default_queue="default",
    )


def asked(table, task, own=Target()):
    return table.target_for(own, table.candidates(task), Request(task))


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("tasks.llm.urgent", Target(queue="llm", priority=9)),
        ("tasks.llm.other", Target(queue="llm")),
        ("tasks.stt.x", Target(exchange="media", routing_key="audio.wav")),
        ("tasks.x", Target(queue="default")),
        ("elsewhere", Target(queue="default")),
    ],
)
def test_the_first_route_that_matches_wins_and_the_default_queue_takes_the_rest(table, task, expected):
    assert asked(table, task) == expected


def target_for(table: RoutingTable, task: str, own: Target) -> Target:
    return table.target_for(own, table.candidates(task), Request(task))


def test_the_tasks_own_definition_wins_over_its_route_key_by_key(table):
    assert asked(table, "tasks.llm.urgent", Target(queue="all")) == Target(queue="all", priority=9)
    assert asked(table, "tasks.llm.urgent", Target(priority=0)) == Target(queue="llm", priority=0)


def test_a_queue_is_reached_by_its_name_through_the_default_exchange(table):
    found = table.destination(Target(queue="llm"))
    assert (found.broker, found.queue, found.queues) == ("other", "llm", ("llm",))
    assert (found.exchange, found.routing_key) == ("", "llm")


def test_an_unset_priority_is_the_queues_default_one_and_zero_is_not_unset(table):
    assert table.destination(Target(queue="llm")).priority == 3
    assert table.destination(Target(queue="llm", priority=0)).priority == 0
    assert table.destination(Target(queue="default")).priority is None


def test_an_exchange_reaches_each_bound_queue_of_its_own_broker_once(table):
    found = table.destination(Target(exchange="media", routing_key="audio.wav"))
    assert found.queues == ("all", "stt")
    assert (found.broker, found.exchange, found.routing_key) == ("default", "media", "audio.wav")


def test_a_route_that_takes_too_long_is_given_up_and_the_next_one_decides(table):
    slow = Route("(t|tt)+$", "regex", Target(queue="llm"))
    tried = RoutingTable([], [], [slow, Route("t*", "glob", Target(queue="default"))], None)
    assert asked(tried, "tt") == Target(queue="llm")
    assert asked(tried, "t" * 254 + "!") == Target(queue="default")
    assert asked(tried, "tt") == Target(queue="default")
    assert tried.given_up == {slow: "t" * 254 + "!"}


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        (
            Target(queue="lllm"),
            r"No queue named 'lllm' in the registry \(did you mean 'llm'\?\): add it there",
        ),
        (Target(exchange="medai"), r"No exchange named 'medai' in the registry \(did you mean 'media'\?\)"),
        (Target(exchange="only-video", routing_key="w"), "No queue is bound to exchange 'only-video'.*'w'"),
        (Target(), "Mark a queue as default, or add a route"),
        (Target(priority=5), "Mark a queue as default, or add a route"),
    ],
)
def test_a_destination_that_is_not_there_is_told_with_cause_and_remedy(table, target, complaint):
    with pytest.raises(NoDestination, match=complaint):
        table.destination(target)


def test_a_fanout_exchange_without_queues_has_hearers_only_as_a_broadcast():
    exchanges = [
        Exchange("everyone", "default", "fanout"),
        Exchange("events", "default", "fanout", broadcast=False),
    ]
    table = RoutingTable([], exchanges, [], None)
    assert table.destination(Target(exchange="everyone")).is_broadcast
    with pytest.raises(NoDestination, match="No queue is bound to exchange 'events'"):
        table.destination(Target(exchange="events"))


@pytest.mark.parametrize(
    "answer", [{"queue": ["llm"]}, {"exchange": 5}, {"exchange": "media", "routing_key": ["a"]}]
)
def test_a_router_that_answers_with_what_is_no_name_is_told(answer):
    route = Route("project.router", "callable", router=lambda *args, **options: answer)
    with pytest.raises(NoDestination, match=r"Router project\.router failed .* is not a text"):
        route.ask(Request("tasks.a"))
