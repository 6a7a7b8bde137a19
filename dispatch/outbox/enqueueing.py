"""From calls to outbox rows: checked against the registry, inserted in the caller's transaction, told to listeners."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import django.dispatch
from django.db import connections, router, transaction
from django.utils import timezone

from dispatch.conf import conf
from dispatch.core.call import Call, due, expiry
from dispatch.core.codecs import DEFAULT_SERIALIZER, absence
from dispatch.core.json_values import check_size, plain, to_json
from dispatch.core.printable import log_fields
from dispatch.core.redaction import redact, storable
from dispatch.core.routing import Destination, Request
from dispatch.exceptions import InvalidArguments, InvalidOption
from dispatch.models import OutboxMessage
from dispatch.models.database import is_broken
from dispatch.models.outbox_message import KEY_LENGTH, NAME_LENGTH, TASK_LENGTH, new_task_id
from dispatch.outbox.destination import stamp
from dispatch.outbox.insertion import BLANK, NO_LAG, fresh_row, insert_rows
from dispatch.registry import Snapshot, Task, current
from dispatch.signals import message_dead, message_enqueued, messages_drafted, messages_inserted

_told: set[tuple[str, str]] = set()


def tell_once(task: Task) -> None:
    """Log a warning for a deprecated task, unless this process did so for the same reason.

    A log rather than a DeprecationWarning: Python hides those outside of tests, and most sends come from triggers,
    where no line of code is to blame.
    """
    reason = task.deprecated or ""
    if task.deprecated is None or (task.name, reason) in _told:
        return
    _told.add((task.name, reason))
    why = f": {reason}" if reason else "."
    logger.warning(
        "Task %r is deprecated by its worker%s", task.name, why, extra=log_fields(task_name=task.name)
    )


Arguments = tuple[Sequence[Any], Mapping[str, Any]]
#: On which relays of PostgreSQL listen for new messages.
CHANNEL = "dispatch_outbox"
#: Plans that one snapshot keeps; who sends with ever new routing keys must not fill the memory.
MOST_PLANS = 1_000


class Origin(NamedTuple):
    """Who caused a message, and for which object; plain values, since both may live in another database.

    ``window`` is the time, in seconds, within which messages of one origin, task and object become one;
    ``object_database`` and ``object_schema`` tell apart objects that share model and key, but not the database or,
    where each tenant has one, the schema.
    """

    kind: str = OutboxMessage.Origin.CODE.value
    name: str = ""
    object_model: str = ""
    object_pk: str = ""
    object_database: str = ""
    object_schema: str = ""
    window: float | None = None


#: Of what an application sends itself.
CODE = Origin()


class Draft(NamedTuple):
    """A row that is ready to be inserted, and how long after that it is due: None if it names a moment itself.

    ``destination`` is where it would go now, None of what is dead already.
    """

    row: OutboxMessage
    lag: dt.timedelta | None = NO_LAG
    destination: Destination | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What messages of one task that are sent with the same options have in common."""

    destination: Destination
    options: dict[str, Any]
    blank: Mapping[str, Any]


def draft(
    call: Call,
    origin: Origin,
    snapshot: Snapshot,
    now: dt.datetime,
    arguments: Arguments | None = None,
    *,
    is_given_result: bool = False,
) -> Draft:
    """Return the row of a call that fits the registry, with its own arguments or others.

    A step of a chain that ``is_given_result`` of the one before has None in its place, the first by position.
    Raises a SendError for one that does not fit.
    """
    task = snapshot.task(call.name)
    tell_once(task)
    args, kwargs = _plain(*(arguments or (call.args, call.kwargs)), task)
    texts = to_json(args) if args else "[]", to_json(kwargs) if kwargs else "{}"
    check_size(*texts, conf.MAX_ARGUMENTS_SIZE)  # before the schema, which may look at a value many times
    if is_given_result:
        task.check_step(args, kwargs)
    else:
        task.check(args, kwargs)
    for name in call.linked():
        snapshot.task(name)
    eta = _eta(call, task, origin, now)
    late = {"eta": eta.isoformat()} if call.deliver_eta and eta > now else {}
    plan = _plan(call, snapshot, args, kwargs, late)
    _check_encoding(plan, args, kwargs)
    if late:
        check_waiting_worker(
            snapshot,
            plan.destination,
            "deliver_eta",
            "Leave deliver_eta out: the message waits in the outbox.",
        )
    row = fresh_row(
        plan.blank,
        id=uuid.UUID(str(call.task_id)) if call.task_id else new_task_id(),
        args=texts[0],
        kwargs=texts[1],
        options=plan.options | late,
        headers=plain(dict(call.headers), "/headers") if call.headers else {},
        created_at=now,
        available_at=now if call.deliver_eta else max(eta, now),
        expires_at=expiry(task.options.get("expires") if call.expires is None else call.expires, now),
        coalesce_key="" if origin.window is None else _coalesce_key(call.name, origin),
        **_origin_columns(origin),
    )
    return Draft(row, None if call.eta is not None else row.available_at - now, plan.destination)


