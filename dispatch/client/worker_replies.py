"""What running workers answer, read into typed values: one whose answer is odd is told, and stops no other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kombu.transport.base import to_rabbitmq_queue_arguments  # type: ignore[attr-defined]  # not in its stubs

from dispatch.core.redaction import redact, shorten, storable
from dispatch.exceptions import QueueUnavailable

logger = logging.getLogger("dispatch.client")
T = TypeVar("T")
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


def read(worker: str, answer: Any, reader: Callable[[Any], T]) -> T:
    """Return what a worker answered, read. Raises QueueUnavailable for an answer that cannot be."""
    try:
        return reader(answer)
    except Exception as error:  # noqa: BLE001 - nobody knows what a worker, or somebody else, answers
        reason = shorten(storable(redact(f"{type(error).__name__}: {error}")))
        raise QueueUnavailable(
            f"Worker {worker!r} answered what cannot be read ({reason}): look at its log and its version of Celery."
        ) from None


def read_each(answers: Mapping[str, Any], reader: Callable[[Any], T]) -> dict[str, T]:
    """Return what each worker answered, read; one whose answer cannot be is left out, and the log says so."""
    return dict(_readable(answers, reader))


def _readable(answers: Mapping[str, Any], reader: Callable[[Any], T]) -> Iterator[tuple[str, T]]:
    for worker, answer in answers.items():
        try:
            yield worker, read(worker, answer, reader)
        except QueueUnavailable as error:
            logger.warning("%s It is left out.", error)


def by_worker(replies: Any) -> dict[str, Any]:
    """Return the answers that replies of Celery's remote control hold, by node name."""
    answers: dict[str, Any] = {}
    for reply in replies or ():
        if isinstance(reply, dict):
            answers |= reply
        else:
            logger.warning(
                "A reply of a worker is left out: it is no object, but a %s.", type(reply).__name__
            )
    return answers


def queues(answer: Any) -> list[Consumed]:
    """Read the answer to ``active_queues``."""
    return [
        Consumed(
            _name(queue),
            bool(queue.get("auto_delete") or queue.get("exclusive")),
            bool(queue.get("durable", True)),
            amqp_arguments(queue),
        )
        for queue in _list(answer)
    ]


def task_names(answer: Any) -> frozenset[str]:
    """Read the answer to ``registered``."""
    return frozenset(line.partition(" [")[0] for line in _list(answer))


def declared(answer: Any) -> dict[str, Mapping[str, Any]]:
    """Read the queues that a worker's own settings declare out of its answer to ``conf``, by name."""
    entries = answer.get("task_queues")
    if not isinstance(entries, list):
        return {str(answer.get("task_default_queue") or "celery"): {}}
    return {_name(entry): entry for entry in entries}


def processes(answer: Any) -> set[int]:
    """Read the ids of a worker's processes out of its ``stats``; none where its pool does not fork."""
    pool = answer.get("pool", {})
    forks = "prefork" in str(pool.get("implementation", "prefork"))
    return set(pool.get("processes", ())) if forks else set()


def busy_processes(answer: Any) -> set[int]:
    """Read the ids of the processes that work out of the answer to ``active``."""
    return {task["worker_pid"] for task in _list(answer)}


def amqp_arguments(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a queue that kombu wrote as a dictionary, in AMQP's words."""
    worded = {name: entry[name] for name in WORDED_ARGUMENTS if entry.get(name) is not None}
    return dict(to_rabbitmq_queue_arguments(entry.get("queue_arguments") or {}, **worded))


def _list(answer: Any) -> list[Any]:
    if isinstance(answer, list):
        return answer
    if isinstance(answer, dict) and "error" in answer:  # Celery's way to refuse a command
        raise ValueError(answer["error"])
    raise TypeError(f"it is no list, but a {type(answer).__name__}")


def _name(entry: Any) -> str:
    name = entry["name"]
    if not isinstance(name, str):
        raise TypeError(f"the name of a queue is no text, but a {type(name).__name__}")
    return name
