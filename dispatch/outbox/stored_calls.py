"""Reads stored messages back as calls, by the rules that a call is checked by when it is made.

A row may have been written, or changed, by hand. Whatever is odd in it is told of that row, and stops no other.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dispatch.core.call import STORED, Call
from dispatch.core.json_values import plain
from dispatch.core.redaction import redact, shorten
from dispatch.exceptions import DispatchError, InvalidOption, UnreadableMessage
from dispatch.models import OutboxMessage

#: The options of a call that stand in the column of that name.
OPTIONS = (*STORED, "queue", "exchange", "routing_key", "priority", "stamps", "link", "link_error")
REMEDY = "Correct the row and requeue it, or send the message anew."


def call_of(message: OutboxMessage) -> Call:
    """Return the call that a stored message holds.

    Raises UnreadableMessage, with the reason, for a row that no call would have made.
    """
    with _told():
        _check_columns(message)
        return _call(message, message.options)


def arguments_of(args: str, kwargs: str) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments that a stored message holds as JSON texts.

    Raises UnreadableMessage for what no call would have had.
    """
    with _told():
        return _arguments("args", args, list), _arguments("kwargs", kwargs, dict)


@contextmanager
def _told() -> Iterator[None]:
    """Raise UnreadableMessage for whatever is odd: it must end on its own row."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - nobody knows what stands in a row
        reason = str(error) if isinstance(error, DispatchError) else f"{type(error).__name__}: {error}"
        told = shorten(redact(reason)).rstrip(".")
        raise UnreadableMessage(f"The stored message cannot be read: {told}. {REMEDY}") from None


def _check_columns(message: OutboxMessage) -> None:
    if missing := message.get_deferred_fields():  # a claim leaves out what it could not read
        raise InvalidOption(f"column {min(missing)} holds a value that cannot be read")
    if not isinstance(message.options, dict):
        raise InvalidOption(f"options must be a JSON object, not a {type(message.options).__name__}")
    if not isinstance(message.attempts, int):
        raise InvalidOption("attempts must be a whole number")


def _call(message: OutboxMessage, options: dict[str, Any]) -> Call:
    eta = options.get("eta")
    given: dict[str, Any] = {name: options.get(name) for name in OPTIONS}
    return Call(
        message.task_name,
        _arguments("args", message.args, list),
        _arguments("kwargs", message.kwargs, dict),
        eta=None if eta is None else dt.datetime.fromisoformat(eta),
        expires=message.expires_at,
        headers=message.headers or None,
        **given,
    )


def _arguments(name: str, text: Any, kind: type) -> Any:
    """Return arguments from the JSON text that goes on the wire as it is."""
    value = json.loads(text) if isinstance(text, str) else text
    if not isinstance(text, str) or not isinstance(value, kind):
        raise InvalidOption(
            f"{name} must be the JSON text of a {kind.__name__}, not a {type(value).__name__}"
        )
    return plain(value, f"/{name}")
