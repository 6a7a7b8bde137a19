"""Redis: one pipeline per batch, and the answer to each of its commands.

What messages of one kind share is written by kombu once, as a text with gaps: which commands, on which keys, with which
payload. Each message fills the gaps. Redis answers each command, so what was answered is known, also where the
connection breaks in the middle of the answers.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import count
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, NamedTuple

import redis
from kombu.exceptions import SerializationError

from dispatch.client.broker_connection import BATCH_SIZE, Attempt, Fate, Parcel, Session
from dispatch.client.message_protocol import Envelope, own_headers, remember, seconds_left
from dispatch.core.message import Shared
from dispatch.core.routing import Destination

#: Messages of one LPUSH, at most, and their characters, where there is more than one. Redis takes all of them or none.
VALUES, CHARACTERS = 10, 1 << 14
#: Gaps that are no headers. No header can be stored whose name holds a NUL.
BODY, EXPIRATION, TAG = "\0body", "\0expiration", "\0tag"


class Form(NamedTuple):
    """A command that kombu sends for a message: every second piece of its payload is the name of what goes there."""

    name: str
    key: str
    pieces: list[str]

    def filled(self, gaps: Mapping[str, str]) -> str:
        """Return the payload of one message."""
        pieces = self.pieces.copy()
        pieces[1::2] = [gaps[name] for name in pieces[1::2]]
        return "".join(pieces)


@dataclass(slots=True)
class Command:
    """A command of the pipeline, and the messages that it carries."""

    name: str
    key: str
    values: list[str] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    size: int = 0

    def takes(self, payload: str) -> bool:
        """Whether another message has room."""
        is_full = len(self.values) == VALUES or self.size + len(payload) > CHARACTERS
        return self.name == "LPUSH" and not is_full


class Pipelining:
    """Publishes batches over one session."""

    limit = BATCH_SIZE

    def __init__(self, session: Session) -> None:
        self.session = session
        self._forms: dict[tuple[Shared, Destination, bool], tuple[Envelope, list[Form]]] = {}
        # kombu tells messages apart by it: a random half, and a number
        self._tags = (f"{tag}{number:012x}" for tag in (str(uuid.uuid4())[:24],) for number in count())

    def check(self) -> None:
        """Ask the broker for a sign of life."""
        with self.session.channel.conn_or_acquire() as client:
            client.ping()

    def publish(self, attempts: Sequence[Attempt], until: float) -> None:
        """Publish the messages in one pipeline, and read its answers, at the latest ``until``."""
        commands = self._commands(attempts)
        if not commands:
            return
        answers: list[Any] = []
        with self.session.channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(command.name, command.key, *command.values)
            failure = _execute(pipeline, answers, until)
        for command, answer in zip(commands, answers, strict=False):
            if isinstance(answer, Exception):
                for attempt in command.attempts:
                    attempt.fail(self.session.errors.judge(answer, attempt.parcel.where))
        unanswered = {id(each) for command in commands[len(answers) :] for each in command.attempts}
        handed_over = [attempt for attempt in attempts if attempt.is_open]
        for attempt in handed_over:
            if id(attempt) not in unanswered:
                attempt.answer = Fate.TAKEN
        if failure is not None:
            self.session.end([attempt for attempt in handed_over if attempt.is_open], failure)

    def _commands(self, attempts: Sequence[Attempt]) -> list[Command]:
        """Return the commands for the messages that can be encoded; the others fail."""
        commands: list[Command] = []
        open_ones: dict[tuple[str, str], Command] = {}
        for attempt in attempts:
            try:
                written = [*self._written(attempt.parcel)]
            except Exception as error:  # noqa: BLE001 - what cannot be encoded must end on its row, not in the relay
                attempt.answer = self.session.errors.judge(error, attempt.parcel.where)
                continue
            for name, key, payload in written:
                command = open_ones.get((name, key))
                if command is None or not command.takes(payload):
                    command = open_ones[name, key] = Command(name, key)
                    commands.append(command)
                command.values.append(payload)
                command.size += len(payload)
                command.attempts.append(attempt)
        return commands

    def _written(self, parcel: Parcel) -> Iterator[tuple[str, str, str]]:
        """Yield name, key and payload of the commands for a message."""
        message = parcel.message
        key = message.shared, parcel.destination, message.expires is None
        if (found := self._forms.get(key)) is None:
            found = self._formed(parcel)
            remember(self._forms, key, found)
        envelope, forms = found
        gaps = {name: _json(value) for name, value in own_headers(message).items() if value is not None}
        gaps[BODY] = base64.b64encode(envelope.body(message)).decode()
        if (seconds := seconds_left(message)) is not None:
            gaps[EXPIRATION] = str(int(seconds * 1000))
        for form in forms:
            gaps[TAG] = next(self._tags)
            yield form.name, form.key, form.filled(gaps)

    def _formed(self, parcel: Parcel) -> tuple[Envelope, list[Form]]:
        """Let kombu publish a message in which a mark stands for all that is its own, and make gaps of the marks."""
        message, session = parcel.message, self.session
        envelope = session.envelopes.of(message)
        own = {
            name: None if value is None else secrets.token_hex(16)
            for name, value in own_headers(message).items()
        }
        body = secrets.token_bytes(16)
        seconds = None if message.expires is None else float(10**12 + secrets.randbelow(10**12))
        with _recording(session.channel) as commands:
            session.publish(parcel.destination, envelope, body, own, seconds)
        marks = {_quoted(mark): name for name, mark in own.items() if mark}
        marks |= {base64.b64encode(body).decode(): BODY}
        marks |= {str(int(seconds * 1000)): EXPIRATION} if seconds else {}
        return envelope, [Form(name, key, _pieces(payload, marks)) for name, key, payload in commands]


def _json(value: str | int) -> str:
    return _quoted(value) if isinstance(value, str) else str(value)


class _Recorder:
    """Stands for the client of Redis where kombu is to say what it would send."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, str, str]] = []

    def lpush(self, key: str, payload: str) -> None:
        self.commands.append(("LPUSH", key, payload))

    def publish(self, channel: str, payload: str) -> None:
        self.commands.append(("PUBLISH", channel, payload))


