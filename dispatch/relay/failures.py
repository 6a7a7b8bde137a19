"""What a failed publish means for its row: another attempt, a wait that counts none, or the end as a dead message."""

from __future__ import annotations

from dispatch.conf import conf
from dispatch.core import backoff
from dispatch.core.redaction import redact
from dispatch.core.routing import Destination
from dispatch.exceptions import (
    BrokerUnavailable,
    DeliveryUnknown,
    DispatchError,
    PublishError,
    QueueUnavailable,
)
from dispatch.models import OutboxMessage
from dispatch.relay.circuit_breakers import Breakers
from dispatch.relay.claims import Claimed
from dispatch.relay.settling import Outcome

Status = OutboxMessage.Status


class Waits:
    """How long the rows of one batch wait for their next attempt: those with as many attempts, equally long.

    So they are settled by one UPDATE, and keep their order.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def after(self, row: Claimed) -> float:
        """Return the seconds until the row's next attempt, if this one failed."""
        attempts = row.attempts + 1
        if attempts not in self._seconds:
            self._seconds[attempts] = backoff.delay(attempts, conf.BACKOFF_BASE, conf.BACKOFF_MAX)
        return self._seconds[attempts]


def failure(
    row: Claimed, destination: Destination, error: PublishError, waits: Waits, breakers: Breakers
) -> Outcome:
    """Decide what a failed publish means.

    A message dies only of what concerns itself. While its broker or its queue is the cause, it waits: a broker that is
    down for a day must not turn a day's messages into dead ones.
    """
    text = redact(str(error))
    if isinstance(error, BrokerUnavailable):
        breakers.trip("broker", destination.broker)
        return Outcome(row, Status.PENDING, text)
    if isinstance(error, QueueUnavailable) and destination.queue:
        breakers.trip("queue", destination.queue)
        return Outcome(row, Status.PENDING, text)
    if isinstance(error, DeliveryUnknown):
        breakers.trip("broker", destination.broker)
        return Outcome(row, Status.PENDING, text, waits.after(row), counted=True)
    return refusal(row, error, waits)


def refusal(row: Claimed, error: DispatchError, waits: Waits) -> Outcome:
    """Count the attempt of a message that was refused; it is dead after ``MAX_ATTEMPTS``."""
    text = redact(str(error))
    if row.attempts + 1 >= conf.MAX_ATTEMPTS:
        return Outcome(row, Status.DEAD, text, counted=True)
    return Outcome(row, Status.PENDING, text, waits.after(row), counted=True)
