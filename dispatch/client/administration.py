"""Declares, deletes and empties queues on a broker."""

from __future__ import annotations

from contextlib import suppress

from amqp.exceptions import PreconditionFailed

from dispatch.client import topology
from dispatch.client.inspection import LASTING, REMEDY, Link, counted, guarded
from dispatch.core.routing import Queue, RoutingTable
from dispatch.exceptions import QueueUnavailable


@guarded
def declare(link: Link, table: RoutingTable, queue: Queue) -> None:
    """Declare exchanges, queue and bindings, as the relay does before it publishes.

    Raises QueueUnavailable, with the remedy, where the broker has them with other arguments.
    """
    try:
        with link.channel() as channel:
            for entity in topology.consumable(link.connection, table, queue):
                entity.bind(channel).declare()
    except PreconditionFailed as error:
        raise QueueUnavailable(f"{error.reply_text}. {LASTING} {REMEDY.format(name=queue.name)}") from None


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
