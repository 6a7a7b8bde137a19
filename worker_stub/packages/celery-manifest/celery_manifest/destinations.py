"""Where a task says itself that it goes."""

from __future__ import annotations

from typing import Any

from celery import Task


def own_destination(task: Task) -> dict[str, str]:
    """Return where a task's own options lead: to a queue, or an exchange and a routing key.

    It is settled as `celery.app.amqp` does: a queue behind an exchange that is not direct is reached through
    that. A routing key alone names no place.
    """
    queue, exchange, key = (getattr(task, name, None) for name in ("queue", "exchange", "routing_key"))
    found = _queue(task.app, queue) if queue else None
    if found is None and not exchange:
        return {}
    type_ = getattr(getattr(found, "exchange", None), "type", "direct")
    if type_ == "direct" and found is not None and not (exchange and key):
        return {"queue": found.name}
    if not exchange:
        exchange = found.exchange.name or task.app.amqp.default_exchange
        key = key or found.routing_key or task.app.conf.task_default_routing_key
    return {"exchange": getattr(exchange, "name", exchange), "routing_key": key or ""}


def _queue(app: Any, queue: Any) -> Any:
    """Return a queue as Celery would make it; it is not added to those that the worker consumes."""
    if not isinstance(queue, str):
        return queue
    queues = app.amqp.queues
    known = queues.aliases.get(queue) or dict.get(queues, queue)
    return known or (queues.new_missing(queue) if queues.create_missing else None)
