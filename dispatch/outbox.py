"""Writes outbox rows in the caller's transaction, and moves rows that are not on their way back and forth."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections, router, transaction
from django.utils import timezone

from dispatch.client import encoding
from dispatch.conf import conf
from dispatch.core.call import Call, due, expiry
from dispatch.core.encoding import absence
from dispatch.core.message import check_size, plain, to_json
from dispatch.core.routing import Destination, Request, Target
from dispatch.core.wording import redact, storable
from dispatch.exceptions import InvalidOption
from dispatch.models import OutboxMessage
from dispatch.models.insertion import fresh_row, insert_rows
from dispatch.models.outbox import KEY_LENGTH, NAME_LENGTH, TASK_LENGTH, OutboxQuerySet, new_task_id
from dispatch.models.parts import database_now, is_broken
from dispatch.registry import Snapshot, current
from dispatch.registry.deprecation import tell_once
from dispatch.signals import message_dead, message_enqueued, messages_inserted

logger = logging.getLogger("dispatch.outbox")

Status = OutboxMessage.Status
#: Stands in the place of a queue's name while a task is paused.
PAUSED_TASK = "(paused task)"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who caused a message, and for which object; plain values, since both may live in another database.

    ``window`` is the time, in seconds, within which messages of one origin, task and object become one;
    ``object_database`` tells apart objects that share model and key, but not the database.
    """

    kind: str = OutboxMessage.Origin.CODE
    name: str = ""
    object_model: str = ""
    object_pk: str = ""
    object_database: str = ""
    window: float | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A row that is ready to be inserted, and how long after that it is due: None if it names a moment itself."""

    row: OutboxMessage
    lag: dt.timedelta | None = dt.timedelta()


def enqueue(
    calls: Sequence[Call],
    *,
    using: str | None = None,
    origin: Origin = Origin(),
) -> list[OutboxMessage]:
    """Check every call, then insert a row for each, in the caller's transaction.

    Raises a SendError before anything is stored, and Django's own errors of the INSERT.
    """
    using = using or router.db_for_write(OutboxMessage)
    snapshot, now = current(), timezone.now()
    drafts = [draft(call, origin, snapshot, now) for call in calls]
    _check_ids([each.row for each in drafts], calls, using)
    return insert(drafts, using)


def draft(call: Call, origin: Origin, snapshot: Snapshot, now: dt.datetime) -> Draft:
    """Return the row of a call that fits the registry. Raises a SendError for one that does not."""
    row = _row(snapshot, call, now, origin)
    return Draft(row, None if call.eta is not None else row.available_at - now)


def dead_draft(task_name: str, error: str, origin: Origin) -> Draft:
    """Return a dead row for what a trigger could not enqueue, so that it is seen and nothing is lost silently."""
    return Draft(
        OutboxMessage(
            task_name=storable(task_name, TASK_LENGTH),
            status=Status.DEAD,
            last_error=storable(redact(error)),
            **_origin_columns(origin),
        )
    )


def insert(drafts: Sequence[Draft], using: str) -> list[OutboxMessage]:
    """Insert the rows with one statement per thousand, in the caller's transaction, and tell who listens.

    Rows whose due time is a wait are due by the database's clock, by which they are claimed too.
    """
    rows = [each.row for each in drafts]
    insert_rows(rows, [each.lag for each in drafts], using)
    messages_inserted.send(sender=OutboxMessage, messages=rows, using=using)
    if message_enqueued.has_listeners(OutboxMessage) or message_dead.has_listeners(OutboxMessage):
        _tell(rows, using)
    return rows


def _tell(rows: Sequence[OutboxMessage], using: str) -> None:
    """Call who listens. A listener that fails costs neither the rows nor the caller's transaction."""
    if not connections[using].in_atomic_block:
        return _call_listeners(rows, using)
    with transaction.atomic(
        using=using
    ):  # a savepoint: a database error of a listener would break the transaction
        _call_listeners(rows, using)
        if is_broken(using):
            transaction.set_rollback(True, using=using)
            logger.error(
                "A listener of message_enqueued or message_dead broke the transaction, as logged above: what listeners "
                "wrote on %r was undone. The messages stand. Let it use transaction.atomic() around its queries.",
                using,
            )
    return None


def _call_listeners(rows: Sequence[OutboxMessage], using: str) -> None:
    for row in rows:
        message_enqueued.send_robust(sender=OutboxMessage, message=row, using=using)
        if row.status == Status.DEAD:
            message_dead.send_robust(sender=OutboxMessage, message=row, using=using)


def requeue(messages: OutboxQuerySet) -> int:
    """Put dead and cancelled messages back to pending, with all attempts before them; return how many.

    What expired is given no new time: it is cancelled again, visibly, when its turn comes. What a trigger could not
    enqueue never was a message (it has no broker), and is left as it is.
    """
    return (
        messages.filter(status__in=OutboxMessage.REQUEUEABLE)
        .exclude(broker="")
        .update(status=Status.PENDING, attempts=0, last_error="", available_at=database_now())
    )


def cancel(messages: OutboxQuerySet) -> int:
    """Cancel messages that no relay holds and no broker has; return how many."""
    return messages.filter(status__in=(Status.PENDING, Status.DEAD)).update(status=Status.CANCELLED)


def resolve(message: OutboxMessage, snapshot: Snapshot) -> Destination:
    """Return where a stored message goes now. Raises UnknownTask and NoDestination."""
    name, request = message.task_name, None
    if name in snapshot.tasks and snapshot.reads_arguments(name):
        args, kwargs = json.loads(message.args), json.loads(message.kwargs)
        request = Request(name, args, kwargs, message.options)
    return snapshot.destination(name, Target(**message.explicit_target), request)


