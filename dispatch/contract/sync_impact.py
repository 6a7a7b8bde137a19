"""What an import breaks: triggers, routes, and messages that wait in the outbox."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Count

from dispatch.contract.manifest_diff import Difference, Known
from dispatch.contract.pending_messages import EXAMPLES, among, refused, unsent
from dispatch.contract.trigger_mapping import misfits
from dispatch.core import manifest as documents
from dispatch.core.schema.breaking_changes import Change
from dispatch.core.schema.parameters import Parameters
from dispatch.registry import Snapshot


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that no longer works: a trigger, a trigger in code, a route, or waiting messages.

    ``messages`` counts those that would fail, among the first 10,000 of their task.
    """

    kind: str
    subject: str
    task: str
    sentence: str
    messages: int = 0
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Demand:
    """What a changed task takes now, which of it must not be quoted, and what led there."""

    parameters: Parameters
    sensitive: frozenset[str]
    changes: tuple[Change, ...]


def effects(
    found: Difference,
    manifest: documents.Manifest,
    known: Known,
    snapshot: Snapshot,
    *,
    code: Iterable[tuple[str, str]] = (),
    outbox: str,
) -> tuple[Effect, ...]:
    """Return what a difference breaks. However full the outbox is, 10,000 messages of a task are read at the most.

    ``code`` holds name and task of each trigger in code, ``outbox`` is the database whose messages are looked at.
    """
    demands = _demands(found, manifest, known)
    return (
        *_triggers(found, snapshot, demands),
        *_code_triggers(found, demands, code),
        *_routes(found, known, snapshot),
        *_messages(found, demands, outbox),
    )


def _demands(found: Difference, manifest: documents.Manifest, known: Known) -> dict[str, _Demand]:
    """Return the tasks by name that may refuse what they took before."""
    breaking = {task.name: task.changes for task in (*found.changed, *found.returned) if task.breaking}
    return {
        task.name: _Demand(
            Parameters(task.parameters),
            frozenset({*known.rows[task.name].sensitive_parameters, *task.sensitive}),
            breaking[task.name],
        )
        for task in manifest.tasks
        if task.name in breaking
    }


def _triggers(found: Difference, snapshot: Snapshot, demands: Mapping[str, _Demand]) -> Iterator[Effect]:
    for trigger in snapshot.triggers:
        demand = demands.get(trigger.task)
        if trigger.task in found.missing:
            yield Effect("trigger", trigger.name, trigger.task, "leaves dead messages: its task is retired.")
        elif demand and not trigger.problem:  # with a problem it did not work before either
            why = "; ".join(misfits(trigger.arguments, demand.parameters, demand.sensitive, demand.changes))
            if why:
                yield Effect("trigger", trigger.name, trigger.task, f"no longer fits: {why}.")


def _code_triggers(
    found: Difference, demands: Container[str], code: Iterable[tuple[str, str]]
) -> Iterator[Effect]:
    for name, task in code:
        if task in found.missing:
            yield Effect("code", name, task, "leaves dead messages: its task is retired.")
        elif task in demands:
            yield Effect("code", name, task, "may no longer fit: its arguments are made in code, look there.")


def _routes(found: Difference, known: Known, snapshot: Snapshot) -> Iterator[Effect]:
    before = {name for name, row in known.rows.items() if row.retired_at is None}
    after = (before - set(found.missing)) | {*found.added, *(task.name for task in found.returned)}
    lost = before - after
    for route in snapshot.table.routes:
        if route.router is not None:
            continue
        matches = route.matcher()
        if any(map(matches, lost)) and not any(map(matches, after)):
            yield Effect("route", route.pattern, "", f"({route.kind}) matches no task any more.")


def _messages(found: Difference, demands: Mapping[str, _Demand], using: str) -> Iterator[Effect]:
    if not found.missing and not demands:
        return
    rows = unsent(using).filter(task_name__in=[*found.missing, *demands])
    for name, waiting in sorted(rows.values_list("task_name").annotate(Count("pk"))):
        if name not in demands:
            yield _held(rows.filter(task_name=name), name, waiting)
        elif effect := _failing(name, demands[name], waiting, using):
            yield effect


def _held(rows: Any, name: str, waiting: int) -> Effect:
    examples = tuple(map(str, rows.order_by("pk").values_list("pk", flat=True)[:EXAMPLES]))
    sentence = f"{_number(waiting)} of {name} held back until the task returns, or the message is cancelled."
    return Effect("messages", name, name, sentence, waiting, examples)


def _failing(name: str, demand: _Demand, waiting: int, using: str) -> Effect | None:
    found = refused(using, name, demand.parameters, demand.sensitive)
    if found is None:
        return None
    sentence = (
        f"{_number(found.number)} of {name} that would fail in the worker{among(waiting)}: {found.reason}"
    )
    return Effect("messages", name, name, sentence, found.number, found.examples)


def _number(messages: int) -> str:
    return "1 waiting message" if messages == 1 else f"{messages:,} waiting messages"
