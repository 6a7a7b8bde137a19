"""Writes outbox rows in the caller's transaction, and moves rows that are not on their way back and forth."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import router
from django.utils import timezone

from dispatch.conf import conf
from dispatch.core.call import Call, due, expiry
from dispatch.core.message import plain, to_json
from dispatch.core.wording import redact
from dispatch.exceptions import InvalidOption
from dispatch.models import OutboxMessage
from dispatch.models.outbox import KEY_LENGTH, NAME_LENGTH, OutboxQuerySet, new_task_id
from dispatch.registry import Snapshot, current
from dispatch.signals import message_dead, message_enqueued

Status = OutboxMessage.Status


@dataclass(frozen=True, slots=True)
class Origin:
    """Who caused a message, and for which object; plain values, since both may live in another database."""

    kind: str = OutboxMessage.Origin.CODE
    name: str = ""
    object_model: str = ""
    object_pk: str = ""


def enqueue(
    calls: Iterable[Call],
    *,
    using: str | None = None,
    origin: Origin = Origin(),
) -> list[OutboxMessage]:
    """Check every call, then insert a row for each, in the caller's transaction.

    Raises a SendError before anything is stored, and Django's own errors of the INSERT.
    """
    using = using or router.db_for_write(OutboxMessage)
    snapshot, now = current(), timezone.now()
    rows = [_row(snapshot, call, now, origin) for call in calls]
    _check_ids(rows, calls, using)
    return _insert(rows, using)


def enqueue_dead(task_name: str, error: str, *, using: str | None = None, origin: Origin) -> OutboxMessage:
    """Insert a dead row for what a trigger could not enqueue, so that it is seen and nothing is lost silently."""
    row = OutboxMessage(
        task_name=task_name, status=Status.DEAD, last_error=redact(error), **_origin_columns(origin)
    )
    [row] = _insert([row], using or router.db_for_write(OutboxMessage))
    message_dead.send(sender=OutboxMessage, message=row, using=row._state.db)
    return row


def requeue(messages: OutboxQuerySet) -> int:
    """Put dead and cancelled messages back to pending, with all attempts before them; return how many.

    What expired is given no new time: it is cancelled again, visibly, when its turn comes.
    """
    return messages.filter(status__in=OutboxMessage.REQUEUEABLE).update(
        status=Status.PENDING, attempts=0, last_error="", available_at=timezone.now()
    )


def cancel(messages: OutboxQuerySet) -> int:
    """Cancel messages that no relay holds and no broker has; return how many."""
    return messages.filter(status__in=(Status.PENDING, Status.DEAD)).update(status=Status.CANCELLED)


def _row(snapshot: Snapshot, call: Call, now: dt.datetime, origin: Origin) -> OutboxMessage:
    task = snapshot.task(call.name)
    args, kwargs = plain(list(call.args or ()), "/args"), plain(dict(call.kwargs or {}), "/kwargs")
    task.check(args, kwargs)
    options = dict(task.options)
    countdown = options.pop("countdown", None) if call.countdown is None else call.countdown
    expires = options.pop("expires", None) if call.expires is None else call.expires
    options |= call.options()
    _check_serializer(options)
    eta = due(countdown, call.eta, now)
    if call.deliver_eta and eta > now:
        options["eta"] = eta.isoformat()
    destination = snapshot.destination(call.name, call.target)
    target = {key: getattr(call, key) for key in ("queue", "exchange", "routing_key", "priority")}
    return OutboxMessage(
        id=uuid.UUID(str(call.task_id)) if call.task_id else new_task_id(),
        task_name=call.name,
        args=to_json(args),
        kwargs=to_json(kwargs),
        options=options | {key: value for key, value in target.items() if value is not None},
        headers=plain(dict(call.headers or {}), "/headers"),
        ignore_result=bool(options.get("ignore_result")),
        broker=destination.broker,
        queue=destination.queue,
        created_at=now,
        available_at=now if call.deliver_eta else max(eta, now),
        expires_at=expiry(expires, now),
        **_origin_columns(origin),
    )


def _origin_columns(origin: Origin) -> dict[str, Any]:
    """Return the columns, cut to their lengths: a long name must not break the save it came from."""
    return {
        "origin": origin.kind,
        "origin_name": origin.name[:NAME_LENGTH],
        "object_model": origin.object_model[:NAME_LENGTH],
        "object_pk": origin.object_pk[:KEY_LENGTH],
    }


def _check_serializer(options: dict[str, Any]) -> None:
    serializer = options.get("serializer", "json")
    if serializer not in conf.SERIALIZERS:
        allowed = ", ".join(conf.SERIALIZERS)
        raise InvalidOption(
            f'serializer {serializer!r} is not allowed: use one of {allowed}, or add it to DISPATCH["SERIALIZERS"] '
            f"(yaml and msgpack can be allowed, pickle never)."
        )


def _check_ids(rows: Sequence[OutboxMessage], calls: Iterable[Call], using: str) -> None:
    chosen = [uuid.UUID(str(call.task_id)) for call in calls if call.task_id]
    if not chosen:
        return
    taken = OutboxMessage.objects.using(using).filter(pk__in=chosen).values_list("pk", flat=True).first()
    if taken or len(set(chosen)) < len(chosen):
        raise InvalidOption(
            f"task_id {taken or chosen[0]} is used already: each message needs its own, or none."
        )


def _insert(rows: list[OutboxMessage], using: str) -> list[OutboxMessage]:
    OutboxMessage.objects.using(using).bulk_create(rows, batch_size=1000)
    for row in rows:
        message_enqueued.send(sender=OutboxMessage, message=row, using=using)
    return rows
