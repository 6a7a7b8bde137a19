"""Redis: one pipeline per batch, and the answer to each of its commands.

kombu's batch tells the first error only. Redis answers each command, so the pipeline is asked itself: what was answered
is known, also where the connection breaks in the middle of the answers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import redis

from dispatch.client.broker_connection import BATCH_SIZE, Attempt, Fate, Session


class Pipelining:
    """Publishes batches over one session."""

    limit = BATCH_SIZE

    def __init__(self, session: Session) -> None:
        self.session = session

    def check(self) -> None:
        """Ask the broker for a sign of life."""
        with self.session.channel.conn_or_acquire() as client:
            client.ping()

    def publish(self, attempts: Sequence[Attempt], until: float) -> None:
        """Publish the messages in one pipeline, and read its answers, at the latest ``until``."""
        producer: Any = self.session.producer  # the stubs know no batches yet
        with producer.batch(sys.maxsize) as batch:
            slices = [(attempt, *self._fill(attempt, batch)) for attempt in attempts]
            filled = [each for each in slices if each[0].is_open]
            if not filled:
                return
            answers: list[Any] = []
            failure = _execute(batch.state.session.pipeline, answers, until)
        for attempt, start, end in filled:
            if end <= len(answers):
                self._read(attempt, answers[start:end])
        unanswered = [attempt for attempt, *_ in filled if attempt.is_open]
        if failure is not None:
            self.session.end(unanswered, failure)

    def _fill(self, attempt: Attempt, batch: Any) -> tuple[int, int]:
        """Put a message into the pipeline; return where its commands begin and end."""
        start = _length(batch)
        try:
            self.session.put(attempt.parcel)
        except Exception as error:  # noqa: BLE001 - what cannot be encoded must end on its row, not in the relay
            attempt.answer = self.session.errors.judge(error, attempt.parcel.where)
        return start, _length(batch)

    def _read(self, attempt: Attempt, answers: Sequence[Any]) -> None:
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        attempt.answer = self.session.errors.judge(errors[0], attempt.parcel.where) if errors else Fate.TAKEN


def _length(batch: Any) -> int:
    return len(batch.state.session.pipeline) if batch.state.session else 0


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