def _plain(
    by_position: Sequence[Any] | None, by_name: Mapping[str, Any] | None, task: Task
) -> tuple[list[Any], dict[str, Any]]:
    try:
        args: list[Any] = plain(list(by_position), "/args") if by_position else []
        kwargs: dict[str, Any] = plain(dict(by_name), "/kwargs") if by_name else {}
    except InvalidArguments as error:
        raise (error.outside() if task.parameters.conceals(error, task.sensitive) else error) from None
    return args, kwargs


def dead_draft(task_name: str, error: str, origin: Origin) -> Draft:
    """Return a dead row for what a trigger could not enqueue, so that it is seen and nothing is lost silently."""
    return Draft(
        OutboxMessage(
            task_name=storable(task_name, TASK_LENGTH),
            status=OutboxMessage.Status.DEAD,
            last_error=storable(redact(error)),
            **_origin_columns(origin),
        )
    )


def _plan(
    call: Call, snapshot: Snapshot, args: list[Any], kwargs: dict[str, Any], late: dict[str, str]
) -> _Plan:
    """Return the plan of a call, made anew where a router callable, which may read the arguments, has a say."""
    key = None if (way := call.way) is None else (call.name, way)
    found: _Plan | None = snapshot.plans.get(key)
    if found is None:
        found = _make_plan(call, snapshot, args, kwargs, late)
        if key is not None and not snapshot.reads_arguments(call.name):
            if len(snapshot.plans) >= MOST_PLANS:
                snapshot.plans.clear()
            snapshot.plans[key] = found
    return found


def _make_plan(
    call: Call, snapshot: Snapshot, args: list[Any], kwargs: dict[str, Any], late: dict[str, str]
) -> _Plan:
    own = snapshot.task(call.name).options
    options = {name: own[name] for name in own if name not in ("countdown", "expires")} | call.options()
    target = call.target
    destination = snapshot.destination(call.name, target, Request(call.name, args, kwargs, options | late))
    if destination.is_broadcast:
        options["ignore_result"] = True  # many workers, one task id: their results would overwrite each other
    broker, queue = stamp(call.name, destination, snapshot)
    blank = {
        **BLANK,
        "task_name": call.name,
        "ignore_result": bool(options.get("ignore_result")),
        "broker": broker,
        "queue": queue,
        "pinned": call.queue is not None or call.exchange is not None,
    }
    return _Plan(destination, options | target.asked(), blank)


def _eta(call: Call, task: Task, origin: Origin, now: dt.datetime) -> dt.datetime:
    """Return when the task is due; a coalescing window is waited for, too."""
    countdown = task.options.get("countdown") if call.countdown is None else call.countdown
    if origin.window is not None:
        countdown = max(countdown or 0.0, origin.window)
    return due(countdown, call.eta, now)


def _coalesce_key(task: str, origin: Origin) -> str:
    """Return what the messages of one trigger and one object share, by which they become one.

    The task is part of it: one function in code may be a trigger of several.
    """
    whose = [origin.object_database, origin.object_schema, origin.object_model, origin.object_pk]
    text = to_json([origin.name, task, *whose])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _origin_columns(origin: Origin) -> dict[str, Any]:
    """Return the columns, cut to their lengths: a long name must not break the save it came from."""
    if origin is CODE:
        return {}  # a fresh row has them
    return {
        "origin": origin.kind,
        "origin_name": origin.name[:NAME_LENGTH],
        "object_model": origin.object_model[:NAME_LENGTH],
        "object_pk": origin.object_pk[:KEY_LENGTH],
        "object_schema": origin.object_schema,
    }


def check_embedded(each: Draft, chain: Sequence[Mapping[str, Any]]) -> None:
    """Raise InvalidArguments for later steps that the serializer of the message that carries them cannot write."""
    from dispatch.client import message_protocol

    serializer = each.row.options.get("serializer") or conf.serializer(each.row.broker)
    message_protocol.check_encodable(serializer, [], {}, message_protocol.embed((), (), chain))


