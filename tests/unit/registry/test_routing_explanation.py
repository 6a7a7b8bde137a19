"""The whole reasoning for one task name: which rule decided which key, and what every other rule asked for."""

from __future__ import annotations

import pytest

from dispatch.core.routing import Binding, Exchange, Queue, Request, Route, RoutingTable, Target
from dispatch.core.schema.parameters import Parameters
from dispatch.registry import Snapshot, Task
from dispatch.registry.routing_explanation import explain

NAME = "media.encode"


def by_length(name, args, kwargs, options, task=None, **_):
    return {"queue": "long", "priority": 1} if len(kwargs.get("text", "")) > 9 else None


def failing(name, args, kwargs, options, task=None, **_):
    raise LookupError("no tenants")


def snapshot(*routes, target=Target(), default="default"):
    queues = [
        Queue("default", "default"),
        Queue("llm", "default", default_priority=4),
        Queue("long", "default"),
        Queue("bound", "default", bindings=(Binding("media", "media.#"),)),
    ]
    table = RoutingTable(queues, [Exchange("media", "default", "topic")], routes, default)
    return Snapshot(None, table, [Task(NAME, Parameters({}), target, {}, frozenset())], [])


def to(pattern, **target):
    return Route(pattern, "glob", Target(**target))


def told(explanation):
    return [(step.rule, step.asks, step.outcome) for step in explanation.steps]


def test_the_default_queue_decides_where_nothing_else_does():
    found = explain(snapshot(), NAME)
    assert found.destination.queue == "default"
    assert found.decided_by == {"queue": "the default queue"}
    assert told(found) == [
        ("the call", {}, "asks for nothing"),
        ("the task's own definition", {}, "asks for nothing"),
        ("the default queue", {"queue": "default"}, "decides queue"),
    ]


def test_each_key_is_decided_by_the_highest_level_that_names_it():
    routes = (to("media.*", queue="llm", priority=2),)
    found = explain(snapshot(*routes, target=Target(priority=7)), NAME, Target(queue="long"))
    assert (found.destination.queue, found.destination.priority) == ("long", 7)
    assert found.decided_by == {"queue": "the call", "priority": "the task's own definition"}
    assert told(found)[2:] == [
        ("route 'media.*' (glob)", {"queue": "llm", "priority": 2}, "overruled on queue, priority"),
        ("the default queue", {"queue": "default"}, "overruled on queue"),
    ]


def test_routes_are_told_in_order_until_one_decides():
    found = explain(
        snapshot(to("mail.*", queue="long"), to("media.*", queue="llm"), to("*", queue="long")), NAME
    )
    assert [outcome for _rule, _asks, outcome in told(found)[2:5]] == [
        "does not match",
        "decides queue",
        "not reached: an earlier route decided",
    ]
    assert found.destination.queue == "llm"


def test_a_queues_own_priority_is_told_as_such():
    found = explain(snapshot(to("media.*", queue="llm")), NAME)
    assert found.destination.priority == 4
    assert found.decided_by["priority"] == "the default priority of queue 'llm'"


def test_an_exchange_is_told_with_its_key_and_the_queues_it_reaches():
    found = explain(snapshot(to("media.*", exchange="media", routing_key="media.video")), NAME)
    assert found.decided_by == dict.fromkeys(("exchange", "routing_key"), "route 'media.*' (glob)")
    assert found.destination.queues == ("bound",)


@pytest.mark.parametrize(
    ("text", "queue", "outcome"),
    [("a long text", "long", "decides queue, priority"), ("short", "llm", "leaves the choice to the next")],
)
def test_a_router_is_asked_with_the_arguments_of_the_call(text, queue, outcome):
    routes = (Route("project.by_length", "callable", router=by_length), to("media.*", queue="llm"))
    found = explain(snapshot(*routes), NAME, request=Request(NAME, (), {"text": text}))
    assert found.destination.queue == queue
    assert told(found)[2][::2] == ("route 'project.by_length' (callable)", outcome)


def test_a_router_that_fails_is_the_problem_and_what_came_before_is_told():
    found = explain(snapshot(Route("project.failing", "callable", router=failing)), NAME)
    assert found.destination is None
    assert "Router project.failing failed" in found.problem
    assert "LookupError: no tenants" in found.problem
    assert [rule for rule, _asks, _outcome in told(found)] == ["the call", "the task's own definition"]


def test_a_destination_that_does_not_exist_is_the_problem():
    found = explain(snapshot(to("media.*", queue="lmm")), NAME)
    assert found.destination is None
    assert "did you mean 'llm'" in found.problem
    assert found.decided_by == {"queue": "route 'media.*' (glob)"}


def test_no_queue_at_all_is_the_problem():
    found = explain(snapshot(default=None), NAME)
    assert found.destination is None
    assert "no queue is the default one" in found.problem


def test_a_task_that_nobody_registered_is_routed_and_the_refusal_is_told():
    found = explain(snapshot(to("media.*", queue="llm")), "media.encod")
    assert found.destination.queue == "llm"
    assert "'media.encod' is not in the registry (did you mean 'media.encode'?)" in found.problem


@pytest.mark.parametrize("call", [Target(), Target(queue="long"), Target(priority=3)])
@pytest.mark.parametrize(
    "own", [Target(), Target(queue="llm"), Target(exchange="media", routing_key="media.a")]
)
@pytest.mark.parametrize("routed", [{}, {"queue": "long"}, {"exchange": "media", "routing_key": "media.b"}])
def test_what_is_explained_is_where_the_message_goes(call, own, routed):
    routes = [to("media.*", **routed)] if routed else []
    registry = snapshot(*routes, target=own)
    assert explain(registry, NAME, call).destination == registry.destination(NAME, call)
