"""One task message, as the client publishes it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MASK = "***"
REPR_LENGTH = 1024  # as Celery's argsrepr_maxsize


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shared:
    """What messages of one task that are sent with the same options have in common: Celery's options.

    Two are the same only if they are one object: what is made of it once is found again by it.
    """

    task: str
    eta: dt.datetime | None = None
    serializer: str | None = None
    compression: str | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    ignore_result: bool | None = None
    shadow: str | None = None
    reply_to: str | None = None
    delivery_mode: int | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    stamps: Mapping[str, Any] = field(default_factory=dict)
    link: Sequence[Mapping[str, Any]] = ()
    link_error: Sequence[Mapping[str, Any]] = ()
    chain: Sequence[Mapping[str, Any]] = ()
    group_id: str | None = None


class Message(NamedTuple):
    """One task message as the client publishes it.

    ``args`` and ``kwargs`` are JSON texts, put on the wire as they are. ``args_repr`` and ``kwargs_repr`` are
    what Flower and the worker's log show. ``headers`` are what no other message need have, such as a trace's.
    Times are timezone-aware.
    """

    shared: Shared
    task_id: str
    args: str
    kwargs: str
    args_repr: str
    kwargs_repr: str
    expires: dt.datetime | None = None
    headers: Mapping[str, str | int] = {}


def represent(value: Any) -> str:
    """Return a short repr for logs, cut to 1,024 characters."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # JSON has more levels, or digits, than Python shows
        return "..."
    return text if len(text) <= REPR_LENGTH else f"{text[: REPR_LENGTH - 3]}..."
