"""Tasks: what names one that nobody offers, and where registry and worker disagree on one."""

from __future__ import annotations

from collections.abc import Iterator

from dispatch.contract.pending_messages import among, refused
from dispatch.contract.trigger_mapping import misfits
from dispatch.contract.verification import findings
from dispatch.contract.verification.evidence import Offer, TaskUse, World
from dispatch.contract.verification.findings import Finding
from dispatch.core.manifest import Task
from dispatch.core.schema.breaking_changes import compare
from dispatch.core.schema.parameters import Parameters
from dispatch.core.schema.validation import same
from dispatch.core.sentences import enumerated
from dispatch.core.suggestions import suggest
from dispatch.models import TaskDefinition


def check(world: World) -> Iterator[Finding]:
    """Yield what is wrong with tasks and with what names them."""
    for use in world.uses:
        yield from _use(world, use)
    yield from _pending(world)
    for name in sorted(world.rows):
        yield from _registered(world, name)
    for offer in world.offers:
        yield from _offered(world, offer)


def _use(world: World, use: TaskUse) -> Iterator[Finding]:
    words = {"trigger": use.label, "task": use.task}
    unoffered, deprecated, misfit = findings.OF_PERIODIC_TASKS if use.is_periodic else findings.OF_TRIGGERS
    if why := world.reason(use.task):
        yield unoffered.found(use.name, why=why, **words)
        return
    reason = _deprecation(world, use.task)
    if reason is not None:
        yield deprecated.found(use.name, reason=f": {reason}" if reason else "", **words)
    for offer in world.offers:
        if problem := "; ".join(_misfits(world, use, offer)):
            yield misfit.found(use.name, worker=offer.name, problem=problem, **words)


def _misfits(world: World, use: TaskUse, offer: Offer) -> Iterator[str]:
    parameters = _parameters(world, use.task, offer)
    if use.arguments is not None and parameters is not None:
        changes = compare(world.rows[use.task].parameters, parameters.schema)
        yield from misfits(use.arguments, parameters, _sensitive(world, use.task, offer), changes)


def _parameters(world: World, name: str, offer: Offer) -> Parameters | None:
    """Return what a worker takes for a registered task: as the registry has it, where it told the name only."""
    row = world.rows.get(name)
    if row is None or name not in offer.tasks or world.problem(name):
        return None
    task = offer.tasks[name]
    return Parameters(task.parameters if task else row.parameters)


def _sensitive(world: World, name: str, offer: Offer) -> set[str]:
    """Return the parameters whose values are not shown: those that the registry, or the worker, marks."""
    task = offer.tasks[name]
    return {*world.rows[name].sensitive_parameters, *(task.sensitive if task else ())}


def _deprecation(world: World, name: str) -> str | None:
    """Return the worker's reason against a task, None where it has none."""
    told = (offer.tasks.get(name) for offer in world.offers)
    reasons = [task.deprecated for task in told if task and task.deprecated is not None]
    row = world.rows.get(name)
    return reasons[0] if reasons else row.deprecated if row else None


def _pending(world: World) -> Iterator[Finding]:
    for name, number in sorted(world.waiting("task_name")):
        if why := world.reason(name):
            yield findings.PENDING.found(name, messages=_waiting(number), why=why)
        else:
            yield from _unfit(world, name, number)


def _waiting(number: int) -> str:
    return "1 message waits" if number == 1 else f"{number} messages wait"


def _unfit(world: World, name: str, waiting: int) -> Iterator[Finding]:
    for offer in world.offers:
        parameters = _parameters(world, name, offer)
        found = parameters and refused(world.using, name, parameters, _sensitive(world, name, offer))
        if found:
            messages = _waiting(found.number) + among(waiting)
            yield findings.UNFIT.found(name, messages=messages, worker=offer.name, problem=found.reason)


def _registered(world: World, name: str) -> Iterator[Finding]:
    row = world.rows[name]
    if row.retired_at is not None:
        return
    if problem := world.problem(name):
        yield findings.UNUSABLE.found(name, problem=problem)
    if offer := world.without(name):
        yield findings.GONE.found(name, worker=offer.name, close=world.successor(name, offer))
    elif world.offers and row.manifest is None and name not in world.offered:
        yield findings.BY_HAND.found(name, close=suggest(name, world.offered))


def _offered(world: World, offer: Offer) -> Iterator[Finding]:
    for name, task in sorted(offer.tasks.items()):
        row = world.rows.get(name)
        if task is None:
            continue
        if row is None or row.retired_at is not None:
            yield findings.UNREGISTERED.found(
                name, worker=offer.name, why=world.reason(name) or "is not registered"
            )
        elif not world.problem(name):
            yield from _disagreements(offer, row, task)


def _disagreements(offer: Offer, row: TaskDefinition, task: Task) -> Iterator[Finding]:
    for change in compare(row.parameters, task.parameters):
        kind = findings.BREAKING if change.breaking else findings.COMPATIBLE
        words = f"parameter {change.parameter!r} {change.sentence}" if change.parameter else change.sentence
        yield kind.found(task.name, change=words, worker=offer.name)
    aspects = {
        "description": (row.description, task.description),
        "return value": (row.returns, task.returns),
        "options": (row.worker_options, task.options),
        "deprecation": (row.deprecated, task.deprecated),
    }
    if changed := [name for name, (ours, theirs) in aspects.items() if not same(ours, theirs)]:
        yield findings.OUTDATED.found(task.name, worker=offer.name, aspects=", ".join(changed))
    if shown := set(task.sensitive) - set(row.sensitive_parameters):
        yield findings.UNMASKED.found(
            task.name, worker=offer.name, parameters=enumerated(map(repr, shown), len(shown))
        )
