"""Where the worker's code sends a task itself (``@app.task(queue="web")``), against where the registry does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dispatch.core.routing import NOTHING, Request, Target
from dispatch.exceptions import DispatchError
from dispatch.registry.snapshot import Snapshot


def own_place(options: Any) -> Target:
    """Return where a task's own options, as the manifest has them, lead; a routing key alone leads nowhere."""
    if not isinstance(options, Mapping):
        return NOTHING
    queue, exchange, key = (options.get(name) for name in ("queue", "exchange", "routing_key"))
    if isinstance(queue, str) and queue:
        return Target(queue)
    return Target(None, exchange, str(key or "")) if isinstance(exchange, str) and exchange else NOTHING


def goes_elsewhere(name: str, place: Target, snapshot: Snapshot) -> bool:
    """Tell whether a task whose definition names no place is sent elsewhere than to this one."""
    table = snapshot.table
    try:
        found = table.destination(table.target_for(NOTHING, snapshot.candidates(name), Request(name)))
    except DispatchError:
        return True
    if place.queue:
        return (found.exchange, found.queue) != ("", place.queue)
    return (found.exchange, found.routing_key) != (place.exchange, place.routing_key)
