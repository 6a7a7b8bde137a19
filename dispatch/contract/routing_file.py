"""What ``routing.json`` holds: the registry's routing, for the worker to read."""

from __future__ import annotations

from typing import Any

from dispatch import registry
from dispatch.core.routing import Destination, Exchange, Queue
from dispatch.exceptions import ConfigurationError

ROUTING_FORMAT = 1


def routing_document() -> dict[str, Any]:
    """Return what ``routing.json`` holds: queues, exchanges, and where each registered task goes."""
    snapshot = registry.current()
    table = snapshot.table
    if table.default.queue is None:
        raise ConfigurationError(
            "No queue is the default one, and a worker needs one: mark a queue as default in the admin, then export."
        )
    # to those without a destination, the worker's own default applies
    tasks = {name: _destination(found) for name, found in snapshot.destinations().items()}
    return {
        "routing": ROUTING_FORMAT,
        "default_queue": table.default.queue,
        "exchanges": [_exchange(table.exchanges[name]) for name in sorted(table.exchanges)],
        "queues": [_queue(table.queues[name]) for name in sorted(table.queues)],
        "tasks": tasks,
    }


def _destination(destination: Destination) -> dict[str, str]:
    if destination.exchange:
        return {"exchange": destination.exchange, "routing_key": destination.routing_key}
    return {"queue": destination.queue}


def _exchange(exchange: Exchange) -> dict[str, Any]:
    return {
        "name": exchange.name,
        "broker": exchange.broker,
        "type": exchange.type,
        "durable": exchange.durable,
        "arguments": dict(exchange.arguments),
        **({} if exchange.broadcast else {"broadcast": False}),
    }


def _queue(queue: Queue) -> dict[str, Any]:
    bindings = [
        {"exchange": b.exchange, "routing_key": b.routing_key, "arguments": dict(b.arguments)}
        for b in queue.bindings
    ]
    return {
        "name": queue.name,
        "broker": queue.broker,
        "durable": queue.durable,
        "default_priority": queue.default_priority,
        "arguments": dict(queue.arguments),
        "bindings": bindings,
    }
