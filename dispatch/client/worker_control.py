"""Asks running workers, and tells them what to consume, through Celery's remote control: every call is bounded."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import kombu
from kombu.pidbox import Mailbox

from dispatch.client import celery_apps, kombu_topology, worker_replies
from dispatch.client.queue_state import Link, guarded
from dispatch.client.worker_replies import Consumed
from dispatch.conf import conf
from dispatch.core.redaction import redact
from dispatch.core.routing import Queue, RoutingTable
from dispatch.exceptions import QueueUnavailable

logger = logging.getLogger("dispatch.client")
#: The command of Celery's remote control whose answer is a worker's manifest.
MANIFEST = "manifest"
#: The most replies that are waited for, whoever sends them.
MOST_REPLIES = 10_000
#: What is raised by what is no message at all, such as a text that somebody put into the reply queue.
NO_MESSAGE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


class _Producer(kombu.Producer):
    """Publishes once: kombu would try for ever while a broker is gone."""

    def publish(self, body: Any, *args: Any, **options: Any) -> None:
        super().publish(body, *args, **options | {"retry": False})


class _Mailbox(Mailbox):
    """Celery's mailbox over the link's own connection, not over a pool that nothing bounds."""

    connection: kombu.Connection

    @contextmanager
    def producer_or_acquire(self, producer: Any = None, channel: Any = None) -> Iterator[kombu.Producer]:
        yield producer or _Producer(channel, auto_declare=False)

    def _collect(
        self, ticket: str, limit: int | None = None, timeout: float = 1, *args: Any, **options: Any
    ) -> list[Any]:
        """Return the replies to one question. kombu's own gives up all of them for one that it cannot read."""
        replies: list[Any] = []

        def receive(body: Any, message: kombu.Message) -> None:
            if message.headers.get("ticket", ticket) == ticket:
                replies.append(body)

        channel, queue = self.connection.default_channel, self.reply_queue
        consumer = kombu.Consumer(
            channel, [queue], accept=self.accept, no_ack=True, callbacks=[receive], on_decode_error=_left_out
        )
        try:
            with consumer:
                for _ in range(limit or MOST_REPLIES):
                    if not self._drain(timeout):
                        break
        finally:
            channel.after_reply_message_received(queue.name)
        return replies

    def _drain(self, timeout: float) -> bool:
        """Take one reply in; return whether one came."""
        try:
            self.connection.drain_events(timeout=timeout)
        except TimeoutError:
            return False
        except NO_MESSAGE as error:
            _left_out(None, error)
        return True


def _left_out(message: Any, error: Exception) -> None:
    logger.warning("A reply of a worker is left out, for it cannot be read: %s", type(error).__name__)


@guarded
def consumed(link: Link, workers: Sequence[str] | None = None) -> dict[str, list[Consumed]]:
    """Return what each running worker consumes.

    All workers are waited for until none has answered for ``BROKER_TIMEOUT`` seconds; named ones, until each has.
    """
    return worker_replies.read_each(ask(link, "active_queues", workers=workers), worker_replies.queues)


@guarded
def manifests(link: Link, workers: Sequence[str] | None = None) -> dict[str, Any]:
    """Return what each running worker answers when it is asked for its manifest, not checked, by node name.

    A worker that does not know the command is left out, or has a dictionary whose only key is ``error``. The time is
    bounded as that of :func:`consumed` is.
    """
    return ask(link, MANIFEST, workers=workers)


@guarded
def registered(link: Link, workers: Sequence[str]) -> dict[str, frozenset[str]]:
    """Return the names of the tasks that these workers can run."""
    return worker_replies.read_each(ask(link, "registered", workers=workers), worker_replies.task_names)


