"""An imported Celery app sends each message where Celery would, but for the differences that have a name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import kombu
import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from dispatch import registry
from dispatch.client import celery_import
from dispatch.client.kombu_topology import number_on
from dispatch.conf import conf
from dispatch.configuration import apply, document
from dispatch.core.call import Call
from dispatch.core.routing import Request, RoutingTable, Target, merge
from dispatch.exceptions import DispatchError
from dispatch.models import Exchange, Queue, TaskDefinition
from dispatch.registry.snapshot import Snapshot
from tests.support import celery_routing
from tests.support.celery_routing import NAMES, Case, Seen, names_place
from tests.support.foreign_routers import ROUTERS

EXAMPLES = settings.default.max_examples // 2  # of configurations, for each way to begin the routes
CALLS = 3
FIRST = (None, "exact", "callable")
PLACE = ("exchange", "type", "routing_key", "reached")
DOCS = Path(__file__).resolve().parents[3] / "docs" / "reference" / "differences-from-celery.md"
#: What must have decided: without it, equality would prove little.
TIERS = ("call", "task", "exact", "glob", "regex", "callable", "default")


@dataclass(frozen=True)
class Difference:
    """A row of docs/reference/differences-from-celery.md: what of a message differs, of which messages, and how."""

    of: str
    applies: Callable[[Case], bool]
    here: Callable[[Case, Seen | None], bool]


def given_by_call(case, *keys):
    return any(case.call.get(key) not in (None, "") for key in keys)


def rule(case, key):
    return (case.rule or {}).get(key)


def own(case, key):
    return case.own.get(key)


def by_router(case):
    """Whether a callable decides, whose answer no import can rewrite."""
    return case.kind == "callable" and not given_by_call(case, "exchange") and not names_place(case.own)


def chosen_queue(case):
    """The queue that the call names, or a router callable."""
    return case.call.get("queue") or (by_router(case) and rule(case, "queue"))


def own_priority(case):
    """A number equal to the setting is taken for the setting: a task that Celery has loaded has one of them."""
    priority = own(case, "priority")
    return None if priority == case.app.conf.task_default_priority else priority


def is_row(model, name):
    return model.objects.filter(name=name).exists()


def falls_back(case):
    """Whether only task_default_priority could give the message a priority."""
    said = "priority" in case.call or own_priority(case) is not None
    return case.app.conf.task_default_priority is not None and not said


# -- the differences: nothing else may differ ------------------------------------------------


def bare_exchange(case):
    """The exchange that the call names without a key; or the task, or the rule, where none above names a place."""
    if given_by_call(case, "queue", "exchange", "routing_key"):
        given = case.call
    else:
        given = {} if below_the_call(case).get("queue") else below_the_call(case)
    return None if given.get("routing_key") else given.get("exchange")


def an_exchange_without_key(case):
    exchange = bare_exchange(case)
    return bool(exchange) and (case.seen.exchange, case.seen.routing_key) != (exchange, "")


def a_queue_nobody_wrote_down(case):
    return bool(chosen_queue(case)) and not is_row(Queue, chosen_queue(case))


def a_chosen_queue(case):
    if by_router(case) and not case.rule:  # it answers {}: the default queue
        return case.seen.exchange != ""
    return bool(chosen_queue(case)) and is_row(Queue, chosen_queue(case)) and case.seen.exchange != ""


def an_own_exchange(case):
    return bool(case.seen.reached and case.seen.exchange and not is_row(Exchange, case.seen.exchange))


def no_queue_reached(case):
    is_declared = case.seen.exchange in celery_routing.declared_types(case.app)
    return not case.seen.reached and not (is_declared and case.seen.type == "fanout")


def a_queue_with_key(case):
    return given_by_call(case, "queue") and given_by_call(case, "routing_key")


def below_the_call(case):
    """The task's own place; or the rule, where it has none."""
    return case.own if names_place(case.own) else case.rule or {}


def a_lone_routing_key(case):
    if given_by_call(case, "queue", "exchange"):
        return False
    below = below_the_call(case)
    if given_by_call(case, "routing_key"):
        return bool(below.get("exchange") and not below.get("routing_key"))
    return bool(own(case, "routing_key") and not names_place(case.own))


def a_route_beside_the_tasks_own(case):
    completed = rule(case, "exchange") or rule(case, "routing_key")
    return bool(names_place(case.own) and completed and not names_place(case.call))


def a_rule_celery_cannot_follow(case):
    return "QueueNotFound" in case.error and bool(rule(case, "queue") or own(case, "queue"))


