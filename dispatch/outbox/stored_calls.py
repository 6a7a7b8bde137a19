"""Reads stored messages back as calls, by the rules that a call is checked by when it is made.

A row may have been written, or changed, by hand. Whatever is odd in it is told of that row, and stops no other.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from dispatch.core.call import STORED, Call, signatures
from dispatch.core.json_values import DEPTH, plain
from dispatch.core.redaction import redact, shorten
from dispatch.exceptions import DispatchError, InvalidArguments, InvalidOption, UnreadableMessage
from dispatch.models import OutboxMessage

#: The options of a call that stand in the column of that name.
OPTIONS = (*STORED, "queue", "exchange", "routing_key", "priority", "stamps", "link", "link_error")
#: The JSON text of no arguments.
NOTHING: dict[type, str] = {list: "[]", dict: "{}"}
_parsed = json.JSONDecoder().decode
REMEDY = "Correct the row and requeue it, or send the message anew."


def call_of(message: OutboxMessage) -> Call:
    """Return the call that a stored message holds.

    Raises UnreadableMessage, with the reason, for a row that no call would have made.
    """
    return stored_call(
        message.task_name,
        message.options,
        message.headers,
        *arguments_of(message.args, message.kwargs),
        expires=message.expires_at,
    )


def stored_call(
    task_name: str,
    options: Any,
    headers: Any,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    expires: dt.datetime | None = None,
) -> Call:
    """Return the call that the columns of a row hold; raises UnreadableMessage."""
    try:
        return _call(task_name, options, headers, args, kwargs, expires)
    except Exception as error:  # noqa: BLE001 - whatever stands in a row must end on that row
        raise unreadable(error) from None


def chain_of(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the later steps of a chain that a message carries, as Celery writes them: the next one stands last.

    Their arguments are stored as JSON texts, as those of a message are: a JSON column may change numbers. Raises
    UnreadableMessage for what :func:`dispatch.api.send_chain` would not have stored.
    """
    try:
        steps = signatures(options.get("chain"))
        for step in steps:
            uuid.UUID(step["options"]["task_id"])
            step["args"] = _arguments("args", step["args"], list)
            step["kwargs"] = _arguments("kwargs", step["kwargs"], dict)
    except Exception as error:  # noqa: BLE001 - as above
        raise unreadable(error) from None
    return steps


def arguments_of(args: str, kwargs: str) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments that a stored message holds as JSON texts.

    Raises UnreadableMessage for what no call would have had.
    """
    try:
        return _arguments("args", args, list), _arguments("kwargs", kwargs, dict)
    except Exception as error:  # noqa: BLE001 - as above
        raise unreadable(error) from None


def unreadable(error: Exception) -> UnreadableMessage:
    """Return what is told of a row that holds what no call would have stored."""
    reason = str(error) if isinstance(error, DispatchError) else f"{type(error).__name__}: {error}"
    told = shorten(redact(reason)).rstrip(".")
    return UnreadableMessage(f"The stored message cannot be read: {told}. {REMEDY}")


def _call(
    task_name: str,
    options: Any,
    headers: Any,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    expires: dt.datetime | None,
) -> Call:
    if not isinstance(options, dict):
        raise InvalidOption(f"options must be a JSON object, not a {type(options).__name__}")
    eta = options.get("eta")
    given: dict[str, Any] = {name: options[name] for name in OPTIONS if name in options}
    return Call(
        task_name,
        args,
        kwargs,
        eta=None if eta is None else dt.datetime.fromisoformat(eta),
        expires=expires,
        headers=headers or None,
        **given,
    )


def _arguments(name: str, text: Any, kind: type) -> Any:
    """Return arguments from the JSON text that goes on the wire as it is."""
    if text == NOTHING[kind]:  # as most messages have it, of one of the two
        return kind()
    value = _parsed(text) if isinstance(text, str) else text
    if not isinstance(text, str) or not isinstance(value, kind):
        raise InvalidOption(
            f"{name} must be the JSON text of a {kind.__name__}, not a {type(value).__name__}"
        )
    if _is_doubtful(text):
        try:
            plain(value, f"/{name}")
        except InvalidArguments as error:
            raise error.outside() from None  # which arguments are sensitive is not known here
    return value


def _is_doubtful(text: str) -> bool:
    """Tell whether a text may hold what a worker could not read back; most do not, and are spared a look."""
    return (
        "__type__" in text
        or "\\u" in text
        or "NaN" in text
        or "Infinity" in text
        or (len(text) > DEPTH and text.count("[") + text.count("{") > DEPTH)
    )
