"""Declares, deletes, empties, shows, pauses and resumes queues by name; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from django.db import router

from dispatch import models, registry
from dispatch.client import queue_admin, queue_state
from dispatch.core.routing import Queue
from dispatch.exceptions import BrokerUnavailable, PublishError, QueueUnavailable
from dispatch.queues.selection import broker, by_broker, chosen

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one queue: what was done, or the error that prevented it."""

    queue: str
    done: str = ""
    error: str = ""
    messages: int | None = None


def declare(names: Sequence[str] | None) -> Iterator[Outcome]:
    """Declare exchanges, queues and bindings on their brokers, as the relay does; all of the registry for None."""
    table = registry.current().table

    def work(link: queue_state.Link, queue: Queue) -> Outcome:
        queue_admin.declare(link, table, queue)
        return Outcome(queue.name, "declared")

    return _each(chosen(table.queues, names), work)


def delete(names: Sequence[str]) -> Iterator[Outcome]:
    """Delete queues on their brokers, with their messages; the registry's rows stay."""
    table = registry.current().table

    def work(link: queue_state.Link, queue: Queue) -> Outcome:
        return _emptied(queue, "deleted", queue_admin.delete(link, table, queue))

    return _each(chosen(table.queues, names), work)


def purge(names: Sequence[str]) -> Iterator[Outcome]:
    """Throw away the messages of queues that no worker holds yet; what waits in the outbox stays there."""

    def work(link: queue_state.Link, queue: Queue) -> Outcome:
        return _emptied(queue, "purged", queue_admin.purge(link, queue))

    return _each(chosen(registry.current().table.queues, names), work)


def peek(name: str, limit: int) -> list[queue_admin.Peeked]:
    """Return up to ``limit`` messages of a queue, those first that are next in turn, and leave them there.

    Raises BrokerUnavailable, and QueueUnavailable where its broker cannot do that.
    """
    [queue] = chosen(registry.current().table.queues, [name])
    with queue_state.opened(broker(queue.broker)) as link:
        if not queue_state.counted(link, queue.name).exists:
            raise QueueUnavailable(f"Queue {queue.name!r} is not on broker {queue.broker!r} yet.")
        return queue_admin.peek(link, queue, limit)


def set_paused(names: Sequence[str], *, paused: bool) -> Iterator[Outcome]:
    """Pause or resume publishing to queues: while paused, their messages wait in the outbox."""
    queues = chosen(registry.current().table.queues, names)
    rows = models.Queue.objects.using(router.db_for_write(models.Queue))
    changed = set(rows.filter(name__in=names).exclude(paused=paused).values_list("name", flat=True))
    if changed:
        rows.filter(name__in=changed).update(paused=paused)
    word = "paused" if paused else "resumed"
    for queue in queues:
        already = "was paused already" if paused else "was not paused"
        yield Outcome(queue.name, word if queue.name in changed else already)


def _emptied(queue: Queue, word: str, messages: int | None) -> Outcome:
    if messages is None:
        return Outcome(queue.name, f"is not on broker {queue.broker!r}")
    return Outcome(queue.name, word, messages=messages)


def _each(queues: Sequence[Queue], work: Callable[[queue_state.Link, Queue], Outcome]) -> Iterator[Outcome]:
    for alias, group in by_broker(queues):
        left = list(group)
        try:
            with queue_state.opened(broker(alias)) as link:
                while left:
                    yield _attempt(link, left[0], work)
                    del left[0]
        except BrokerUnavailable as error:
            yield from (Outcome(queue.name, error=str(error)) for queue in left)


def _attempt(
    link: queue_state.Link, queue: Queue, work: Callable[[queue_state.Link, Queue], Outcome]
) -> Outcome:
    try:
        return work(link, queue)
    except BrokerUnavailable:
        raise
    except PublishError as error:
        return Outcome(queue.name, error=str(error))
