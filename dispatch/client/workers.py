"""Asks running workers through Celery's remote control, over a link whose every call is bounded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import kombu
from kombu.pidbox import Mailbox
from kombu.transport.base import to_rabbitmq_queue_arguments  # type: ignore[attr-defined]  # not in its stubs

from dispatch.client import app
from dispatch.client.inspection import Link, guarded
from dispatch.conf import conf
from dispatch.exceptions import QueueUnavailable

#: The command of Celery's remote control whose answer is a worker's manifest.
MANIFEST = "manifest"
#: kombu's own words for arguments, which become AMQP's when a queue is declared.
WORDED_ARGUMENTS = ("expires", "message_ttl", "max_length", "max_length_bytes", "max_priority")


@dataclass(frozen=True, slots=True)
class Consumed:
    """A queue that a worker consumes; ``own`` if it exists only as long as that worker.

    ``arguments`` are AMQP's, with which the worker declares the queue.
    """

    name: str
    own: bool
    durable: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)


class _Producer(kombu.Producer):
    """Publishes once: kombu would try for ever while a broker is gone."""

    def publish(self, body: Any, *args: Any, **options: Any) -> None:
        super().publish(body, *args, **options | {"retry": False})


class _Mailbox(Mailbox):
    """Celery's mailbox over the link's own connection, not over a pool that nothing bounds."""

    @contextmanager
    def producer_or_acquire(self, producer: Any = None, channel: Any = None) -> Iterator[kombu.Producer]:
        yield producer or _Producer(channel, auto_declare=False)


@guarded
def consumed(link: Link, workers: Sequence[str] | None = None) -> dict[str, list[Consumed]]:
    """Return what each running worker consumes.

    All workers are waited for until none has answered for ``BROKER_TIMEOUT`` seconds; named ones, until each has.
    """
    answers = ask(link, "active_queues", workers=workers)
    return {
        worker: [
            Consumed(
                str(queue["name"]),
                bool(queue.get("auto_delete") or queue.get("exclusive")),
                bool(queue.get("durable", True)),
                amqp_arguments(queue),
            )
            for queue in queues
        ]
        for worker, queues in answers.items()
        if isinstance(queues, list)
    }


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
    answers = ask(link, "registered", workers=workers)
    return {
        worker: frozenset(str(line).partition(" [")[0] for line in lines)
        for worker, lines in answers.items()
        if isinstance(lines, list)
    }


@guarded
def declared(link: Link, worker: str) -> dict[str, Mapping[str, Any]]:
    """Return the queues that a worker's own settings declare, by name, as kombu writes a queue.

    Raises QueueUnavailable if the worker does not answer.
    """
    settings = ask(link, "conf", workers=[worker]).get(worker)
    if not isinstance(settings, dict):
        raise QueueUnavailable(silence(worker))
    entries = settings.get("task_queues")
    if not isinstance(entries, list):
        return {str(settings.get("task_default_queue") or "celery"): {}}
    return {str(entry["name"]): entry for entry in entries if isinstance(entry, dict) and "name" in entry}


def amqp_arguments(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a queue that kombu wrote as a dictionary, in AMQP's words."""
    worded = {name: entry[name] for name in WORDED_ARGUMENTS if entry.get(name) is not None}
    return dict(to_rabbitmq_queue_arguments(entry.get("queue_arguments") or {}, **worded))


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
    return {worker: answer for reply in replies or () for worker, answer in reply.items()}


def _mailbox(link: Link) -> _Mailbox:
    settings = app.sender(link.broker.alias, link.broker.url).conf
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
        queue_exclusive=settings.control_queue_exclusive,
        queue_durable=settings.control_queue_durable,
    )
