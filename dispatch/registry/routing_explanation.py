"""Why a message goes where it goes: every step of the precedence, and which rule decided which key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_noop

from dispatch.core.routing import Destination, Request, Route, Target, merge
from dispatch.core.suggestions import suggest
from dispatch.exceptions import NoDestination
from dispatch.registry.snapshot import Snapshot

KEYS = ("queue", "exchange", "routing_key", "priority")
CALL = gettext_noop("the call")
DEFINITION = gettext_noop("the task's own definition")
DEFAULT = gettext_noop("the default queue")
ROUTE = gettext_noop("route %(name)s")
TRIGGER = gettext_noop("trigger %(name)s")
DEFAULT_PRIORITY = gettext_noop("the default priority of queue %(name)s")
NO_MATCH = gettext_noop("does not match")
NOT_REACHED = gettext_noop("not reached: an earlier route decided")
NOT_DECIDED = gettext_noop("leaves the choice to the next")
DECIDES = gettext_noop("decides %(name)s")
OVERRULED = gettext_noop("overruled on %(name)s")
ASKS_NOTHING = gettext_noop("asks for nothing")


@dataclass(frozen=True, slots=True)
class Step:
    """One rule that was looked at: what it asks for, and what came of it."""

    rule: str
    asks: dict[str, Any]
    outcome: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole reasoning for one task name. ``problem`` says why it cannot be sent, "" where it can."""

    task: str
    destination: Destination | None
    decided_by: dict[str, str]
    steps: tuple[Step, ...]
    problem: str = ""


@dataclass(slots=True)
class _Reasoning:
    """What is decided so far, while the levels are walked from the highest to the lowest."""

    target: Target
    decided_by: dict[str, str]

    def weigh(self, rule: str, asks: Target) -> Step:
        merged = merge(self.target, asks)
        won = [key for key in KEYS if getattr(self.target, key) is None and getattr(merged, key) is not None]
        lost = [key for key in KEYS if getattr(asks, key) is not None and key not in won]
        self.decided_by |= dict.fromkeys(won, rule)
        self.target = merged
        return Step(rule, asks.asked(), _outcome(won, lost))


def rule(route: Route) -> str:
    """Return how a route is named in an explanation; no two routes share kind and pattern."""
    return ROUTE % {"name": f"{route.pattern!r} ({route.kind})"}


def explain(
    snapshot: Snapshot, name: str, call: Target = Target(), request: Request | None = None
) -> Explanation:
    """Explain where a task of this name would go, registered or not."""
    return _explain(snapshot, name, call, request or Request(name), snapshot.table.routes)


def decide(snapshot: Snapshot, name: str, call: Target = Target(), caller: str = CALL) -> Explanation:
    """Explain in the steps alone that could decide: what is wanted for every task of the registry at once.

    ``caller`` is what a call is named, for example after its trigger.
    """
    return _explain(snapshot, name, call, Request(name), (), caller)


def _explain(
    snapshot: Snapshot,
    name: str,
    call: Target,
    request: Request,
    others: Sequence[Route],
    caller: str = CALL,
) -> Explanation:
    reasoning = _Reasoning(Target(), {})
    steps: list[Step] = []
    try:
        steps.append(reasoning.weigh(caller, call))
        task = snapshot.tasks.get(name)
        steps.append(reasoning.weigh(DEFINITION, task.target if task else Target()))
        for step in _routes(snapshot, request, others, reasoning):
            steps.append(step)  # noqa: PERF402 - what was seen before an error is told too
        steps.append(reasoning.weigh(DEFAULT, snapshot.table.default))
        destination = snapshot.table.destination(reasoning.target)
    except NoDestination as error:
        return Explanation(name, None, reasoning.decided_by, tuple(steps), str(error))
    if destination.priority is not None and "priority" not in reasoning.decided_by:
        reasoning.decided_by["priority"] = DEFAULT_PRIORITY % {"name": repr(destination.queue)}
    return Explanation(name, destination, reasoning.decided_by, tuple(steps), _warning(snapshot, name))


def _routes(
    snapshot: Snapshot, request: Request, others: Sequence[Route], reasoning: _Reasoning
) -> Iterator[Step]:
    """Ask the routes that may decide; with ``others``, tell of all of these why they do not."""
    asked = others or snapshot.candidates(request.task)
    matching = {rule(route) for route in (snapshot.table.matching(request.task) if others else asked)}
    decided = False
    for route in asked:
        if (name := rule(route)) not in matching:
            yield Step(name, route.target.asked(), NO_MATCH)
        elif decided:
            yield Step(name, route.target.asked(), NOT_REACHED)
        elif (asks := route.ask(request)) is None:
            yield Step(name, {}, NOT_DECIDED)
        else:
            decided = True
            yield reasoning.weigh(name, asks)


def _outcome(won: list[str], lost: list[str]) -> str:
    parts = [DECIDES % {"name": ", ".join(won)}] if won else []
    parts += [OVERRULED % {"name": ", ".join(lost)}] if lost else []
    return "; ".join(parts) or ASKS_NOTHING


def _warning(snapshot: Snapshot, name: str) -> str:
    task = snapshot.tasks.get(name)
    if task is None:
        return f"{name!r} is not in the registry{suggest(name, snapshot.tasks)}: sending it is refused."
    return f"{name!r} was retired {task.retired}: sending it is refused." if task.retired else ""
