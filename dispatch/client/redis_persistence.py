"""What a Redis does with the messages that it has taken: when its memory is full, and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from redis.exceptions import ResponseError

from dispatch.client.queue_state import Link, guarded


@dataclass(frozen=True, slots=True)
class Persistence:
    """The settings of a Redis, under its own names.

    ``maxmemory_policy`` is "" where its memory has no bound, and ``appendfsync`` where it may not be asked.
    """

    maxmemory_policy: str
    appendonly: bool
    appendfsync: str


@guarded
def persistence(link: Link) -> Persistence | None:
    """Return how a Redis keeps messages; None of another broker, and where the account may not ask."""
    if link.kind != "redis":
        return None
    with link.channel() as channel:
        told = _asked(channel.client.info)
        if not told:
            return None
        appends = bool(told.get("aof_enabled"))
        configured = _asked(partial(channel.client.config_get, "appendfsync")) if appends else {}
        return Persistence(
            maxmemory_policy=told.get("maxmemory_policy", "") if told.get("maxmemory") else "",
            appendonly=appends,
            appendfsync=configured.get("appendfsync", ""),
        )


def _asked(question: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the answer; nothing where the account may not ask, or a managed server does not know the command."""
    try:
        return question()
    except ResponseError:
        return {}
