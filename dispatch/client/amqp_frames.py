"""Messages as AMQP 0-9-1 has them on the wire, one after the other, so that a batch is written at once.

py-amqp writes the table of headers anew for each message, which takes longer than all the rest. Here what messages of
one kind share is written by it once; each message adds what is its own. (AMQP 0-9-1, 2.3.5 and 4.2)
"""

from __future__ import annotations

from struct import Struct

from amqp import spec
from amqp.serialization import dumps

from dispatch.client import kombu_topology
from dispatch.client.broker_connection import Parcel, Session
from dispatch.client.message_protocol import own_headers, remember, seconds_left
from dispatch.core.message import Message, Shared
from dispatch.core.routing import Destination
from dispatch.exceptions import MessageRefused

METHOD, HEADER, BODY, END = 1, 2, 3, b"\xce"
#: Bytes of a frame beside what it carries.
OVERHEAD = 8
#: Which properties there are: content type and encoding, headers, delivery mode, priority, correlation id, reply to.
FLAGS, EXPIRATION_FLAG = 0b1111_1110_0000_0000, 0b1_0000_0000
_frame = Struct(">BHI").pack
_content = Struct(">HHQH").pack
_long = Struct(">I").pack


class Frames:
    """Writes the frames of messages for the channel of one session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._forms: dict[tuple[Shared, Destination, bool], _Form] = {}

    def of(self, parcel: Parcel) -> bytes:
        key = parcel.message.shared, parcel.destination, parcel.message.expires is None
        if (form := self._forms.get(key)) is None:
            form = _Form(self.session, parcel)
            remember(self._forms, key, form)
        return form.filled(parcel.message)


class _Form:
    """What messages of one kind to one destination have in common."""

    def __init__(self, session: Session, parcel: Parcel) -> None:
        message, destination = parcel.message, parcel.destination
        self.channel: int = session.channel.channel_id
        self.room: int = session.channel.connection.frame_max - OVERHEAD
        self.envelope = envelope = session.envelopes.of(message)
        own = own_headers(message)
        mandatory = not destination.is_broadcast  # its receivers come and go
        [(exchange, routing_key)] = kombu_topology.addresses(session.broker, destination)
        arguments = dumps("Bssbb", (0, exchange, routing_key, mandatory, False))
        self.method = self._framed(METHOD, dumps("BB", spec.Basic.Publish) + arguments)
        self.content = dumps("ss", (envelope.content_type, envelope.content_encoding))
        unset = {name: None for name, value in own.items() if value is None}
        shared = {name: value for name, value in envelope.headers.items() if name not in own}
        self.headers = dumps("F", (shared | unset,))[4:]  # without their length
        self.names = {name: dumps("s", (name,)) for name in own.keys() - unset.keys()}
        self.modes = dumps("oo", (envelope.properties["delivery_mode"], destination.priority or 0))
        self.reply_to = dumps("s", (envelope.properties["reply_to"],))

    def filled(self, message: Message) -> bytes:
        """Return the frames of one of these messages."""
        body, own, names = self.envelope.body(message), own_headers(message), self.names
        written = [names[name] + _field(value) for name, value in own.items() if value is not None]
        headers = self.headers + b"".join(written)
        flags, end = FLAGS, self.reply_to
        if (seconds := seconds_left(message)) is not None:
            flags, end = flags | EXPIRATION_FLAG, end + _short(str(int(seconds * 1000)))
        properties = (self.content, _long(len(headers)), headers, self.modes, _short(message.task_id), end)
        head = b"".join([_content(spec.Basic.CLASS_ID, 0, len(body), flags), *properties])
        if len(head) > self.room:  # a frame that cannot be split, of which RabbitMQ closes the connection
            raise MessageRefused(
                f"Its headers take {len(head)} bytes, and the broker takes {self.room} at most."
            )
        parts = [body[at : at + self.room] for at in range(0, len(body), self.room)]
        frames = [self._framed(BODY, part) for part in parts]
        return b"".join([self.method, self._framed(HEADER, head), *frames])

    def _framed(self, kind: int, payload: bytes) -> bytes:
        return _frame(kind, self.channel, len(payload)) + payload + END


def _field(value: str | int) -> bytes:
    """Return a value of a table: a text, or a number of 32 bits."""
    if not isinstance(value, str):
        return b"I" + _long(value)
    text = value.encode()
    return b"S" + _long(len(text)) + text


def _short(text: str) -> bytes:
    octets = text.encode()
    return bytes((len(octets),)) + octets
