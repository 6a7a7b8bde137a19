"""A message as Celery's protocol 2 writes it: body (in any serializer of kombu's), headers and properties."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from kombu.compression import compress
from kombu.serialization import dumps

from dispatch.client import celery_apps
from dispatch.conf import Broker, conf
from dispatch.core.codecs import DEFAULT_SERIALIZER
from dispatch.core.json_values import to_json
from dispatch.core.message import Message, Shared
from dispatch.exceptions import InvalidArguments, MessageRefused

Links = Sequence[Mapping[str, Any]]
K = TypeVar("K")
V = TypeVar("V")
PERSISTENT = 2  # AMQP's delivery mode
#: Envelopes that are kept for one connection; who sends with ever new headers must not fill the memory.
MOST_ENVELOPES = 1_000


def embed(link: Links, link_error: Links, chain: Links = ()) -> dict[str, Any]:
    """Return the third part of a body of protocol 2; the next step of a chain stands last."""
    return {"callbacks": link or None, "errbacks": link_error or None, "chain": chain or None, "chord": None}


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


class Envelope:
    """What all messages of one :class:`Shared` say to one broker, and how each says the rest.

    Raises MessageRefused for a serializer that is not allowed, and kombu's errors for a codec that is not installed.
    """

    def __init__(self, shared: Shared, broker: Broker, common: Mapping[str, Any]) -> None:
        self.serializer = shared.serializer or broker.serializer
        if self.serializer not in conf.SERIALIZERS:
            raise MessageRefused(f'Serializer {self.serializer!r} is not one of DISPATCH["SERIALIZERS"].')
        self.compression = shared.compression or broker.compression
        self.embedded = embed(shared.link, shared.link_error, shared.chain)
        self._end = f", {to_json(self.embedded)}]"
        self.content_type, self.content_encoding, _ = dumps([], serializer=self.serializer)
        self.headers = {**common, **_shared_headers(shared), **shared.headers}
        if self.compression:
            self.headers["compression"] = compress(b"", self.compression)[1]
        self.properties = {
            "reply_to": shared.reply_to or "",
            "delivery_mode": shared.delivery_mode or PERSISTENT,
        }

    def body(self, message: Message) -> bytes:
        """Return the body of a message, compressed where that was asked for."""
        if self.serializer == DEFAULT_SERIALIZER:
            body = f"[{message.args}, {message.kwargs}{self._end}".encode()
        else:
            values = (json.loads(message.args), json.loads(message.kwargs), self.embedded)
            written: Any = dumps(values, serializer=self.serializer)[2]  # kombu's stubs know no bytes
            body = written.encode() if isinstance(written, str) else written
        return compress(body, self.compression)[0] if self.compression else body


class Envelopes:
    """The envelopes of one broker's messages.

    Celery's own ``as_task_v2`` is asked once, for what all messages share; what a message says of itself is filled in.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._common: dict[str, Any] = (
            celery_apps.sender(broker.alias, broker.url).amqp.as_task_v2("", "").headers
        )
        self._known: dict[Shared, Envelope] = {}

    def of(self, message: Message) -> Envelope:
        """Return the envelope of a message; raises what :class:`Envelope` raises."""
        found = self._known.get(message.shared)
        if found is None:
            found = Envelope(message.shared, self.broker, self._common)
            remember(self._known, message.shared, found)
        return found


def remember(known: dict[K, V], key: K, value: V) -> None:
    """Keep what was made, and forget all where that is too much."""
    if len(known) >= MOST_ENVELOPES:
        known.clear()
    known[key] = value


def own_headers(message: Message) -> dict[str, Any]:
    """Return the headers that no two messages need share; of one :class:`Shared` all have the same names."""
    own = {
        "id": message.task_id,
        "root_id": message.task_id,
        "argsrepr": message.args_repr,
        "kwargsrepr": message.kwargs_repr,
        "expires": message.expires and message.expires.isoformat(),
    }
    return {**own, **message.headers} if message.headers else own


def seconds_left(message: Message) -> float | None:
    """Return how long a broker is to keep a message, None for ever."""
    if message.expires is None:
        return None
    return max(0.0, (message.expires - dt.datetime.now(dt.UTC)).total_seconds())


def _shared_headers(shared: Shared) -> dict[str, Any]:
    return {
        "task": shared.task,
        "shadow": shared.shadow,
        "eta": shared.eta and shared.eta.isoformat(),
        "group": shared.group_id,
        "timelimit": [shared.time_limit, shared.soft_time_limit],
        "ignore_result": shared.ignore_result,
        "stamped_headers": list(shared.stamps) or None,
        "stamps": dict(shared.stamps),
    }
