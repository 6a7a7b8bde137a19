"""Under which broker and queue a message waits, and where a stored one goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dispatch.core.call import Call
from dispatch.core.routing import Destination, Request
from dispatch.registry import Snapshot

#: Stands in the place of a queue's name while a task is paused.
PAUSED_TASK = "(paused task)"


def resolve(call: Call, options: Mapping[str, Any], snapshot: Snapshot) -> Destination:
    """Return where a stored call goes now, ``options`` being those stored with it.

    Raises UnknownTask and NoDestination.
    """
    return snapshot.destination(
        call.name, call.target, Request(call.name, call.args or (), call.kwargs or {}, options)
    )


def stamp(task_name: str, destination: Destination, snapshot: Snapshot) -> tuple[str, str]:
    """Return the broker and the queue under whose names a message waits.

    A claim passes over what is paused or failing by these names alone. So a message to an exchange waits under a queue
    that it reaches, a paused one before others, and one of a paused task under no queue's name.
    """
    if task_name in snapshot.paused_tasks:
        return destination.broker, PAUSED_TASK
    paused = (queue for queue in destination.queues if queue in snapshot.paused)
    return destination.broker, next(paused, destination.queue or next(iter(destination.queues), ""))
