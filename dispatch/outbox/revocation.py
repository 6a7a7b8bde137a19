"""Takes back what was sent: what no broker has yet is cancelled, of the rest the running workers are told."""

from __future__ import annotations

import uuid
from collections import defaultdict
from dataclasses import dataclass, field

from dispatch.conf import conf
from dispatch.exceptions import BrokerUnavailable, PublishError
from dispatch.models import OutboxMessage
from dispatch.models.outbox_message import OutboxQuerySet
from dispatch.outbox.lifecycle import cancel

Status = OutboxMessage.Status


@dataclass(slots=True)
class Revocation:
    """How many messages were cancelled, revoked (workers know), and left: a relay has them in hand, or they are done.

    ``workers`` are those that answered; ``problems`` say why messages may run nevertheless.
    """

    cancelled: int = 0
    revoked: int = 0
    in_hand: int = 0
    done: int = 0
    workers: set[str] = field(default_factory=set)
    problems: set[str] = field(default_factory=set)

    def add(self, other: Revocation) -> None:
        """Add what came of further messages."""
        for name in ("cancelled", "revoked", "in_hand", "done"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.workers |= other.workers
        self.problems |= other.problems


def revoke(messages: OutboxQuerySet, signal: str = "") -> Revocation:
    """Cancel messages that wait, and tell the workers of those that are published; with a signal, end running ones.

    A worker keeps that in its memory: one that starts later knows of nothing, unless it has a ``--statedb``.
    """
    ids = [*messages.values_list("pk", flat=True)]  # whatever becomes of them meanwhile
    messages = OutboxMessage.objects.using(messages.db).filter(pk__in=ids)
    result = Revocation(cancelled=cancel(messages.filter(status=Status.PENDING)))
    by_broker: dict[str, list[uuid.UUID]] = defaultdict(list)
    for pk, status, broker, handled_at in messages.values_list("pk", "status", "broker", "handled_at"):
        if status == Status.CLAIMED:
            result.in_hand += 1
        elif status == Status.PUBLISHED and handled_at is None:
            by_broker[broker].append(pk)
        elif status == Status.PUBLISHED:
            result.done += 1
    for alias, published in by_broker.items():
        _tell(alias, published, signal, result)
    return result


def _tell(alias: str, ids: list[uuid.UUID], signal: str, result: Revocation) -> None:
    from dispatch.client import queue_state, worker_control

    try:
        if alias not in conf.brokers:
            raise BrokerUnavailable(f'DISPATCH["BROKERS"] has no broker {alias!r}: add it.')
        with queue_state.opened(conf.brokers[alias]) as link:
            answers = worker_control.revoke(link, list(map(str, ids)), signal)
    except PublishError as error:
        result.problems.add(str(error))
        return
    told = {worker for worker, refusal in answers.items() if not refusal}
    result.workers |= told
    result.problems |= {refusal for refusal in answers.values() if refusal}
    if told:
        result.revoked += len(ids)
    else:
        result.problems.add(
            f"No worker took it on broker {alias!r} within {conf.BROKER_TIMEOUT:g} s: one that starts later runs these "
            f"tasks."
        )