def priority_on_redis(case):
    by_router = case.kind == "callable" and own_priority(case) is None
    named = "priority" in case.call or (by_router and rule(case, "priority") is not None)
    return case.is_on_redis and named


def default_of_a_task_not_loaded(case):
    return falls_back(case) and not case.is_registered and rule(case, "priority") is None


def default_against_a_route(case):
    return falls_back(case) and case.is_registered and rule(case, "priority") is not None


def default_of_an_exchange(case):
    by_exchange = given_by_call(case, "exchange") or (
        case.kind == "callable" and bool(rule(case, "exchange"))
    )
    return falls_back(case) and case.is_registered and rule(case, "priority") is None and by_exchange


# -- what dispatch does instead ----------------------------------------------------------------


def refused(case, mine):
    return mine is None


def refused_or_broadcast(case, mine):
    return mine is None or mine.type == "fanout"


def to_the_exchange(case, mine):
    return mine is None or (mine.exchange, mine.routing_key) == (bare_exchange(case), "")


def to_the_queue(case, mine):
    queue = chosen_queue(case) or case.app.conf.task_default_queue
    return mine is not None and (mine.exchange, mine.routing_key) == ("", queue)


def settled(case, mine, level):
    """To the queue of a level, to its exchange, or to that of its queue; what the exchange needs may be missing."""
    queue = level.get("queue") or (None if level.get("exchange") else case.app.conf.task_default_queue)
    exchanges = {level.get("exchange"), queue} | (
        {celery_routing.exchange_of(case.app, queue)} if queue else set()
    )
    return mine is None or mine.exchange in exchanges or (mine.exchange, mine.routing_key) == ("", queue)


def as_imported(case, mine):
    return settled(case, mine, below_the_call(case))


def sent(case, mine):
    return mine is not None


def turned(case, mine):
    return mine.priority == 9 - case.seen.priority


def the_default(case, mine):
    return mine.priority == case.app.conf.task_default_priority


def the_routes(case, mine):
    asked = min(rule(case, "priority"), 9) if case.is_on_redis else rule(case, "priority")
    return mine.priority == (9 - asked if priority_on_redis(case) else asked)


def none(case, mine):
    return mine.priority is None


DIFFERENCES = {
    "An exchange without a routing key": Difference("place", an_exchange_without_key, to_the_exchange),
    "A queue that is not in the registry": Difference("place", a_queue_nobody_wrote_down, refused),
    "A queue that is chosen is the queue": Difference("place", a_chosen_queue, to_the_queue),
    "The exchange that comes with a queue": Difference("place", an_own_exchange, refused),
    "A message that reaches no queue": Difference("place", no_queue_reached, refused_or_broadcast),
    "A queue with a routing key": Difference("place", a_queue_with_key, refused),
    "A routing key alone": Difference("place", a_lone_routing_key, as_imported),
    "A route beside the task's own queue": Difference("place", a_route_beside_the_tasks_own, as_imported),
    "A rule that Celery cannot follow": Difference("refusal", a_rule_celery_cannot_follow, sent),
    "Priorities on Redis": Difference("priority", priority_on_redis, turned),
    "The default priority of a task that is not loaded": Difference(
        "priority", default_of_a_task_not_loaded, the_default
    ),
    "The default priority against a route's": Difference("priority", default_against_a_route, the_routes),
    "The default priority of an exchange": Difference("priority", default_of_an_exchange, none),
}


# -- the comparison --------------------------------------------------------------------------


def bring(app, broker):
    found = celery_import.read(app, broker)
    wanted, _ = apply.usable(document.parse(found.document), "default")
    apply.apply(wanted, "default")
    for name in NAMES:
        TaskDefinition.objects.get_or_create(name=name)


def broker_of(given):
    return conf.brokers["redis" if given["broker_url"].startswith("redis") else "default"]


def ours(case: Case) -> Seen | None:
    """What dispatch does with the same message; None where it refuses."""
    try:
        target = Call(case.name, **case.call).target
        found = registry.current().destination(case.name, target, Request(case.name))
    except DispatchError:
        return None
    priority = number_on(conf.brokers[found.broker], found.priority)
    return Seen(found.exchange, found.exchange_type, found.routing_key, frozenset(found.queues), priority)


def unequal(theirs: Seen | None, mine: Seen | None) -> set[str]:
    """Return what differs: whether it is sent where Celery sends nothing, the place, the priority."""
    if theirs is None:
        return {"refusal"} if mine is not None else set()
    if mine is None:
        return {"place"}
    places = any(getattr(mine, key) != getattr(theirs, key) for key in PLACE)
    return ({"place"} if places else set()) | ({"priority"} if mine.priority != theirs.priority else set())


