"""Broadcasts: what is sent to a fanout exchange reaches every worker, whatever queues `-Q` selects.

Each worker consumes a queue of its own per fanout exchange. These queues exist only in a running worker. They
are not among the `task_queues`, so neither the manifest nor `celery purge` takes them for the registry's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Celery
from celery import Task as CeleryTask
from celery.signals import celeryd_after_setup
from kombu import Queue, uuid
from kombu.common import Broadcast

from worker.routing import OWN_QUEUE_EXPIRES

#: By this name each worker finds its own queue for retries.
RETRIES = "retries of broadcasts"


def listen(app: Celery, queues: Sequence[Broadcast]) -> None:
    """Let the workers of this app consume these queues, each a process's own."""

    def consume(instance: Any, **_: Any) -> None:
        if instance.app is app and queues:
            for queue in (*queues, _retries()):
                _add(app, queue)

    celeryd_after_setup.connect(consume, weak=False)


def _retries() -> Queue:
    name = f"bcast.retries.{uuid()}"
    return Queue(name, routing_key=name, alias=RETRIES, auto_delete=True, expires=OWN_QUEUE_EXPIRES)


def _add(app: Celery, queue: Queue) -> None:
    exchange, key = queue.exchange, queue.routing_key
    app.amqp.queues.select_add(queue)
    # Celery gives its defaults to a queue that lacks an exchange or a key. On Redis the key is a part of the
    # channel's name: the worker would not hear what is published without one.
    queue.exchange, queue.routing_key = exchange, key


class Task(CeleryTask):
    """A task that keeps its retries to itself when it came by a broadcast.

    Celery sends a retry where the message came from. For a broadcast that is every worker, and when all of
    them fail, each of them gets the retries of all.
    """

    abstract = True

    def signature_from_request(
        self, request: Any = None, args: Any = None, kwargs: Any = None, queue: Any = None, **options: Any
    ) -> Any:
        """Return the message of a retry."""
        came_by = (request or self.request).delivery_info or {}
        if queue is None and self._is_broadcast(came_by.get("exchange")):
            queue = self.app.amqp.queues[RETRIES]
        return super().signature_from_request(request, args, kwargs, queue, **options)

    def _is_broadcast(self, exchange: str | None) -> bool:
        queues = self.app.amqp.queues.values()
        return any(isinstance(queue, Broadcast) and queue.exchange.name == exchange for queue in queues)