@contextmanager
def _recording(channel: Any) -> Iterator[list[tuple[str, str, str]]]:
    recorder = _Recorder()
    channel.conn_or_acquire = lambda client=None: nullcontext(recorder)
    try:
        yield recorder.commands
    finally:
        del channel.conn_or_acquire


def _pieces(payload: str, marks: Mapping[str, str]) -> list[str]:
    """Return a payload that is cut at its marks, with their names in their places."""
    names = {**marks, json.loads(payload)["properties"]["delivery_tag"]: TAG}
    pieces = re.split(f"({'|'.join(map(re.escape, names))})", payload)
    if unknown := names.keys() - pieces[1::2]:  # or every message would be sent with the mark
        what = ", ".join(sorted(names[mark].strip("\0") for mark in unknown))
        raise SerializationError(f"kombu writes {what} in a way that is not known.")
    return [names[piece] if at % 2 else piece for at, piece in enumerate(pieces)]


def repeats(channel: Any) -> bool:
    """Tell whether the client would repeat a command by itself: then nobody knows how often a batch arrived."""
    options = channel.pool.connection_kwargs
    return bool(options.get("retry_on_timeout") or options.get("retry_on_error") or options.get("retry"))


def _execute(pipeline: Any, answers: list[Any], until: float) -> Exception | None:
    """Execute a pipeline; gather its answers one by one, and return what broke it off."""
    parse = pipeline.parse_response

    def listen(*args: Any, **options: Any) -> Any:
        if time.monotonic() > until:
            raise redis.exceptions.TimeoutError("it did not answer in time")
        try:
            answers.append(parse(*args, **options))
        except redis.ResponseError as error:
            answers.append(error)
            raise
        return answers[-1]

    pipeline.parse_response = listen
    try:
        pipeline.execute(raise_on_error=False)
    except Exception as error:  # noqa: BLE001 - the caller tells what it means
        return error
    return None
