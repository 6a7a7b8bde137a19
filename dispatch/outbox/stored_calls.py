"""Reads stored messages back as calls, by the rules that a call is checked by when it is made.

A row may have been written, or changed, by hand. Whatever is odd in it is told of that row, and stops no other.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from dispatch.core.call import STORED, Call
from dispatch.core.json_values import plain
from dispatch.core.redaction import redact, shorten
from dispatch.exceptions import DispatchError, InvalidOption, UnreadableMessage
from dispatch.models import OutboxMessage

#: The options of a call that stand in the column of that name.
OPTIONS = (*STORED, "queue", "exchange", "routing_key", "priority", "stamps", "link", "link_error")
#: Arguments without these in their texts hold nothing that a worker could not read back, and are not looked at twice.
DOUBTFUL = ("__type__", "\\u", "NaN", "Infinity")
REMEDY = "Correct the row and requeue it, or send the message anew."


def call_of(message: OutboxMessage) -> Call:
    """Return the call that a stored message holds.

    Raises UnreadableMessage, with the reason, for a row that no call would have made.
    """
    try:
        _check_columns(message)
        return _call(message, message.options)
    except Exception as error:  # noqa: BLE001 - whatever stands in a row must end on that row
        raise _unreadable(error) from None


def arguments_of(args: str, kwargs: str) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments that a stored message holds as JSON texts.

    Raises UnreadableMessage for what no call would have had.
    """
    try:
        return _arguments("args", args, list), _arguments("kwargs", kwargs, dict)
    except Exception as error:  # noqa: BLE001 - as above
        raise _unreadable(error) from None


def _unreadable(error: Exception) -> UnreadableMessage:
    reason = str(error) if isinstance(error, DispatchError) else f"{type(error).__name__}: {error}"
    told = shorten(redact(reason)).rstrip(".")
    return UnreadableMessage(f"The stored message cannot be read: {told}. {REMEDY}")


def _check_columns(message: OutboxMessage) -> None:
    if missing := message.get_deferred_fields():  # a claim leaves out what it could not read
        raise InvalidOption(f"column {min(missing)} holds a value that cannot be read")
    if not isinstance(message.options, dict):
        raise InvalidOption(f"options must be a JSON object, not a {type(message.options).__name__}")
    if not isinstance(message.attempts, int):
        raise InvalidOption("attempts must be a whole number")


def _call(message: OutboxMessage, options: dict[str, Any]) -> Call:
    eta = options.get("eta")
    given: dict[str, Any] = {name: options[name] for name in OPTIONS if name in options}
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
    if any(mark in text for mark in DOUBTFUL):
        plain(value, f"/{name}")
    return value
