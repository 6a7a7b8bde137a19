"""What is written around a message: body, headers and properties of Celery's protocol 2."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from dispatch.client import app, encoding
from dispatch.conf import Broker, conf
from dispatch.core.message import Message
from dispatch.exceptions import MessageRefused

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
        self._shared: dict[str, Any] = app.sender(broker.alias, broker.url).amqp.as_task_v2("", "").headers

    def seal(self, message: Message) -> Envelope:
        """Return the envelope of a message. Raises MessageRefused for a serializer that is not allowed."""
        serializer = message.serializer or self.broker.serializer
        if serializer not in conf.SERIALIZERS:
            raise MessageRefused(f'Serializer {serializer!r} is not one of DISPATCH["SERIALIZERS"].')
        body, written = encoding.body(message, serializer)
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
