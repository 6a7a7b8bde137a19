"""Queues: which have tasks and no consumer, which consumers have no tasks, and who declares one otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from dispatch.conf import conf
from dispatch.contract.verification import findings
from dispatch.contract.verification.evidence import Answers, Offer, World, consumers
from dispatch.contract.verification.findings import Finding
from dispatch.core.manifest import ConsumedQueue
from dispatch.core.message import represent
from dispatch.core.routing import Queue, Request, Target
from dispatch.core.sentences import count, enumerated
from dispatch.core.suggestions import suggest
from dispatch.exceptions import DispatchError, NoDestination


@dataclass(slots=True)
class _Traffic:
    """What goes to a queue: tasks by name, and how many messages wait in the outbox for it."""

    tasks: set[str] = field(default_factory=set)
    messages: int = 0

    def __bool__(self) -> bool:
        return bool(self.tasks or self.messages)

    def __str__(self) -> str:
        noun = "task" if len(self.tasks) == 1 else "tasks"
        parts = [f"{noun} {enumerated(self.tasks)}"] if self.tasks else []
        parts += [count(self.messages, "waiting message")] if self.messages else []
        return " and ".join(parts)


def check(world: World) -> Iterator[Finding]:
    """Yield what is wrong with queues and their consumers; nothing while no worker is known."""
    if not world.offers and world.live is None:
        return
    traffic = _traffic(world)
    if world.live is None:
        yield from _unconsumed(world, traffic)
    else:
        yield from _unconsumed_now(world, world.live, traffic)
    idle = _idle(world, traffic)
    for name, offers in sorted(consumers(world.offers).items()):
        for offer in offers:
            yield from _consumer(world, traffic, name, offer)
            if name in idle:
                yield findings.UNROUTED.found(name, worker=offer.name)


def _traffic(world: World) -> dict[str, _Traffic]:
    found = {name: _Traffic() for name in world.snapshot.table.queues}
    calls = [(name, Target()) for name in world.sent if not world.reason(name)]
    calls += [
        (use.task, use.target) for use in world.uses if use.task in world.sent and not world.reason(use.task)
    ]
    for name, target in calls:
        for queue in _queues(world, name, target):
            found.setdefault(queue, _Traffic()).tasks.add(name)
    for queue, number in world.waiting("queue"):
        if queue:
            found.setdefault(queue, _Traffic()).messages += number
    return found


def _queues(world: World, name: str, target: Target) -> tuple[str, ...]:
    try:
        return world.snapshot.destination(name, target).queues
    except DispatchError:
        return ()  # told elsewhere


def _unconsumed(world: World, traffic: Mapping[str, _Traffic]) -> Iterator[Finding]:
    consumed = consumers(world.offers)
    for name in sorted(world.snapshot.table.queues.keys() - consumed.keys() - world.snapshot.paused):
        if traffic[name]:
            yield findings.UNCONSUMED.found(name, what=str(traffic[name]))


def _unconsumed_now(world: World, live: Answers, traffic: Mapping[str, _Traffic]) -> Iterator[Finding]:
    """Only who runs counts; a broker on which no worker answers is one finding, not one for each queue."""
    table = world.snapshot.table
    consumed = consumers(offer for offer in world.offers if offer.is_live)
    unheard: dict[str, set[str]] = {}
    for name in sorted(table.queues.keys() - consumed.keys() - world.snapshot.paused):
        alias = table.queues[name].broker
        if not traffic[name] or live.counted.get(name):
            continue
        if alias in live.answered:
            yield findings.UNCONSUMED.found(name, what=str(traffic[name]))
        elif alias in live.reached:
            unheard.setdefault(alias, set()).add(name)
    for alias, names in sorted(unheard.items()):
        queues = f"queue{'' if len(names) == 1 else 's'} {enumerated(names)}"
        yield findings.NOBODY.found(alias, seconds=conf.BROKER_TIMEOUT, queues=queues)


def _consumer(world: World, traffic: Mapping[str, _Traffic], name: str, offer: Offer) -> Iterator[Finding]:
    queue = world.snapshot.table.queues.get(name)
    if queue is None:
        close = suggest(name, world.snapshot.table.queues)
        yield findings.FOREIGN.found(name, worker=offer.name, close=close)
        return
    if strange := traffic[name].tasks - offer.tasks.keys():
        yield findings.STRANGER.found(name, worker=offer.name, tasks=enumerated(strange))
    for theirs in offer.queues:
        if theirs.name == name and _declared(theirs) != _declared(queue):
            yield findings.ARGUMENTS.found(name, worker=offer.name, theirs=_words(theirs), ours=_words(queue))


def _idle(world: World, traffic: Mapping[str, _Traffic]) -> set[str]:
    """Return the queues to which nothing leads, not even a task that cannot be sent now.

    The default queue takes whatever has no route, and a router callable may name any queue.
    """
    table = world.snapshot.table
    if any(route.router for route in table.routes):
        return set()
    busy = {name for name, each in traffic.items() if each} | {table.default.queue}
    for name in world.known:
        task = world.snapshot.tasks.get(name)
        own = task.target if task else Target()
        with suppress(NoDestination):
            busy.update(
                table.destination(table.target_for(own, table.candidates(name), Request(name))).queues
            )
    return table.queues.keys() - busy


def _declared(queue: Queue | ConsumedQueue) -> tuple[bool, dict[str, object]]:
    return queue.durable, dict(queue.arguments)


def _words(queue: Queue | ConsumedQueue) -> str:
    arguments = f"arguments {represent(dict(queue.arguments))}" if queue.arguments else "no arguments"
    return arguments if queue.durable else f"{arguments}, not durable"
