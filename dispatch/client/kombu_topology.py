"""The registry's queues, exchanges and bindings as kombu's, and where a broker wants a message to go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import kombu

from dispatch.conf import Broker
from dispatch.core.priority_order import number_on_redis
from dispatch.core.routing import Destination, Exchange, Queue, RoutingTable


def addresses(
    broker: Broker, destination: Destination, default_key: str | None = None
) -> list[tuple[str, str]]:
    """Return the (exchange, routing key) pairs to publish to.

    kombu's own matching on Redis is wrong for ``*`` and ``#``, and a key that matches nothing vanishes there; so the
    queues that the registry's bindings reach are addressed one by one. A broadcast on Redis goes to a channel whose
    name ends in the key under which a worker listens: none; or, with Celery's ``Broadcast``, its default routing key,
    which is the name of its default queue. Nobody listens to both.
    """
    if broker.has_exchanges:
        return [(destination.exchange, destination.routing_key)]
    keys = [""] if destination.is_broadcast else []
    if keys and broker.is_urgent_low:
        keys += filter(None, [destination.routing_key or default_key])
    return [(destination.exchange, key) for key in keys] + [("", queue) for queue in destination.queues]


def number_on(broker: Broker, priority: int | None) -> int | None:
    """Return the number the broker understands; on Redis 0 is most urgent."""
    return number_on_redis(priority) if broker.is_urgent_low and priority is not None else priority


def entities(table: RoutingTable, destination: Destination) -> list[kombu.Queue | kombu.Exchange]:
    """Return the exchange and the queues, with their bindings, that must exist before a message is published."""
    exchange = [kombu_exchange(table.exchanges[destination.exchange])] if destination.exchange else []
    return exchange + [
        queue for name in destination.queues for queue in declarable(table, table.queues[name])
    ]


def declarable(table: RoutingTable, queue: Queue) -> list[kombu.Queue]:
    """Return kombu's queues for a queue of the registry, one per binding.

    Without a binding it gets the same-named direct exchange, as in Celery.
    """
    common: dict[str, Any] = {"durable": queue.durable, "queue_arguments": dict(queue.arguments) or None}
    if not queue.bindings:
        exchange = kombu.Exchange(queue.name, type="direct", durable=True)
        return [kombu.Queue(queue.name, exchange, routing_key=queue.name, **common)]
    return [
        kombu.Queue(
            queue.name,
            kombu_exchange(table.exchanges[b.exchange]),
            routing_key=b.routing_key,
            binding_arguments=dict(b.arguments) or None,
            **common,
        )
        for b in queue.bindings
    ]


def consumable(broker: Broker, table: RoutingTable, queue: Queue) -> list[kombu.Queue]:
    """Return kombu's queues for a queue as a worker consumes it, one per binding.

    On brokers without exchanges the relay puts a message to a fanout exchange into each bound queue itself; and a queue
    that is bound to such an exchange there listens to the broadcast alone: its own list is read no more.
    """
    if broker.has_exchanges:
        return declarable(table, queue)
    bindings = tuple(b for b in queue.bindings if table.exchanges[b.exchange].type != "fanout")
    if bindings or not queue.bindings:
        return declarable(table, replace(queue, bindings=bindings))
    # not the direct exchange of its name, which may be that of the fanout exchange
    arguments = dict(queue.arguments) or None
    return [
        kombu.Queue(
            queue.name,
            kombu.Exchange(""),
            routing_key=queue.name,
            durable=queue.durable,
            queue_arguments=arguments,
        )
    ]


def kombu_exchange(exchange: Exchange) -> kombu.Exchange:
    return kombu.Exchange(
        exchange.name,
        type=exchange.type,
        durable=exchange.durable,
        arguments=dict(exchange.arguments) or None,
    )