def _check_encoding(plan: _Plan, args: list[Any], kwargs: dict[str, Any]) -> None:
    options = plan.options
    serializer = options.get("serializer") or conf.serializer(plan.destination.broker)
    compression = options.get("compression")
    if serializer == DEFAULT_SERIALIZER and compression is None:
        return
    if serializer not in conf.SERIALIZERS:
        allowed = ", ".join(conf.SERIALIZERS)
        raise InvalidOption(
            f'serializer {serializer!r} is not allowed: use one of {allowed}, or add it to DISPATCH["SERIALIZERS"] '
            f"(yaml and msgpack can be allowed, pickle never)."
        )
    for codec in (serializer, compression):
        if codec and (lacking := absence(codec)):
            raise InvalidOption(f"{lacking}.")
    from dispatch.client import message_protocol

    message_protocol.check_encodable(
        serializer,
        args,
        kwargs,
        message_protocol.embed(options.get("link", ()), options.get("link_error", ())),
    )


def check_waiting_worker(snapshot: Snapshot, destination: Destination, option: str, remedy: str) -> None:
    """Raise InvalidOption where an eta in the message would stop its worker (decision 12)."""
    alike = (queue for queue in snapshot.table.queues.values() if queue.broker == destination.broker)
    quorum = [queue.name for queue in alike if queue.arguments.get("x-queue-type") == "quorum"]
    broker = conf.brokers.get(destination.broker)
    if quorum and broker and broker.has_exchanges:
        raise InvalidOption(
            f"{option} cannot be used on broker {destination.broker!r}: it has the quorum queue {quorum[0]!r}, "
            f"and a worker of quorum queues takes no other message while it waits for an eta. {remedy}"
        )


logger = logging.getLogger("dispatch.outbox")


def enqueue(calls: Sequence[Call], *, using: str | None = None, origin: Origin = CODE) -> list[OutboxMessage]:
    """Check every call, then insert a row for each, in the caller's transaction.

    Raises a SendError before anything is stored, and Django's own errors of the INSERT.
    """
    using = using or router.db_for_write(OutboxMessage)
    return insert(checked(calls, using, origin), using)


def checked(calls: Sequence[Call], using: str, origin: Origin = CODE) -> list[Draft]:
    """Return the rows of calls that all fit, and whose ids are new; raises a SendError otherwise."""
    snapshot, now = current(), timezone.now()
    drafts = [draft(call, origin, snapshot, now) for call in calls]
    check_ids(calls, using)
    return drafts


def insert(
    drafts: Sequence[Draft], using: str, complete: Callable[[], None] = lambda: None
) -> list[OutboxMessage]:
    """Insert the rows with one statement per thousand, in the caller's transaction, and tell who listens.

    Rows whose due time is a wait are due by the database's clock, by which they are claimed too. ``complete`` is called
    when listeners have added their headers, before the rows are inserted.
    """
    if not drafts:
        return []
    rows, listens = [each.row for each in drafts], conf.LISTEN  # a slip in the setting is told before
    messages_drafted.send_robust(sender=OutboxMessage, messages=rows, using=using)
    complete()
    insert_rows(rows, [each.lag for each in drafts], using)
    if listens and connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            cursor.execute(f"NOTIFY {CHANNEL}")  # reaches the relays with the commit
    if _is_heard(message_enqueued) or _is_heard(message_dead):
        _tell(rows, using)
    messages_inserted.send(sender=OutboxMessage, messages=rows, using=using)
    return rows


def _is_heard(signal: django.dispatch.Signal) -> bool:
    # Django looks for the receivers of this sender anew each time; mostly there are none at all.
    return bool(signal.receivers) and signal.has_listeners(OutboxMessage)


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
        if row.status == OutboxMessage.Status.DEAD:
            message_dead.send_robust(sender=OutboxMessage, message=row, using=using)


def check_ids(calls: Sequence[Call], using: str) -> None:
    """Raise InvalidOption for a task id that is used already."""
    chosen = [uuid.UUID(str(call.task_id)) for call in calls if call.task_id]
    if not chosen:
        return
    taken = OutboxMessage.objects.using(using).filter(pk__in=chosen).values_list("pk", flat=True).first()
    if taken or len(set(chosen)) < len(chosen):
        raise InvalidOption(
            f"task_id {taken or chosen[0]} is used already: each message needs its own, or none."
        )
