"""Where Celery would publish what a route, or a task itself, names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dispatch.client.celery_import.queues import TYPES, Topology, is_each_workers_own

KEYS = ("queue", "exchange", "exchange_type", "routing_key", "priority")


class Places:
    """Settles what is named to one queue, or to one exchange with its routing key."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.leftovers = topology.leftovers

    def target(self, given: Mapping[str, Any], whose: str) -> dict[str, Any] | None:
        """Return the columns of a route or a task definition; None where there is nothing to bring."""
        if unknown := [key for key in given if key not in KEYS and given[key] is not None]:
            self.leftovers.add(f"{whose}: {', '.join(map(str, unknown))}: set that on the task definitions.")
        priority = self.topology.priority(given.get("priority"), whose)
        place = self._place(given, whose)
        if place is None:
            return None
        if priority is None and place.get("exchange"):
            # a queue's own default is not looked at on the way to an exchange
            priority = self.topology.default_priority
        return {"queue": None, "exchange": None, "routing_key": "", **place, "priority": priority}

    def _place(self, given: Mapping[str, Any], whose: str) -> dict[str, Any] | None:
        """Settle what is given as ``celery.app.amqp`` settles a message."""
        wanted, exchange, key = given.get("queue"), given.get("exchange"), given.get("routing_key")
        if exchange == "" and not wanted:
            return self._nowhere(key, whose)
        queue = self._queue(wanted, exchange)
        if queue is None and not exchange:
            self.leftovers.add(f"{whose}: {_no_queue(wanted)}")
            return None
        if not wanted and not exchange and self._is_open(given, queue):
            return {}
        name = self.topology.exchange(exchange, given.get("exchange_type")) if exchange else None
        type_ = given.get("exchange_type") or getattr(getattr(queue, "exchange", None), "type", "direct")
        if type_ == "direct" and not (name and key):
            return self._direct(queue, name, whose)
        if name is None:
            name = queue.exchange.name or self.topology.default_exchange.name
            key = key or queue.routing_key or self.topology.default_routing_key
        return self._through(name, key or "", whose)

    def _nowhere(self, key: Any, whose: str) -> dict[str, Any] | None:
        """The default exchange alone: Celery takes it for no exchange, and drops the key with which it was meant."""
        queue = self.topology.queue(key) if key else None
        if queue is None:
            self.leftovers.add(
                f"{whose}: exchange '' is no place without a queue: Celery loses such messages."
            )
            return None
        self.leftovers.note(
            f"{whose}: through exchange '' Celery loses such messages, unless exchange_type is set; here they go "
            f"to queue {queue.name!r}."
        )
        return {"queue": queue.name}

    def _queue(self, wanted: Any, exchange: Any) -> Any:
        if wanted:
            return self.topology.queue(wanted)
        return None if exchange else self.topology.default_queue

    def _is_open(self, given: Mapping[str, Any], default: Any) -> bool:
        """A rule that decides the priority alone leaves the rest to the default queue, whichever that will be."""
        return default.exchange.type == "direct" and given.get("priority") is not None

    def _direct(self, queue: Any, exchange: str | None, whose: str) -> dict[str, Any] | None:
        if queue is None:
            return self._bare(str(exchange), whose)
        if is_each_workers_own(queue):
            return self._bare(str(queue.exchange.name), whose)
        return {"queue": queue.name}

    def _bare(self, exchange: str, whose: str) -> dict[str, Any] | None:
        if self.topology.is_reached(exchange, ""):
            self.leftovers.note(
                f"{whose}: Celery loses such messages, for want of a routing key; here they go to exchange "
                f"{exchange!r}, with an empty one."
            )
        return self._through(exchange, "", whose)

    def _through(self, exchange: str, key: str, whose: str) -> dict[str, Any] | None:
        type_ = self.topology.type_of(exchange)
        if type_ not in TYPES:
            self.leftovers.add(
                f"{whose}: exchange {exchange!r} is of type {type_!r}, which the registry does not know."
            )
            return None
        if not self.topology.is_reached(exchange, key):
            self.leftovers.note(
                f"{whose}: no queue is bound to exchange {exchange!r} with a key that matches {key!r}. Celery loses "
                f"such messages; here sending is refused until there is a binding."
            )
        return {"exchange": exchange, "routing_key": key}


def _no_queue(wanted: Any) -> str:
    if wanted:
        return f"queue {wanted!r} is not in task_queues, and task_create_missing_queues is off."
    return "it names no queue, and there is no default one."
