"""An imported Celery app sends each message where Celery would, but for the differences that have a name.

``PARITY_EXAMPLES=10000`` runs more than the suite does.
"""

from __future__ import annotations

import os
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
from dispatch.client import foreign
from dispatch.conf import conf
from dispatch.configuration import document, importing
from dispatch.core import routing
from dispatch.core.call import Call
from dispatch.core.routing import Request, RoutingTable
from dispatch.exceptions import DispatchError
from dispatch.models import Exchange, Queue, TaskDefinition
from dispatch.registry import snapshot
from tests.support import celery_routing
from tests.support.celery_routing import NAMES, Case, Seen
from tests.support.foreign_routers import ROUTERS

EXAMPLES = int(os.environ.get("PARITY_EXAMPLES", "300"))
PLACE = ("exchange", "type", "routing_key", "reached")
DOCS = Path(__file__).resolve().parents[3] / "docs" / "reference" / "differences-from-celery.md"
#: What a few hundred examples must have met: without it, equality would prove little.
KINDS = ("exact", "glob", "regex", "callable", "default")


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


def by_router(case):
    """Whether a callable decides, whose answer no import can rewrite."""
    return case.kind == "callable" and not given_by_call(case, "exchange")


def chosen_queue(case):
    """The queue that the call names, or a router callable."""
    return case.call.get("queue") or (by_router(case) and rule(case, "queue"))


def is_row(model, name):
    return model.objects.filter(name=name).exists()


def falls_back(case):
    """Whether only task_default_priority could give the message a priority."""
    return case.app.conf.task_default_priority is not None and "priority" not in case.call


# -- the differences: nothing else may differ ------------------------------------------------


def bare_exchange(case):
    """The exchange that the call names without a key; or the rule, where neither names a queue."""
    by_call = given_by_call(case, "queue", "exchange", "routing_key")
    given = case.call if by_call else {} if rule(case, "queue") else case.rule or {}
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


def a_lone_routing_key(case):
    alone = given_by_call(case, "routing_key") and not given_by_call(case, "queue", "exchange")
    return bool(alone and rule(case, "exchange") and not rule(case, "routing_key"))


def a_rule_celery_cannot_follow(case):
    return "QueueNotFound" in case.error and bool(rule(case, "queue"))


def priority_on_redis(case):
    named = "priority" in case.call or (case.kind == "callable" and rule(case, "priority") is not None)
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


def as_imported(case, mine):
    """To the route's queue, to its exchange, or to that of its broadcast; what the exchange needs may be missing."""
    exchanges = rule(case, "exchange"), rule(case, "queue")
    return (
        mine is None or mine.exchange in exchanges or (mine.exchange, mine.routing_key) == ("", exchanges[1])
    )


def sent(case, mine):
    return mine is not None


def turned(case, mine):
    return mine.priority == 9 - case.seen.priority


def the_default(case, mine):
    return mine.priority == case.app.conf.task_default_priority


def the_routes(case, mine):
    return mine.priority == (
        9 - rule(case, "priority") if priority_on_redis(case) else rule(case, "priority")
    )


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
    found = foreign.read(app, broker)
    wanted, _ = importing.usable(document.parse(found.document), "default")
    importing.apply(wanted, "default")
    for name in NAMES:
        TaskDefinition.objects.create(name=name)


def ours(case: Case) -> Seen | None:
    """What dispatch does with the same message; None where it refuses."""
    try:
        target = Call(case.name, **case.call).target
        found = registry.current().destination(case.name, target, Request(case.name))
    except DispatchError:
        return None
    priority = 9 - found.priority if case.is_on_redis and found.priority is not None else found.priority
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
    hits[case.kind] += 1
    event(f"route: {case.kind}")
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
            f"{case.name} with {case.call} by {case.rule} ({case.kind}) under {case.app.conf.changes}: "
            f"Celery {case.seen or case.error}, dispatch {mine}"
        )


def run(hits: Counter[str], **options) -> None:
    """Compare every name, each with a call of its own, under each generated configuration."""

    @given(st.data())
    @settings(deadline=None, suppress_health_check=list(HealthCheck), database=None, **options)
    def check(data):
        found = data.draw(celery_routing.settings())
        alias = "redis" if found["broker_url"].startswith("redis") else "default"
        with transaction.atomic():
            try:
                bring(celery_routing.make_app(found), conf.brokers[alias])
                app = celery_routing.make_app(found)
                for name in NAMES:
                    call, is_registered = data.draw(st.tuples(celery_routing.calls(found), st.booleans()))
                    compare(celery_routing.send(app, name, call, is_registered=is_registered), hits)
            finally:
                transaction.set_rollback(True)

    check()


@pytest.fixture(autouse=True)
def brokers(settings, monkeypatch, db):
    brokers = {"default": {"URL": "amqp://nowhere"}, "redis": {"URL": "redis://nowhere"}}
    settings.DISPATCH = {"BROKERS": brokers, "ROUTERS": ROUTERS, "REGISTRY_TTL": 0}
    monkeypatch.setattr(foreign, "_load", lambda app: app)


def test_every_message_goes_where_celery_sends_it_but_for_the_differences_that_have_a_name(capsys):
    hits: Counter[str] = Counter()
    run(hits, max_examples=EXAMPLES, derandomize="PARITY_EXAMPLES" not in os.environ)
    with capsys.disabled():
        print(
            f"\nparity of {EXAMPLES} configurations, {len(NAMES)} messages each: {dict(hits.most_common())}"
        )
    assert all(hits[kind] >= 20 for kind in KINDS)
    assert hits["equal"] > sum(hits[kind] for kind in KINDS) / 3


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


@pytest.mark.parametrize("name", DIFFERENCES)
def test_each_difference_is_one(name):
    given_settings, call, is_registered = SHOWN[name]
    found = {"broker_url": "amqp://nowhere", "task_queues": None, **given_settings}
    bring(
        celery_routing.make_app(found), conf.brokers["redis" if "redis" in found["broker_url"] else "default"]
    )
    case = celery_routing.send(celery_routing.make_app(found), NAMES[0], call, is_registered=is_registered)
    assert DIFFERENCES[name].applies(case)
    assert DIFFERENCES[name].here(case, ours(case))
    assert unequal(case.seen, ours(case)) == {DIFFERENCES[name].of}


def swap_call_and_registry(monkeypatch):
    monkeypatch.setattr(snapshot, "merge", lambda high, low: routing_merge(low, high))


def swap_routes_and_default(monkeypatch):
    monkeypatch.setattr(routing, "merge", lambda high, low: routing_merge(low, high))


def swap_the_order_of_routes(monkeypatch):
    def candidates(self, task):
        return tuple(route for route in reversed(self.routes) if route.router or route.matcher().match(task))

    monkeypatch.setattr(RoutingTable, "candidates", candidates)


routing_merge = routing.merge


@pytest.mark.parametrize(
    "swap",
    [swap_call_and_registry, swap_routes_and_default, swap_the_order_of_routes],
    ids=lambda swap: swap.__name__,
)
def test_the_comparison_sees_two_tiers_that_are_swapped(swap, monkeypatch):
    swap(monkeypatch)
    with pytest.raises(AssertionError, match="dispatch"):
        run(Counter(), max_examples=200, derandomize=True, phases=[Phase.generate])


def test_each_difference_is_a_row_of_the_docs_and_each_row_a_difference():
    rows = re.findall(r"^\| \*\*(.+?)\*\* \|", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert rows == list(DIFFERENCES)
