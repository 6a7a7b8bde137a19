"""Why a message goes where it goes: every step of the precedence, and which rule decided which key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from dispatch.core.routing import Destination, Request, Target, merge
from dispatch.core.wording import suggest
from dispatch.exceptions import NoDestination
from dispatch.registry.snapshot import Snapshot

KEYS = ("queue", "exchange", "routing_key", "priority")


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
        return Step(rule, _given(asks), _outcome(won, lost))


def explain(
    snapshot: Snapshot, name: str, call: Target = Target(), request: Request | None = None
) -> Explanation:
    """Explain where a task of this name would go, registered or not."""
    reasoning = _Reasoning(Target(), {})
    steps: list[Step] = []
    try:
        for step in _steps(snapshot, name, call, request or Request(name), reasoning):
            steps.append(step)  # noqa: PERF402 - what was seen before an error is told too
        destination = snapshot.table.destination(reasoning.target)
    except NoDestination as error:
        return Explanation(name, None, reasoning.decided_by, tuple(steps), str(error))
    if destination.priority is not None and "priority" not in reasoning.decided_by:
        reasoning.decided_by["priority"] = f"the default priority of queue {destination.queue!r}"
    return Explanation(name, destination, reasoning.decided_by, tuple(steps), _warning(snapshot, name))


def _steps(
    snapshot: Snapshot, name: str, call: Target, request: Request, reasoning: _Reasoning
) -> Iterator[Step]:
    yield reasoning.weigh("the call", call)
    task = snapshot.tasks.get(name)
    yield reasoning.weigh("the task's own definition", task.target if task else Target())
    yield from _routes(snapshot, name, request, reasoning)
    yield reasoning.weigh("the default queue", snapshot.table.default)


def _routes(snapshot: Snapshot, name: str, request: Request, reasoning: _Reasoning) -> Iterator[Step]:
    candidates = snapshot.table.candidates(name)
    decided = False
    for route in snapshot.table.routes:
        rule = f"route {route.pattern!r} ({route.kind})"
        if decided:
            yield Step(rule, _given(route.target), "not reached: an earlier route decided")
        elif route not in candidates:
            yield Step(rule, _given(route.target), "does not match")
        elif (asks := route.ask(request)) is None:
            yield Step(rule, {}, "leaves the choice to the next")
        else:
            decided = True
            yield reasoning.weigh(rule, asks)


def _given(target: Target) -> dict[str, Any]:
    return {key: value for key, value in asdict(target).items() if value is not None}


def _outcome(won: list[str], lost: list[str]) -> str:
    parts = [f"decides {', '.join(won)}"] if won else []
    parts += [f"overruled on {', '.join(lost)}"] if lost else []
    return "; ".join(parts) or "asks for nothing"


def _warning(snapshot: Snapshot, name: str) -> str:
    if name in snapshot.tasks:
        return ""
    return f"{name!r} is not in the registry{suggest(name, snapshot.tasks)}: sending it is refused."
