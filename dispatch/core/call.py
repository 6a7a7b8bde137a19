"""One call of ``send_task``: a task's name, its arguments and Celery's options, checked as far as that goes alone."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, TypeAlias

from dispatch.core.codecs import COMPRESSIONS
from dispatch.core.json_values import plain
from dispatch.core.message import represent
from dispatch.core.redaction import UNSENDABLE
from dispatch.core.routing import HIGHEST_PRIORITY, NOTHING, Target
from dispatch.core.seconds import EXPECTED, TIMES, is_seconds
from dispatch.exceptions import InvalidArguments, InvalidOption

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
#: The headers of Celery's message protocol 2, and kombu's own, which a caller's must not replace.
OWN_HEADERS = frozenset(
    [
        "lang",
        "compression",
        "task",
        "id",
        "shadow",
        "eta",
        "expires",
        "group",
        "group_index",
        "retries",
        "timelimit",
        "root_id",
        "parent_id",
        "argsrepr",
        "kwargsrepr",
        "origin",
        "ignore_result",
        "replaced_task_nesting",
        "stamped_headers",
        "stamps",
    ]
)
#: The names that Celery's own stamping cannot use: a stamp travels among the options of the message.
OWN_STAMPS = OWN_HEADERS | {
    "name", "task_id", "args", "kwargs", "countdown", "group_id", "chord", "chain", "callbacks", "errbacks",
    "reply_to", "time_limit", "soft_time_limit", "create_sent_event", "now", "timezone",
}  # fmt: skip
LONGEST_KEY = 255
TEXTS = ("queue", "exchange", "routing_key", "serializer", "compression", "shadow", "reply_to")

Link: TypeAlias = "str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None"


@dataclass(frozen=True, slots=True)
class Call:
    """What :func:`dispatch.api.send_task` takes, as a value; :func:`dispatch.api.send_many` takes many of them.

    ``countdown``, ``expires`` and the limits are seconds, ``eta`` is a timezone-aware datetime, ``expires``
    may be one. ``link`` and ``link_error`` name the tasks that the worker sends afterwards: a name, a Celery
    signature as a dictionary (``task``, ``args``, ``kwargs``, ``options``), or a list of these.
    ``deliver_eta`` hands the wait to the worker instead of holding the message in the outbox. ``immutable`` is for a
    later step of a chain: it is not given the result of the step before it.

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
    stamps: Mapping[str, Any] | None = None
    link: Link = None
    link_error: Link = None
    task_id: uuid.UUID | str | None = None
    deliver_eta: bool = False
    immutable: bool = False

    def __post_init__(self) -> None:
        _check_text("name", self.name)
        _check_arguments(self)
        if _options(self) == _NO_OPTIONS:
            return
        _check_texts(self)
        _check_shapes(self)
        _check_id(self)
        _check_encoding(self)
        _check_times(self)
        _check_destination(self)
        self.linked()  # raises InvalidOption for what names no task

    @property
    def target(self) -> Target:
        """What the caller said of the destination."""
        asked = self.queue, self.exchange, self.routing_key, self.priority
        return NOTHING if asked == _NO_TARGET else Target(*asked)

    @property
    def way(self) -> tuple[Hashable, ...] | None:
        """What decides the destination and the stored options, beside task and arguments; None where it is no key."""
        if self.link or self.link_error or self.stamps:
            return None
        return _way(self)

    def options(self) -> dict[str, Any]:
        """Return the options that are stored with the message, without those left out."""
        values = {name: value for name in STORED if (value := getattr(self, name)) is not None}
        for name in ("link", "link_error"):
            if links := signatures(getattr(self, name)):
                values[name] = links
        if self.stamps:
            values["stamps"] = plain(dict(self.stamps), "/stamps")
        return values

    def linked(self) -> list[str]:
        """Return the names of the tasks that the worker sends afterwards."""
        if self.link is None and self.link_error is None:
            return []
        return [link["task"] for link in signatures(self.link) + signatures(self.link_error)]


_ARGUMENTS = ("name", "args", "kwargs")
#: All that a call may ask for beside its arguments.
_options = attrgetter(*(each.name for each in fields(Call) if each.name not in _ARGUMENTS))
_NO_OPTIONS = tuple(each.default for each in fields(Call) if each.name not in _ARGUMENTS)
_NO_TARGET = (None,) * 4
_way = attrgetter("queue", "exchange", "routing_key", "priority", *STORED)


def signatures(link: Link) -> list[dict[str, Any]]:
    """Return linked tasks as Celery writes signatures into a message.

    Raises InvalidOption for what names no task.
    """
    if link is None:
        return []
    if not isinstance(link, (str, Mapping, list, tuple)):
        raise InvalidOption(
            f"link must be a task's name, a signature, or a list of these, not a {type(link).__name__}."
        )
    links = [link] if isinstance(link, (str, Mapping)) else list(link)
    return [_signature(each) for each in links]


