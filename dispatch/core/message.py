"""One task message, as the client publishes it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MASK = "***"
REPR_LENGTH = 1024  # as Celery's argsrepr_maxsize


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One task message as the client publishes it.

    ``args`` and ``kwargs`` are JSON texts, put on the wire as they are. ``args_repr`` and ``kwargs_repr`` are
    what Flower and the worker's log show. Times are timezone-aware.
    """

    task_id: str
    task: str
    args: str
    kwargs: str
    args_repr: str
    kwargs_repr: str
    eta: dt.datetime | None = None
    expires: dt.datetime | None = None
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


def represent(value: Any) -> str:
    """Return a short repr for logs, cut to 1,024 characters."""
    try:
        text = repr(value)
    except RecursionError:  # JSON may be nested more deeply than Python shows
        return "..."
    return text if len(text) <= REPR_LENGTH else f"{text[: REPR_LENGTH - 3]}..."
