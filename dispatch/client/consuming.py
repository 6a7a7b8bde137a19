"""Makes a running worker consume a queue of the registry, or leave a queue, and sees that it did."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import kombu

from dispatch.client import topology
from dispatch.client.inspection import Link, guarded
from dispatch.client.workers import amqp_arguments, ask, consumed, declared, silence
from dispatch.conf import conf
from dispatch.core.routing import Queue, RoutingTable
from dispatch.exceptions import QueueUnavailable

POLL = 0.1
#: How often each process of a pool is asked to end before that is given up.
ROUNDS = 5
#: Seconds after which a worker has noticed that a process of its pool ended, which it looks for every five.
NOTICED = 10.0


@guarded
def consume(link: Link, table: RoutingTable, queue: Queue, worker: str) -> None:
    """Make a worker consume a queue of the registry, which must be declared already.

    The worker is told one binding: remote control cannot carry more, and the others are on the broker.
    Raises QueueUnavailable if it does not, or if it had better not.
    """
    entity = topology.consumable(link.connection, table, queue)[0]
    if link.has_exchanges:
        _refuse_contradiction(link, table, entity, worker)
    _tell(link, "add_consumer", worker, _in_words_of_celery(entity))
    _await(link, worker, queue.name, present=True)


@guarded
def leave(link: Link, queue: str, worker: str) -> None:
    """Make a worker stop consuming a queue; what it holds of it, it finishes.

    Raises QueueUnavailable if it does not.
    """
    _tell(link, "cancel_consumer", worker, {"queue": queue})
    _await(link, worker, queue, present=False)


@guarded
def renew_pool(link: Link, worker: str) -> bool:
    """Let each process of the worker's pool end after the task in hand, and be forked anew.

    Those that run already do not know a queue added since: a task that retries from it would fail. False where the
    worker's setting ``worker_pool_restarts`` does not allow it, or a process stays.
    """
    old = _processes(link, worker)
    deadline = time.monotonic() + NOTICED
    commands = ROUNDS * len(old)
    while commands or time.monotonic() < deadline:
        # an idle process sees the command only when work wakes it, and each command wakes one
        if commands and not _restart(link, worker):
            return False
        commands = max(commands - 1, 0)
        if not old & (_processes(link, worker) - _busy(link, worker)):
            return True
        time.sleep(POLL)
    return False


def _restart(link: Link, worker: str) -> bool:
    answer = ask(link, "pool_restart", workers=[worker]).get(worker)
    return isinstance(answer, dict) and "ok" in answer


def _processes(link: Link, worker: str) -> set[int]:
    """Return the ids of the processes that a worker has forked; none where its pool does not fork."""
    stats = ask(link, "stats", workers=[worker]).get(worker)
    pool = stats.get("pool", {}) if isinstance(stats, dict) else {}
    forks = "prefork" in str(pool.get("implementation", "prefork"))
    return set(pool.get("processes", ())) if forks else set()


def _busy(link: Link, worker: str) -> set[int]:
    tasks = ask(link, "active", workers=[worker]).get(worker)
    return {task["worker_pid"] for task in tasks} if isinstance(tasks, list) else set()


def _in_words_of_celery(entity: kombu.Queue) -> dict[str, Any]:
    return {
        "queue": entity.name,
        "exchange": entity.exchange.name,
        "exchange_type": entity.exchange.type,
        "exchange_durable": entity.exchange.durable,
        "exchange_arguments": entity.exchange.arguments,
        "routing_key": entity.routing_key,
        "queue_durable": entity.durable,
        "queue_arguments": entity.queue_arguments,
        "binding_arguments": entity.binding_arguments,
    }


def _refuse_contradiction(link: Link, table: RoutingTable, entity: kombu.Queue, worker: str) -> None:
    """A queue of the worker's own settings wins over what it is told: if RabbitMQ refuses that, the worker ends."""
    own = declared(link, worker).get(entity.name)
    if own is None:
        return
    found = next(_contradictions(table, entity, own), "")
    if found:
        raise QueueUnavailable(
            f"Worker {worker!r} knows queue {entity.name!r} by its own settings, with {found}; RabbitMQ would "
            f"refuse that, and the worker would end. Write its routing anew (`manage.py dispatch routes export`) "
            f"and restart it."
        )


def _contradictions(table: RoutingTable, entity: kombu.Queue, own: Mapping[str, Any]) -> Iterator[str]:
    """Yield where the worker's declaration of a queue, or of an exchange it names, differs from the registry's."""
    theirs, ours = amqp_arguments(own), dict(entity.queue_arguments or {})
    if theirs != ours:
        yield f"arguments {theirs} instead of {ours}"
    if own.get("durable", True) != entity.durable:
        yield f"durable={own['durable']}"
    for name in ("exclusive", "auto_delete"):
        if own.get(name):
            yield f"{name}=True"
    for exchange in (
        own.get("exchange"),
        *(binding.get("exchange") for binding in own.get("bindings") or ()),
    ):
        known = table.exchanges.get((exchange or {}).get("name", ""))
        if known is not None and (exchange["type"], exchange["durable"]) != (known.type, known.durable):
            yield f"a {exchange['type']} exchange {known.name!r}, durable={exchange['durable']}"


def _tell(link: Link, command: str, worker: str, arguments: Mapping[str, Any]) -> None:
    answer = ask(link, command, arguments, workers=[worker]).get(worker)
    if answer is None:
        raise QueueUnavailable(silence(worker))
    if not isinstance(answer, dict) or "ok" not in answer:
        reason = answer.get("error", answer) if isinstance(answer, dict) else answer
        raise QueueUnavailable(f"Worker {worker!r} refuses: {reason}")


def _await(link: Link, worker: str, queue: str, *, present: bool) -> None:
    """The worker answers before it acts: look until it did."""
    deadline = time.monotonic() + conf.BROKER_TIMEOUT
    while True:
        queues = consumed(link, [worker]).get(worker)
        if queues is not None and (queue in {entry.name for entry in queues}) == present:
            return
        if time.monotonic() > deadline:
            raise QueueUnavailable(
                f"Worker {worker!r} took the command, but {'does not consume' if present else 'still consumes'} "
                f"queue {queue!r}: look at its log."
            )
        time.sleep(POLL)
