"""Moves a published message that sits where it does not belong: out of its queue, and to the relay once more.

Redis can take one message out of the middle of a queue; RabbitMQ cannot.
"""

from __future__ import annotations

import datetime as dt
import uuid

from dispatch import registry
from dispatch.client import queue_admin, queue_state
from dispatch.conf import conf
from dispatch.core.routing import Destination
from dispatch.exceptions import BrokerUnavailable, DispatchError, QueueUnavailable
from dispatch.models import OutboxMessage
from dispatch.models.database import database_now
from dispatch.models.write_transactions import brief_write, write_transaction
from dispatch.outbox import canvas
from dispatch.outbox.destination import resolve, stamp
from dispatch.outbox.stored_calls import call_of

Status = OutboxMessage.Status
#: For how long the message belongs to the transfer: if that dies halfway, a relay publishes the message again.
LEASE = dt.timedelta(seconds=60)
GONE = (
    "Message {pk} is not among the latest {most:,} that wait in queue {queue!r}: a worker has it, or many stand behind "
    "it. Revoke it, and send it again as new."
)


def place_of(message: OutboxMessage) -> tuple[str, str]:
    """Return the broker and the queue that a message was published to, ("", "") where that is not one queue."""
    went = message.published_to
    match went:
        case {"broker": str(broker), "queues": [str(queue)], "exchange_type": str(kind)} if kind != "fanout":
            return broker, queue
    return "", ""


def better_place(message: OutboxMessage) -> Destination | None:
    """Return where a published message would go now, None where that is where it waits, or nobody knows."""
    here = place_of(message)
    if message.status != Status.PUBLISHED or message.handled_at or not here[1]:
        return None
    if message.root_id:  # the row does not hold the result that it was sent with
        return None
    try:
        there = resolve(call_of(message), message.options, registry.current())
    except DispatchError:
        return None
    return None if (there.broker, *there.queues) == here else there


def is_movable(message: OutboxMessage) -> bool:
    """Tell whether its broker can give back one message from the middle of a queue."""
    broker = conf.brokers.get(place_of(message)[0])
    return broker is not None and broker.is_urgent_low


def transfer(message: OutboxMessage) -> Destination:
    """Take a message out of its queue, and let the relay publish it where it belongs now, which is returned.

    It keeps its task id.     Raises QueueUnavailable if it waits there no longer, and BrokerUnavailable.
    """
    there, (alias, queue) = better_place(message), place_of(message)
    if there is None:
        raise QueueUnavailable(f"Message {message.pk} is where it belongs, or with a worker: look again.")
    if alias not in conf.brokers:
        raise BrokerUnavailable(f'DISPATCH["BROKERS"] has no broker {alias!r}: add it.')
    with queue_state.opened(conf.brokers[alias]) as link:
        waiting = queue_admin.find(link, queue, str(message.pk))
        if waiting is None or not _take(link, message, waiting, there):
            raise QueueUnavailable(GONE.format(pk=message.pk, queue=queue, most=queue_admin.MOST_SEARCHED))
    return there


def _take(
    link: queue_state.Link, message: OutboxMessage, waiting: queue_admin.Waiting, there: Destination
) -> bool:
    """Lease the row as a relay does, so that a crash behind the removal repeats the message instead of losing it."""
    token = uuid.uuid4()
    rows = OutboxMessage.objects.using(message._state.db).filter(pk=message.pk)
    with brief_write(rows.db):
        leased = rows.filter(status=Status.PUBLISHED, handled_at=None).update(
            status=Status.CLAIMED, lease_token=token, lease_expires_at=database_now() + LEASE
        )
    if not leased:
        return False
    is_taken = queue_admin.remove(link, waiting)
    broker, queue = stamp(message.task_name, there, registry.current())
    pending = {
        "status": Status.PENDING,
        "broker": broker,
        "queue": queue,
        "attempts": 0,
        "last_error": "",
        "available_at": database_now(),
        "published_at": None,
        "published_to": None,
    }
    with write_transaction(rows.db):
        if is_taken:
            canvas.withdraw(message)
        rows.filter(status=Status.CLAIMED, lease_token=token).update(
            **(pending if is_taken else {"status": Status.PUBLISHED}), lease_token=None, lease_expires_at=None
        )
    return is_taken