def _signature(link: Any) -> dict[str, Any]:
    given = {"task": link} if isinstance(link, str) else dict(link) if isinstance(link, Mapping) else {}
    if not isinstance(given.get("task"), str):
        raise InvalidOption(
            f"a link ({type(link).__name__}) names no task: give a task's name, or a signature as a dictionary."
        )
    defaults: dict[str, Any] = {
        "args": [],
        "kwargs": {},
        "options": {},
        "subtask_type": None,
        "immutable": False,
    }
    try:
        return {"task": given["task"], **defaults, **plain(given, "/link")}
    except InvalidArguments as error:
        raise error.outside(3) from None  # which of its arguments are sensitive is not known here


def due(countdown: float | None, eta: dt.datetime | None, now: dt.datetime) -> dt.datetime:
    """Return when the task is due."""
    if eta is not None:
        return eta
    return now + dt.timedelta(seconds=countdown) if countdown else now


def expiry(expires: float | dt.datetime | None, now: dt.datetime) -> dt.datetime | None:
    """Return the moment after which the task is not to be run, None for never."""
    if expires is None or isinstance(expires, dt.datetime):
        return expires
    return now + dt.timedelta(seconds=expires)


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise InvalidOption(f"{name} must be a text, not {value!r}.")
    if UNSENDABLE.search(value):
        raise InvalidOption(f"{name} holds a character that no database stores: {value!r}.")


def _check_texts(call: Call) -> None:
    for name in TEXTS:
        if (value := getattr(call, name)) is not None:
            _check_text(name, value)
    if call.routing_key and len(call.routing_key.encode()) > LONGEST_KEY:
        raise InvalidOption(
            f"routing_key is longer than the {LONGEST_KEY} bytes that AMQP allows: shorten it."
        )


def _check_arguments(call: Call) -> None:
    if call.args is not None and not _is_list(call.args):
        raise InvalidOption(f"args must be a list or a tuple, not a {type(call.args).__name__}.")
    _check_dictionary("kwargs", call.kwargs)


def _check_dictionary(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, (dict, Mapping)):  # a dict is told faster from itself
        raise InvalidOption(f"{name} must be a dictionary, not a {type(value).__name__}.")


def _check_shapes(call: Call) -> None:
    if not isinstance(call.ignore_result, (bool, type(None))):
        raise InvalidOption(f"ignore_result must be True, False or None, not {call.ignore_result!r}.")
    _check_dictionary("headers", call.headers)
    _check_dictionary("stamps", call.stamps)
    if call.stamps and (taken := OWN_STAMPS.intersection(call.stamps)):
        raise InvalidOption(f"stamp {min(taken)!r} has the name of an option of Celery's: choose another.")
    if call.headers and (taken := OWN_HEADERS.intersection(call.headers)):
        raise InvalidOption(
            f"header {min(taken)!r} is Celery's own: use the option of that name, or another header."
        )


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, Sequence)) and not isinstance(value, (str, bytes, bytearray))


def _check_id(call: Call) -> None:
    if call.task_id is None:
        return
    try:
        uuid.UUID(str(call.task_id))
    except ValueError:
        raise InvalidOption(f"task_id {call.task_id!r} is not a UUID: leave it out, or give one.") from None


def _check_encoding(call: Call) -> None:
    if call.compression is not None and call.compression not in COMPRESSIONS:
        raise InvalidOption(
            f"compression {call.compression!r} is unknown: use one of {', '.join(COMPRESSIONS)}."
        )
    if call.delivery_mode not in (None, 1, 2) or isinstance(call.delivery_mode, bool):
        raise InvalidOption(
            f"delivery_mode must be 1 (transient) or 2 (persistent), not {call.delivery_mode!r}."
        )


def _check_times(call: Call) -> None:
    for name in TIMES:
        value = getattr(call, name)
        if value is None or (name == "expires" and isinstance(value, dt.datetime)):
            continue
        if not is_seconds(value):
            raise InvalidOption(f"{name} must be {EXPECTED}, not {represent(value)}.")
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
    if call.queue is not None and call.routing_key is not None:
        raise InvalidOption(
            "with a queue, the routing_key would be ignored: give an exchange, or leave it out."
        )
    priority: Any = call.priority
    if priority is not None and (type(priority) is not int or not 0 <= priority <= HIGHEST_PRIORITY):
        raise InvalidOption(
            f"priority must be a whole number from 0 to {HIGHEST_PRIORITY}, not {priority!r}."
        )
