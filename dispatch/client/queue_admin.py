"""Declares, deletes and empties queues on a broker, and shows their messages without taking them away."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

import redis
from amqp.exceptions import PreconditionFailed

from dispatch.client import kombu_topology
from dispatch.client.queue_state import LASTING, REMEDY, Link, counted, guarded
from dispatch.core.json_values import plain
from dispatch.core.message import represent
from dispatch.core.redaction import redact, storable
from dispatch.core.routing import Queue, RoutingTable
from dispatch.exceptions import InvalidArguments, QueueUnavailable


@guarded
def declare(link: Link, table: RoutingTable, queue: Queue) -> None:
    """Declare exchanges, queue and bindings, as the relay does before it publishes.

    Raises QueueUnavailable, with the remedy, where the broker has them with other arguments.
    """
    try:
        with link.channel() as channel:
            for entity in kombu_topology.consumable(link.broker, table, queue):
                entity.bind(channel).declare()
    except PreconditionFailed as error:
        raise QueueUnavailable(
            f"{redact(str(error.reply_text))}. {LASTING} {REMEDY.format(name=queue.name)}"
        ) from None


@guarded
def delete(link: Link, table: RoutingTable, queue: Queue) -> int | None:
    """Delete a queue with its messages; return how many those were, None where there was no queue.

    The exchange of the same name, which a declaration without bindings makes, goes too unless it is used.
    """
    found = counted(link, queue.name)
    if not found.exists:
        return None
    if not link.has_exchanges:
        # kombu deletes what it declared itself, with the bindings it remembers
        declare(link, table, queue)
    with link.channel() as channel:
        channel.queue_delete(queue.name)
    if link.has_exchanges and not queue.bindings and queue.name not in table.exchanges:
        _delete_exchange(link, queue.name)
    return found.ready


def _delete_exchange(link: Link, name: str) -> None:
    with suppress(*link.connection.channel_errors), link.channel() as channel:
        channel.exchange_delete(name, if_unused=True)


@guarded
def purge(link: Link, queue: Queue) -> int | None:
    """Throw away the messages that no worker holds; return how many, None where there is no queue."""
    if not counted(link, queue.name).exists:
        return None
    with link.channel() as channel:
        return int(channel.queue_purge(queue.name) or 0)


SHOWN_APART = ("task", "id", "argsrepr", "kwargsrepr")


@dataclass(frozen=True, slots=True)
class Peeked:
    """A waiting message, by its headers; ``priority`` is the more urgent the higher, None where it has none."""

    task: str
    task_id: str
    args: str
    kwargs: str
    priority: int | None
    size: int
    headers: Mapping[str, Any]


@guarded
def peek(link: Link, queue: Queue, limit: int) -> list[Peeked]:
    """Return up to ``limit`` messages, those first that are next in turn.

    RabbitMQ hands them out and takes them back in their order; for that moment no worker gets them, and afterwards they
    are marked as redelivered. Raises QueueUnavailable where the broker cannot do it without harm.
    """
    if link.has_exchanges:
        return _from_amqp(link, queue, limit)
    if link.kind == "redis":
        return list(_from_redis(link, queue.name, limit))
    raise QueueUnavailable(
        f"Broker {link.broker.alias!r} ({link.kind}) cannot show messages without taking them away; "
        f"Redis and RabbitMQ can."
    )


def _from_amqp(link: Link, queue: Queue, limit: int) -> list[Peeked]:
    kind = queue.arguments.get("x-queue-type", "classic")
    if kind != "classic":
        raise QueueUnavailable(
            f"Queue {queue.name!r} is a {kind} queue: RabbitMQ would count each look at a message as a delivery, and "
            f"drop it after too many. Look at the worker's log, or make the queue a classic one."
        )
    with link.channel() as channel:
        held: list[Any] = []
        while len(held) < limit and (message := channel.basic_get(queue.name, no_ack=False)):
            held.append(message)
        # closing the channel hands them back, each to its place
    return [
        _peeked(link, message.headers or {}, message.properties.get("priority"), len(message.body))
        for message in held
    ]


def _from_redis(link: Link, name: str, limit: int) -> Iterator[Peeked]:
    """Read the lists in the order in which a worker empties them: by priority, each from its right end."""
    with _redis_lists(link, name) as (client, keys):
        for key in keys:
            for text in reversed(client.lrange(key, -limit, -1)):
                yield _from_redis_text(link, text)
                limit -= 1
            if limit <= 0:
                return


@contextmanager
def _redis_lists(link: Link, name: str) -> Iterator[tuple[redis.Redis, list[str]]]:
    """Yield a client, and the keys of the lists that a queue consists of, the most urgent first."""
    with link.channel() as channel:
        # a client of its own: kombu's does not put the global_keyprefix before the keys of these commands
        client = redis.Redis(connection_pool=channel.pool)
        yield (
            client,
            [channel.global_keyprefix + channel._q_for_pri(name, step) for step in channel.priority_steps],
        )


#: Messages of a queue among which one is looked for, and how many are read at a time.
MOST_SEARCHED, SEARCHED_AT_ONCE = 100_000, 100


@dataclass(frozen=True, slots=True)
class Waiting:
    """One message as it stands in a list of Redis."""

    queue: str
    key: str
    text: bytes


@guarded
def find(link: Link, queue: str, task_id: str) -> Waiting | None:
    """Return the message of a task if it waits in a queue on Redis, among the latest ``MOST_SEARCHED``."""
    quoted, left = json.dumps(task_id).encode(), MOST_SEARCHED
    with _redis_lists(link, queue) as (client, keys):
        for key in keys:
            # from where messages are added: what comes meanwhile moves others on, so that none is passed over
            for start in count(0, SEARCHED_AT_ONCE):
                texts: Any = client.lrange(key, start, start + SEARCHED_AT_ONCE - 1)
                found = (text for text in texts if quoted in text and _task_id(text) == task_id)
                if text := next(found, None):
                    return Waiting(queue, key, text)
                left -= len(texts)
                if not texts or left <= 0:
                    break
    return None


@guarded
def remove(link: Link, waiting: Waiting) -> bool:
    """Take a message out of its list; False if a worker was quicker."""
    with _redis_lists(link, waiting.queue) as (client, _keys):
        return bool(client.lrem(waiting.key, 1, waiting.text))  # type: ignore[arg-type]


def _task_id(text: bytes) -> Any:
    try:
        return json.loads(text)["headers"]["id"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _from_redis_text(link: Link, text: bytes | str) -> Peeked:
    try:
        envelope = json.loads(text)
        headers, properties = envelope["headers"], envelope["properties"]
        return _peeked(link, headers, properties.get("priority"), len(envelope["body"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Peeked("(not a message of Celery)", "", "", "", None, len(text), {})


def _peeked(link: Link, headers: Mapping[str, Any], priority: int | None, size: int) -> Peeked:
    return Peeked(
        task=_text(headers.get("task", "(not a message of Celery)")),
        task_id=_text(headers.get("id", "")),
        args=_text(headers.get("argsrepr", "")),
        kwargs=_text(headers.get("kwargsrepr", "")),
        priority=kombu_topology.number_on(link.broker, priority),
        size=size,
        headers={
            storable(str(name)): _value(value) for name, value in headers.items() if name not in SHOWN_APART
        },
    )


def _text(value: Any) -> str:
    return storable(value if isinstance(value, str) else represent(value))


def _value(value: Any) -> Any:
    """Return a header as JSON has it; what JSON cannot say, or is nested without end, as Python shows it."""
    try:
        return plain(value)
    except InvalidArguments:
        return _text(value)