def stamp(task_name: str, destination: Destination, snapshot: Snapshot) -> tuple[str, str]:
    """Return the broker and the queue under whose names a message waits.

    A claim passes over what is paused or failing by these names alone. So a message to an exchange waits under a queue
    that it reaches, a paused one before others, and one of a paused task under no queue's name.
    """
    if task_name in snapshot.paused_tasks:
        return destination.broker, PAUSED_TASK
    paused = (queue for queue in destination.queues if queue in snapshot.paused)
    return destination.broker, next(paused, destination.queue or next(iter(destination.queues), ""))


def _row(snapshot: Snapshot, call: Call, now: dt.datetime, origin: Origin) -> OutboxMessage:
    task = snapshot.task(call.name)
    tell_once(task)
    args: list[Any] = plain(list(call.args), "/args") if call.args else []
    kwargs: dict[str, Any] = plain(dict(call.kwargs), "/kwargs") if call.kwargs else {}
    task.check(args, kwargs)
    texts = to_json(args), to_json(kwargs)
    check_size(*texts, conf.MAX_ARGUMENTS_SIZE)
    options = dict(task.options)
    countdown = options.pop("countdown", None) if call.countdown is None else call.countdown
    expires = options.pop("expires", None) if call.expires is None else call.expires
    options |= call.options()
    for name in call.linked():
        snapshot.task(name)
    if origin.window is not None:
        countdown = max(countdown or 0.0, origin.window)
    eta = due(countdown, call.eta, now)
    if call.deliver_eta and eta > now:
        options["eta"] = eta.isoformat()
    target = call.target
    destination = snapshot.destination(call.name, target, Request(call.name, args, kwargs, options))
    _check_encoding(destination.broker, args, kwargs, options)
    if "eta" in options:
        _check_waiting_worker(snapshot, destination)
    if destination.is_broadcast:
        options["ignore_result"] = True  # many workers, one task id: their results would overwrite each other
    broker, queue = stamp(call.name, destination, snapshot)
    return fresh_row(
        id=uuid.UUID(str(call.task_id)) if call.task_id else new_task_id(),
        task_name=call.name,
        args=texts[0],
        kwargs=texts[1],
        options=options | target.asked(),
        headers=plain(dict(call.headers), "/headers") if call.headers else {},
        ignore_result=bool(options.get("ignore_result")),
        broker=broker,
        queue=queue,
        pinned=call.queue is not None or call.exchange is not None,
        created_at=now,
        available_at=now if call.deliver_eta else max(eta, now),
        expires_at=expiry(expires, now),
        coalesce_key=_coalesce_key(call.name, origin),
        **_origin_columns(origin),
    )


def _coalesce_key(task: str, origin: Origin) -> str:
    """Return what the messages of one trigger and one object share, "" where they are not to become one.

    The task is part of it: one function in code may be a trigger of several.
    """
    if origin.window is None:
        return ""
    text = to_json([origin.name, task, origin.object_database, origin.object_model, origin.object_pk])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _origin_columns(origin: Origin) -> dict[str, Any]:
    """Return the columns, cut to their lengths: a long name must not break the save it came from."""
    return {
        "origin": origin.kind,
        "origin_name": origin.name[:NAME_LENGTH],
        "object_model": origin.object_model[:NAME_LENGTH],
        "object_pk": origin.object_pk[:KEY_LENGTH],
    }


def _check_encoding(broker: str, args: list[Any], kwargs: dict[str, Any], options: dict[str, Any]) -> None:
    serializer = options.get("serializer") or conf.serializer(broker)
    if serializer not in conf.SERIALIZERS:
        allowed = ", ".join(conf.SERIALIZERS)
        raise InvalidOption(
            f'serializer {serializer!r} is not allowed: use one of {allowed}, or add it to DISPATCH["SERIALIZERS"] '
            f"(yaml and msgpack can be allowed, pickle never)."
        )
    for codec in (serializer, options.get("compression")):
        if codec and (lacking := absence(codec)):
            raise InvalidOption(f"{lacking}.")
    encoding.check(
        serializer, args, kwargs, encoding.embed(options.get("link", ()), options.get("link_error", ()))
    )


def _check_waiting_worker(snapshot: Snapshot, destination: Destination) -> None:
    """Raise InvalidOption where an eta in the message would stop its worker (decision 12)."""
    alike = (queue for queue in snapshot.table.queues.values() if queue.broker == destination.broker)
    quorum = [queue.name for queue in alike if queue.arguments.get("x-queue-type") == "quorum"]
    broker = conf.brokers.get(destination.broker)
    if quorum and broker and broker.has_exchanges:
        raise InvalidOption(
            f"deliver_eta cannot be used on broker {destination.broker!r}: it has the quorum queue {quorum[0]!r}, "
            f"and a worker of quorum queues takes no other message while it waits for an eta. "
            f"Leave deliver_eta out: the message waits in the outbox."
        )


def _check_ids(rows: Sequence[OutboxMessage], calls: Sequence[Call], using: str) -> None:
    chosen = [uuid.UUID(str(call.task_id)) for call in calls if call.task_id]
    if not chosen:
        return
    taken = OutboxMessage.objects.using(using).filter(pk__in=chosen).values_list("pk", flat=True).first()
    if taken or len(set(chosen)) < len(chosen):
        raise InvalidOption(
            f"task_id {taken or chosen[0]} is used already: each message needs its own, or none."
        )
