"""Brings running workers into step with the registry: what they should consume, and what they should leave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from dispatch import registry
from dispatch.client import queue_admin, queue_state, worker_control
from dispatch.client.worker_replies import Consumed
from dispatch.conf import Broker, conf
from dispatch.core.routing import Queue
from dispatch.core.suggestions import suggest
from dispatch.exceptions import ConfigurationError, PublishError
from dispatch.queues.selection import chosen
from dispatch.registry import Snapshot

POOL_KEPT = (
    "Worker {worker!r} keeps its processes, which do not know the new queue: a task that retries from it may fail with "
    "QueueNotFound. Set worker_pool_restarts = True in the worker, or restart it."
)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to tell a worker; ``messages`` wait in the queue, ``error`` says why it was not done."""

    worker: str
    action: Literal["consume", "leave"]
    queue: str
    broker: str
    messages: int = 0
    error: str = ""


@dataclass(slots=True)
class Plan:
    """What to tell the workers; ``notes`` are worth knowing, ``problems`` keep a part of it from being done."""

    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Site:
    """A broker as the workers see it: every alias that leads there, and what runs on it."""

    broker: Broker
    queues: Mapping[str, Queue]
    consumed: Mapping[str, list[Consumed]]
    tasks: Mapping[str, frozenset[str]]


def plan(names: Sequence[str] | None = None, worker: str | None = None) -> Plan:
    """Compare the registry with what the running workers consume.

    A queue that nobody consumes is to be consumed by each worker that knows every task the registry routes to it. A
    queue that the registry does not have is to be left, except where it is a worker's own (exclusive, or deleted with
    it). Workers that know none of the registry's tasks belong to somebody else and are left alone.

    With ``names``, only those queues are looked at, and added even to workers beside others that consume them. With
    ``worker``, only that one is told anything. Raises ConfigurationError for a name that nobody knows.
    """
    snapshot = registry.current()
    wanted = None if names is None else {queue.name for queue in chosen(snapshot.table.queues, names)}
    result = Plan()
    sites = list(_sites(snapshot, wanted, result))
    _check_worker(worker, sites)
    routed = _routed(snapshot)
    for site in sites:
        ours = _ours(snapshot, site, worker, result)
        _to_consume(site, ours, routed, wanted, result)
        if wanted is None:
            result.steps += [step for name in ours for step in _to_leave(site, name)]
    result.steps = list(_with_messages(result.steps))
    return result


def carry_out(steps: Sequence[Step]) -> Iterator[Step]:
    """Tell the workers, one step after the other, and yield each step as it ended.

    A queue is declared before anyone is told to consume it, so that arguments the broker refuses never reach a worker.
    """
    for step in steps:
        try:
            with queue_state.opened(conf.brokers[step.broker]) as link:
                _tell(link, step)
        except PublishError as error:
            yield replace(step, error=str(error))
        else:
            yield step


def renew_pools(steps: Iterable[Step]) -> Iterator[str]:
    """Let workers that consume a new queue fork their processes anew; yield a sentence for each that does not.

    To be called with what :func:`carry_out` yielded.
    """
    for worker, alias in dict.fromkeys(
        (s.worker, s.broker) for s in steps if s.action == "consume" and not s.error
    ):
        try:
            with queue_state.opened(conf.brokers[alias]) as link:
                renewed = worker_control.renew_pool(link, worker)
        except PublishError:
            renewed = False
        if not renewed:
            yield POOL_KEPT.format(worker=worker)


def _tell(link: queue_state.Link, step: Step) -> None:
    if step.action == "leave":
        worker_control.leave(link, step.queue, step.worker)
        return
    table = registry.current().table
    queue = table.queues[step.queue]
    queue_admin.declare(link, table, queue)
    worker_control.consume(link, table, queue, step.worker)


def _sites(snapshot: Snapshot, wanted: set[str] | None, result: Plan) -> Iterator[_Site]:
    """Ask each broker's workers once, however many aliases lead to it."""
    by_url: dict[str, list[Broker]] = {}
    for broker in conf.brokers.values():
        by_url.setdefault(broker.url, []).append(broker)
    for brokers in by_url.values():
        aliases = {broker.alias for broker in brokers}
        queues = {name: queue for name, queue in snapshot.table.queues.items() if queue.broker in aliases}
        if not (queues if wanted is None else wanted & queues.keys()):
            continue
        try:
            with queue_state.opened(brokers[0]) as link:
                consumed = worker_control.consumed(link)
                yield _Site(brokers[0], queues, consumed, worker_control.registered(link, sorted(consumed)))
        except PublishError as error:
            result.problems.append(str(error))


def _check_worker(worker: str | None, sites: Sequence[_Site]) -> None:
    running = {name for site in sites for name in site.consumed}
    if worker is not None and worker not in running:
        raise ConfigurationError(
            f"No worker {worker!r} answered within {conf.BROKER_TIMEOUT:g} s{suggest(worker, running)}. "
            f"Running: {', '.join(sorted(running)) or 'none'}."
        )


def _routed(snapshot: Snapshot) -> dict[str, set[str]]:
    """Return the tasks that the registry sends to each queue."""
    found: dict[str, set[str]] = {}
    for name, destination in snapshot.destinations().items():
        for queue in destination.queues:
            found.setdefault(queue, set()).add(name)
    return found


def _ours(snapshot: Snapshot, site: _Site, worker: str | None, result: Plan) -> list[str]:
    """Return the workers that may be told something."""
    running = sorted(site.consumed)
    if not running:
        result.problems.append(
            f"No worker answered on broker {site.broker.alias!r} within {conf.BROKER_TIMEOUT:g} s: start one "
            f"(`manage.py dispatch worker-command` says how), or let it be remote-controlled."
        )
    asked = running if worker is None else [name for name in running if name == worker]
    ours = [name for name in asked if site.tasks.get(name, frozenset()) & snapshot.tasks.keys()]
    for name in asked:
        if name not in ours:
            result.notes.append(f"Worker {name!r} knows no task of the registry, and is left alone.")
    return ours


def _to_consume(
    site: _Site, ours: Sequence[str], routed: Mapping[str, set[str]], wanted: set[str] | None, result: Plan
) -> None:
    taken = {name: {entry.name for entry in entries} for name, entries in site.consumed.items()}
    for queue in sorted(site.queues.keys() if wanted is None else wanted & site.queues.keys()):
        if wanted is None and any(queue in names for names in taken.values()):
            continue
        needed = routed.get(queue, set())
        able = [name for name in ours if needed <= site.tasks.get(name, frozenset())]
        alias = site.queues[queue].broker
        result.steps += [Step(name, "consume", queue, alias) for name in able if queue not in taken[name]]
        if ours and not able:
            result.problems.append(
                f"Queue {queue!r} finds no worker that knows all of its tasks: {', '.join(sorted(needed))}."
            )


def _to_leave(site: _Site, worker: str) -> Iterator[Step]:
    for entry in site.consumed[worker]:
        if entry.name not in site.queues and not entry.own:
            yield Step(worker, "leave", entry.name, site.broker.alias)


def _with_messages(steps: Sequence[Step]) -> Iterator[Step]:
    for step in steps:
        try:
            with queue_state.opened(conf.brokers[step.broker]) as link:
                yield replace(step, messages=queue_state.counted(link, step.queue).ready)
        except PublishError:
            yield step  # the number is for information only