@guarded
def declared(link: Link, worker: str) -> dict[str, Mapping[str, Any]]:
    """Return the queues that a worker's own settings declare, by name, as kombu writes a queue.

    Raises QueueUnavailable if the worker does not answer, or if its answer cannot be read.
    """
    settings = ask(link, "conf", workers=[worker])
    if worker not in settings:
        raise QueueUnavailable(silence(worker))
    return worker_replies.read(worker, settings[worker], worker_replies.declared)


def silence(worker: str) -> str:
    """Say that a worker does not answer."""
    return f"Worker {worker!r} did not answer within {conf.BROKER_TIMEOUT:g} s."


def ask(
    link: Link, command: str, arguments: Mapping[str, Any] | None = None, *, workers: Sequence[str] | None
) -> dict[str, Any]:
    """Return the answer of each worker to a command of Celery's remote control, of all of them for None."""
    if workers is not None and not workers:
        return {}
    mailbox, asked = _mailbox(link), dict(arguments or {})
    if workers is None:
        replies = mailbox.multi_call(command, asked, timeout=conf.BROKER_TIMEOUT)
    else:
        replies = mailbox.call(list(workers), command, asked, timeout=conf.BROKER_TIMEOUT)
    return worker_replies.by_worker(replies)


def _mailbox(link: Link) -> _Mailbox:
    settings = celery_apps.sender(link.broker.alias, link.broker.url).conf
    # Celery 5.5 has neither setting, and its kombu neither argument.
    newer = {f"queue_{name}": settings.get(f"control_queue_{name}") for name in ("exclusive", "durable")}
    newer = {name: value for name, value in newer.items() if value is not None}
    return _Mailbox(
        settings.control_exchange,
        type="fanout",
        connection=link.connection,
        accept=["json"],
        serializer="json",
        queue_ttl=settings.control_queue_ttl,
        reply_queue_ttl=settings.control_queue_ttl,
        queue_expires=settings.control_queue_expires,
        reply_queue_expires=settings.control_queue_expires,
        **newer,
    )


@guarded
def revoke(link: Link, task_ids: Sequence[str], signal: str = "") -> dict[str, str]:
    """Tell all running workers not to run these tasks; with a signal, to end the process of one that runs it.

    Returns what each worker that answered refuses, "" for nothing. The time is bounded as that of :func:`consumed` is.
    """
    asked = {"task_id": list(task_ids), "terminate": bool(signal), "signal": signal or None}
    answers = ask(link, "revoke", asked, workers=None)
    return {worker: _refusal(worker, answer) for worker, answer in answers.items()}


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
    entity = kombu_topology.consumable(link.broker, table, queue)[0]
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
    stats = ask(link, "stats", workers=[worker]).get(worker, {})
    return worker_replies.read(worker, stats, worker_replies.processes)


def _busy(link: Link, worker: str) -> set[int]:
    tasks = ask(link, "active", workers=[worker]).get(worker, [])
    return worker_replies.read(worker, tasks, worker_replies.busy_processes)


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
    found = worker_replies.read(worker, own, lambda own: next(_contradictions(table, entity, own), ""))
    if found:
        raise QueueUnavailable(
            f"Worker {worker!r} knows queue {entity.name!r} by its own settings, with {found}; RabbitMQ would "
            f"refuse that, and the worker would end. Write its routing anew (`manage.py dispatch routes export`) "
            f"and restart it."
        )


def _contradictions(table: RoutingTable, entity: kombu.Queue, own: Mapping[str, Any]) -> Iterator[str]:
    """Yield where the worker's declaration of a queue, or of an exchange it names, differs from the registry's."""
    theirs, ours = worker_replies.amqp_arguments(own), dict(entity.queue_arguments or {})
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
    if refusal := _refusal(worker, answer):
        raise QueueUnavailable(refusal)


def _refusal(worker: str, answer: Any) -> str:
    if isinstance(answer, dict) and "ok" in answer:
        return ""
    reason = answer.get("error", answer) if isinstance(answer, dict) else answer
    return f"Worker {worker!r} refuses: {redact(str(reason))}"


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
