"""A message as Celery's protocol 2 writes it: body (in any serializer of kombu's), headers and properties."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kombu.serialization import dumps

from dispatch.client import celery_apps
from dispatch.conf import Broker, conf
from dispatch.core.codecs import DEFAULT_SERIALIZER
from dispatch.core.json_values import to_json
from dispatch.core.message import Message
from dispatch.exceptions import InvalidArguments, MessageRefused

JSON = {"content_type": "application/json", "content_encoding": "utf-8"}
Links = Sequence[Mapping[str, Any]]


def encode_body(message: Message, serializer: str) -> tuple[Any, dict[str, Any]]:
    """Return the body of a message, and the options by which kombu's producer writes it."""
    embedded = embed(message.link, message.link_error)
    if serializer == DEFAULT_SERIALIZER:
        return f"[{message.args}, {message.kwargs}, {to_json(embedded)}]", JSON
    values = (json.loads(message.args), json.loads(message.kwargs), embedded)
    return values, {"serializer": serializer}


def embed(link: Links, link_error: Links) -> dict[str, Any]:
    """Return the third part of a body of protocol 2."""
    return {"callbacks": link or None, "errbacks": link_error or None, "chain": None, "chord": None}


def check_encodable(
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


PERSISTENT = 2  # AMQP's delivery mode


@dataclass(frozen=True, slots=True)
class Envelope:
    """A body, and the options by which kombu's producer publishes it, whatever its destination."""

    body: Any
    options: dict[str, Any]


class Envelopes:
    """Makes the envelopes of one broker's messages.

    Celery's own ``as_task_v2`` is asked once, for what all messages share; what a message says of itself is filled in.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._shared: dict[str, Any] = (
            celery_apps.sender(broker.alias, broker.url).amqp.as_task_v2("", "").headers
        )

    def seal(self, message: Message) -> Envelope:
        """Return the envelope of a message. Raises MessageRefused for a serializer that is not allowed."""
        serializer = message.serializer or self.broker.serializer
        if serializer not in conf.SERIALIZERS:
            raise MessageRefused(f'Serializer {serializer!r} is not one of DISPATCH["SERIALIZERS"].')
        body, written = encode_body(message, serializer)
        options = {
            **written,
            "headers": {**self._shared, **_own_headers(message), **message.headers},
            "correlation_id": message.task_id,
            "reply_to": message.reply_to or "",
            "compression": message.compression or self.broker.compression,
            "retry": False,
            "expiration": _seconds_left(message.expires),
            "delivery_mode": message.delivery_mode or PERSISTENT,
        }
        return Envelope(body, options)


def _own_headers(message: Message) -> dict[str, Any]:
    return {
        "task": message.task,
        "id": message.task_id,
        "root_id": message.task_id,
        "shadow": message.shadow,
        "eta": message.eta and message.eta.isoformat(),
        "expires": message.expires and message.expires.isoformat(),
        "timelimit": [message.time_limit, message.soft_time_limit],
        "argsrepr": message.args_repr,
        "kwargsrepr": message.kwargs_repr,
        "ignore_result": message.ignore_result,
        "stamped_headers": list(message.stamps) or None,
        "stamps": dict(message.stamps),
    }


def _seconds_left(expires: dt.datetime | None) -> float | None:
    if expires is None:
        return None
    return max(0.0, (expires - dt.datetime.now(dt.UTC)).total_seconds())