def compare(case: Case, hits: Counter[str]) -> None:
    mine = ours(case)
    hits[case.decided_by] += 1
    event(f"decided by: {case.decided_by}")
    found = unequal(case.seen, mine)
    if not found:
        hits["equal"] += 1
    for of in found:
        names = [
            name
            for name, each in DIFFERENCES.items()
            if each.of == of and each.applies(case) and each.here(case, mine)
        ]
        hits.update(names)
        assert names, (
            f"{case.name} with {case.call}, own {case.own}, by {case.rule} ({case.kind}) under "
            f"{case.app.conf.changes}: "
            f"Celery {case.seen or case.error}, dispatch {mine}"
        )


def calls_of_a_task(given):
    """Return a strategy of calls, the first without a destination: so the levels below the call are heard."""
    return st.tuples(st.just({}), *[celery_routing.calls(given)] * (CALLS - 1))


def run(hits: Counter[str]) -> None:
    """Compare every name, each with calls of its own, under each generated configuration."""
    for first in FIRST:
        _run(hits, first)


def _run(hits, first):

    @given(st.data())
    @settings(
        max_examples=EXAMPLES,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=[Phase.generate],  # shrinking takes minutes, and the assertion says it all
    )
    def check(data):
        found = data.draw(celery_routing.settings(first))
        with transaction.atomic():
            try:
                bring(celery_routing.make_app(found), broker_of(found))
                app = celery_routing.make_app(found)
                for name in NAMES:
                    own, is_registered = found["tasks"].get(name), data.draw(st.booleans())
                    for call in data.draw(calls_of_a_task(found)):
                        case = celery_routing.send(app, name, call, is_registered=is_registered, own=own)
                        compare(case, hits)
            finally:
                transaction.set_rollback(True)

    check()


@pytest.fixture(autouse=True)
def brokers(settings, monkeypatch, db):
    brokers = {"default": {"URL": "amqp://nowhere"}, "redis": {"URL": "redis://nowhere"}}
    settings.DISPATCH = {"BROKERS": brokers, "ROUTERS": ROUTERS, "REGISTRY_TTL": 0}
    monkeypatch.setattr(celery_import, "_load", lambda app: app)


@pytest.mark.hypothesis
def test_every_message_goes_where_celery_sends_it_but_for_the_differences_that_have_a_name():
    hits: Counter[str] = Counter()
    run(hits)
    assert all(hits[tier] >= EXAMPLES / 2.5 for tier in TIERS), hits
    assert hits["equal"] > sum(hits[tier] for tier in TIERS) / 3


MEDIA = kombu.Queue("media", kombu.Exchange("media", "topic"), routing_key="media.#")
#: One message for each difference: settings of the app, what the caller says, whether the task is loaded.
SHOWN = {
    "An exchange without a routing key": ({"task_queues": [MEDIA]}, {"exchange": "media"}, False),
    "A queue that is not in the registry": ({}, {"queue": "fresh"}, False),
    "A queue that is chosen is the queue": ({"task_queues": [MEDIA]}, {"queue": "media"}, False),
    "The exchange that comes with a queue": (
        {"task_routes": {"*": "llm"}},
        {"exchange": "llm", "routing_key": "llm"},
        False,
    ),
    "A message that reaches no queue": (
        {"task_queues": [MEDIA]},
        {"exchange": "media", "routing_key": "other"},
        False,
    ),
    "A queue with a routing key": (
        {"task_queues": [MEDIA]},
        {"queue": "media", "routing_key": "media.video"},
        False,
    ),
    "A routing key alone": (
        {"task_queues": [MEDIA], "task_routes": {"*": {"queue": "llm", "exchange": "media"}}},
        {"routing_key": "media.video"},
        False,
    ),
    "A route beside the task's own queue": (
        {
            "task_queues": [MEDIA],
            "tasks": {NAMES[0]: {"queue": "llm"}},
            "task_routes": {"*": {"exchange": "media", "routing_key": "media.video"}},
        },
        {},
        True,
    ),
    "A rule that Celery cannot follow": (
        {
            "task_create_missing_queues": False,
            "task_queues": [MEDIA],
            "task_default_queue": "media",
            "task_routes": {"*": "fresh"},
        },
        {},
        False,
    ),
    "Priorities on Redis": ({"broker_url": "redis://nowhere"}, {"priority": 9}, False),
    "The default priority of a task that is not loaded": ({"task_default_priority": 4}, {}, False),
    "The default priority against a route's": (
        {"task_default_priority": 4, "task_routes": {"*": {"priority": 8}}},
        {},
        True,
    ),
    "The default priority of an exchange": (
        {"task_default_priority": 4, "task_queues": [MEDIA]},
        {"exchange": "media", "routing_key": "media.video"},
        True,
    ),
}


