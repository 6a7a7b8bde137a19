"""The body of a message: JSON texts as they are stored, or their values in another serializer of kombu's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kombu.serialization import dumps

from dispatch.core.encoding import DEFAULT_SERIALIZER
from dispatch.core.message import Message, to_json
from dispatch.exceptions import InvalidArguments

JSON = {"content_type": "application/json", "content_encoding": "utf-8"}
Links = Sequence[Mapping[str, Any]]


def body(message: Message, serializer: str) -> tuple[Any, dict[str, Any]]:
    """Return the body of a message, and the options by which kombu's producer writes it."""
    embedded = embed(message.link, message.link_error)
    if serializer == DEFAULT_SERIALIZER:
        return f"[{message.args}, {message.kwargs}, {to_json(embedded)}]", JSON
    values = (json.loads(message.args), json.loads(message.kwargs), embedded)
    return values, {"serializer": serializer}


def embed(link: Links, link_error: Links) -> dict[str, Any]:
    """Return the third part of a body of protocol 2."""
    return {"callbacks": link or None, "errbacks": link_error or None, "chain": None, "chord": None}


def check(
    serializer: str, args: Sequence[Any], kwargs: Mapping[str, Any], embedded: Mapping[str, Any]
) -> None:
    """Raise InvalidArguments for what JSON can write and this serializer cannot, such as msgpack's 65th bit."""
    if serializer == DEFAULT_SERIALIZER:
        return
    try:
        dumps((args, kwargs, embedded), serializer=serializer)
    except Exception as error:  # noqa: BLE001 - each library raises its own kinds
        reason = str(error) or type(error).__name__
        raise InvalidArguments(
            f"the arguments cannot be written as {serializer}: {reason}. Send them otherwise, or as json."
        ) from None
