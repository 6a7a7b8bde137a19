"""RabbitMQ: publish a whole batch, then wait for what the broker says of each message.

The broker numbers the messages of a channel from 1 and answers each number: ack, or nack where a queue is full. What no
queue takes is sent back first, and **then acked**: an ack alone is no success.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from dispatch.client.amqp_frames import Frames
from dispatch.client.broker_connection import BATCH_SIZE, Attempt, Fate, Session
from dispatch.conf import conf
from dispatch.exceptions import PublishError, QueueUnavailable

#: Seconds to wait for what a broker may have said before its end; py-amqp knows no waiting of 0 s within a frame.
LAST_WORDS = 0.01
#: Bytes that are written at once, about. If that fails, what comes after them was not sent.
PART_BYTES = 1 << 16


class Confirming:
    """The confirmations of one session's channel, on which nobody else publishes."""

    limit = BATCH_SIZE

    def __init__(self, session: Session) -> None:
        self.session = session
        self.frames = Frames(session)
        self._sent = 0
        self._pending: dict[int, Attempt] = {}
        self._returned: dict[str, Exception] = {}
        self._connection = (
            session.channel.connection
        )  # py-amqp's: kombu's would connect anew where this one is lost
        events = session.channel.events
        events["basic_ack"].add(self._acked)
        events["basic_nack"].add(self._nacked)
        events["basic_return"].add(self._came_back)
        try:
            self.check()
        except Exception as error:  # noqa: BLE001 - as when connecting: each means "not reached"
            session.close()
            raise session.errors.unavailable("cannot be reached", error) from None

    def check(self) -> None:
        """Ask the broker for a sign of life; it may be asked for confirmations more than once."""
        self.session.channel.confirm_select()

    def publish(self, attempts: Sequence[Attempt], until: float) -> None:
        """Publish the messages and wait for the confirmations, at the latest ``until``.

        A broker that will not have a message at all (its exchange is gone, it is too large) closes the channel, and
        says nothing of the others that are not confirmed yet.
        """
        try:
            for part in self._parts(attempts):
                self._connection.transport.write(part)
            self._wait(until)
        except Exception as error:  # noqa: BLE001 - on a lost connection py-amqp raises odd ones too
            self._end(error)
            for attempt in attempts:
                attempt.fail(self.session.errors.unavailable("was lost before it took the message", error))

    def _parts(self, attempts: Sequence[Attempt]) -> Iterator[bytes]:
        """Yield the frames of the messages that can be encoded, many at a time; the others fail.

        A message is pending from when its frames are about to be written.
        """
        part: list[bytes] = []
        size = 0
        for attempt in attempts:
            try:
                frames = self.frames.of(attempt.parcel)
            except Exception as error:  # noqa: BLE001 - it must end on its row, not in the relay
                attempt.answer = self.session.errors.judge(error, attempt.parcel.where)
                continue
            if size > PART_BYTES:
                yield b"".join(part)
                part, size = [], 0
            self._sent += 1
            self._pending[self._sent] = attempt
            part.append(frames)
            size += len(frames)
        yield b"".join(part)

    def _wait(self, until: float) -> None:
        while self._pending:
            self._connection.drain_events(timeout=conf.BROKER_TIMEOUT)
            if self._pending and time.monotonic() > until:
                raise TimeoutError("it did not confirm the messages in time")

    def _end(self, error: Exception) -> None:
        """Read what the broker said before its end; of the rest nobody knows."""
        with suppress(Exception):
            while self._pending:
                self._connection.drain_events(timeout=LAST_WORDS)
        self.session.end(list(self._pending.values()), error)
        self._pending.clear()

    def _acked(self, number: int, multiple: bool) -> None:
        for attempt in self._answered(number, multiple):
            error = self._returned.pop(attempt.parcel.message.task_id, None)
            attempt.answer = self.session.errors.judge(error, attempt.parcel.where) if error else Fate.TAKEN

    def _nacked(self, number: int, multiple: bool) -> None:
        for attempt in self._answered(number, multiple):
            attempt.answer = self._full(attempt)

    def _came_back(self, error: Exception, exchange: str, routing_key: str, message: Any) -> None:
        self._returned[message.properties["correlation_id"]] = error

    def _answered(self, number: int, multiple: bool) -> list[Attempt]:
        numbers = [each for each in self._pending if each <= number] if multiple else [number]
        return [self._pending.pop(each) for each in numbers if each in self._pending]

    def _full(self, attempt: Attempt) -> PublishError:
        alias = self.session.broker.alias
        return QueueUnavailable(
            f"Broker {alias!r} takes no more messages for {attempt.parcel.where!r}: is it full?"
        )
