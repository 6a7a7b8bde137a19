"""The registry's queues, exchanges and bindings as kombu's, and where a broker wants a message to go."""

from __future__ import annotations

from typing import Any

import kombu

from dispatch.core.routing import HIGHEST_PRIORITY, Destination, Exchange, Queue, RoutingTable


def has_exchanges(connection: kombu.Connection) -> bool:
    """Tell whether the broker routes by itself (AMQP), or the registry must (Redis and the other virtual ones)."""
    return bool(connection.transport.driver_type == "amqp")


def addresses(connection: kombu.Connection, destination: Destination) -> list[tuple[str, str]]:
    """Return the (exchange, routing key) pairs to publish to.

    kombu's own matching on Redis is wrong for ``*`` and ``#``, and a key that matches nothing vanishes there; so the
    queues that the registry's bindings reach are addressed one by one.
    """
    if has_exchanges(connection):
        return [(destination.exchange, destination.routing_key)]
    return [("", queue) for queue in destination.queues]


def broker_priority(connection: kombu.Connection, priority: int | None) -> int | None:
    """Return the number the broker understands; on Redis 0 is most urgent."""
    if priority is None or connection.transport.driver_type != "redis":
        return priority
    return HIGHEST_PRIORITY - priority


def entities(table: RoutingTable, destination: Destination) -> list[kombu.Queue]:
    """Return the queues, with their exchanges and bindings, that must exist before a message is published."""
    return [queue for name in destination.queues for queue in declarable(table, table.queues[name])]


def declarable(table: RoutingTable, queue: Queue) -> list[kombu.Queue]:
    """Return kombu's queues for a queue of the registry, one per binding.

    Without a binding it gets the same-named direct exchange, as in Celery.
    """
    common: dict[str, Any] = {"durable": queue.durable, "queue_arguments": dict(queue.arguments) or None}
    if not queue.bindings:
        exchange = kombu.Exchange(queue.name, type="direct", durable=True)
        return [kombu.Queue(queue.name, exchange, routing_key=queue.name, **common)]
    return [
        kombu.Queue(queue.name, _exchange(table.exchanges[b.exchange]), routing_key=b.routing_key, **common)
        for b in queue.bindings
    ]


def _exchange(exchange: Exchange) -> kombu.Exchange:
    return kombu.Exchange(
        exchange.name,
        type=exchange.type,
        durable=exchange.durable,
        arguments=dict(exchange.arguments) or None,
    )