def sent_by_celery(given, call, *, is_registered=False):
    """Return what Celery does with a message of the first name under these settings."""
    own = given.get("tasks", {}).get(NAMES[0])
    return celery_routing.send(
        celery_routing.make_app(given), NAMES[0], call, is_registered=is_registered, own=own
    )


@pytest.mark.parametrize("name", DIFFERENCES)
def test_each_difference_is_one(name):
    given_settings, call, is_registered = SHOWN[name]
    found = {"broker_url": "amqp://nowhere", "task_queues": None, **given_settings}
    bring(celery_routing.make_app(found), broker_of(found))
    case = sent_by_celery(found, call, is_registered=is_registered)
    assert DIFFERENCES[name].applies(case)
    assert DIFFERENCES[name].here(case, ours(case))
    assert unequal(case.seen, ours(case)) == {DIFFERENCES[name].of}


def swap_call_and_task(monkeypatch):
    def destination(self, name, call=Target(), request=None):
        below = self.table.target_for(Target(), self.candidates(name), request)
        return self.table.destination(merge(self.tasks[name].target, merge(call, below)))

    monkeypatch.setattr(Snapshot, "destination", destination)


def swap_task_and_routes(monkeypatch):
    def target_for(self, own, candidates, request):
        return merge(merge(routed(candidates, request), own), self.default)

    monkeypatch.setattr(RoutingTable, "target_for", target_for)


def swap_routes_and_default(monkeypatch):
    def target_for(self, own, candidates, request):
        return merge(own, merge(self.default, routed(candidates, request)))

    monkeypatch.setattr(RoutingTable, "target_for", target_for)


def swap_two_routes(monkeypatch):
    def candidates(self, task):
        return tuple(route for route in reversed(self.routes) if route.router or route.matcher()(task))

    monkeypatch.setattr(RoutingTable, "candidates", candidates)


def routed(candidates, request):
    return next((target for route in candidates if (target := route.ask(request)) is not None), Target())


HIGH, LOW = {"queue": "high", "priority": 8}, {"queue": "low", "priority": 1}
PAIR = {"task_queues": [kombu.Queue(name) for name in ("celery", "high", "low")]}
#: For each two neighbouring tiers: what swaps them, and settings and call by which both speak; the higher says "high".
PAIRS = {
    "call": (swap_call_and_task, {"tasks": {NAMES[0]: LOW}}, HIGH),
    "task": (swap_task_and_routes, {"tasks": {NAMES[0]: HIGH}, "task_routes": {"*": LOW}}, {}),
    "exact": (swap_two_routes, {"task_routes": [{NAMES[0]: HIGH}, {"*": LOW}]}, {}),
    "glob": (swap_routes_and_default, {"task_routes": {"*": HIGH}}, {}),
}


def compare_pair(given):
    """Return what Celery does with a message of a pair, and what dispatch does with it."""
    _, settings, call = given
    found = {"broker_url": "amqp://nowhere", **PAIR, **settings}
    bring(celery_routing.make_app(found), broker_of(found))
    case = sent_by_celery(found, call)
    return case, ours(case)


@pytest.mark.parametrize("higher", PAIRS)
def test_of_two_tiers_that_both_speak_the_higher_one_is_heard_as_by_celery(higher):
    case, mine = compare_pair(PAIRS[higher])
    assert case.decided_by == higher
    assert case.seen == mine
    assert (mine.routing_key, mine.priority) == ("high", 8)


@pytest.mark.parametrize("higher", PAIRS)
def test_the_comparison_sees_two_tiers_that_are_swapped(higher, monkeypatch):
    PAIRS[higher][0](monkeypatch)
    case, mine = compare_pair(PAIRS[higher])
    assert "place" in unequal(case.seen, mine)


@pytest.mark.parametrize("higher", PAIRS)
def test_generated_messages_see_two_tiers_that_are_swapped(higher, monkeypatch):
    PAIRS[higher][0](monkeypatch)
    with pytest.raises(AssertionError, match="dispatch"):
        run(Counter())


def test_each_difference_is_a_row_of_the_docs_and_each_row_a_difference():
    rows = re.findall(r"^\| \*\*(.+?)\*\* \|", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert rows == list(DIFFERENCES)
