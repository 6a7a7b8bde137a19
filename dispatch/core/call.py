"""One call of ``send_task``: a task's name, its arguments and Celery's options, checked as far as that goes alone."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dispatch.core.routing import HIGHEST_PRIORITY, Target
from dispatch.exceptions import InvalidOption

#: Options that are stored with the message as they are, and reach the broker with it.
STORED = (
    "serializer",
    "compression",
    "time_limit",
    "soft_time_limit",
    "ignore_result",
    "shadow",
    "reply_to",
    "delivery_mode",
)
TEXTS = ("name", "queue", "exchange", "routing_key", "serializer", "compression", "shadow", "reply_to")


@dataclass(frozen=True, slots=True)
class Call:
    """What :func:`dispatch.api.send_task` takes, as a value; :func:`dispatch.api.send_many` takes many of them.

    ``countdown``, ``expires`` and the limits are seconds, ``eta`` is a timezone-aware datetime, ``expires`` may be one.
    ``deliver_eta`` hands the wait to the worker instead of holding the message in the outbox.

    Raises InvalidOption for a value that cannot be used.
    """

    name: str
    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    countdown: float | None = None
    eta: dt.datetime | None = None
    expires: float | dt.datetime | None = None
    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    priority: int | None = None
    serializer: str | None = None
    compression: str | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    ignore_result: bool | None = None
    shadow: str | None = None
    reply_to: str | None = None
    delivery_mode: int | None = None
    headers: Mapping[str, Any] | None = None
    task_id: uuid.UUID | str | None = None
    deliver_eta: bool = False

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_times(self)
        _check_destination(self)

    @property
    def target(self) -> Target:
        """What the caller said of the destination."""
        return Target(self.queue, self.exchange, self.routing_key, self.priority)

    def options(self) -> dict[str, Any]:
        """Return the options that are stored with the message, without those left out."""
        values = {name: getattr(self, name) for name in STORED}
        return {name: value for name, value in values.items() if value is not None}


def due(countdown: float | None, eta: dt.datetime | None, now: dt.datetime) -> dt.datetime:
    """Return when the task is due."""
    if eta is not None:
        return eta
    return now + dt.timedelta(seconds=countdown or 0)


def expiry(expires: float | dt.datetime | None, now: dt.datetime) -> dt.datetime | None:
    """Return the moment after which the task is not to be run, None for never."""
    if expires is None or isinstance(expires, dt.datetime):
        return expires
    return now + dt.timedelta(seconds=expires)


def _check_shapes(call: Call) -> None:
    for name in TEXTS:
        if not isinstance(getattr(call, name), (str, type(None))):
            raise InvalidOption(f"{name} must be a text, not {getattr(call, name)!r}.")
    if not isinstance(call.ignore_result, (bool, type(None))):
        raise InvalidOption(f"ignore_result must be True, False or None, not {call.ignore_result!r}.")
    if isinstance(call.args, (str, bytes, bytearray)) or not isinstance(call.args, (Sequence, type(None))):
        raise InvalidOption(f"args must be a list or a tuple, not {call.args!r}.")
    for name in ("kwargs", "headers"):
        if not isinstance(getattr(call, name), (Mapping, type(None))):
            raise InvalidOption(f"{name} must be a dictionary, not {getattr(call, name)!r}.")
    if call.task_id is not None:
        try:
            uuid.UUID(str(call.task_id))
        except ValueError:
            raise InvalidOption(
                f"task_id {call.task_id!r} is not a UUID: leave it out, or give one."
            ) from None


def _check_times(call: Call) -> None:
    for name in ("countdown", "expires", "time_limit", "soft_time_limit"):
        value = getattr(call, name)
        if value is None or (name == "expires" and isinstance(value, dt.datetime)):
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
            raise InvalidOption(f"{name} must be a number of seconds, 0 or more, not {value!r}.")
    for name in ("eta", "expires"):
        value = getattr(call, name)
        if isinstance(value, dt.datetime) and value.tzinfo is None:
            raise InvalidOption(
                f"{name} {value} has no timezone: use django.utils.timezone.now() or make_aware()."
            )
    if call.eta is not None and not isinstance(call.eta, dt.datetime):
        raise InvalidOption(f"eta must be a datetime, not {call.eta!r}.")
    if call.eta is not None and call.countdown is not None:
        raise InvalidOption("eta and countdown both say when: give one.")


def _check_destination(call: Call) -> None:
    if call.queue is not None and call.exchange is not None:
        raise InvalidOption("queue and exchange both say where: give one.")
    priority: Any = call.priority
    if priority is not None and (type(priority) is not int or not 0 <= priority <= HIGHEST_PRIORITY):
        raise InvalidOption(f"priority must be a whole number from 0 to 9, 9 most urgent, not {priority!r}.")
