"""Chains and groups by name, written as Celery's canvas writes them.

A chain is one message, which carries its later steps: each worker sends the next one when its own has succeeded. They
have rows of their own, so that their results are collected and shown as any other's.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from django.db import router
from django.utils import timezone

from dispatch.conf import conf
from dispatch.core.call import Call
from dispatch.core.json_values import to_json
from dispatch.core.priority_order import number_on_redis
from dispatch.core.routing import Destination
from dispatch.exceptions import InvalidArguments, InvalidOption, SendError, UnreadableMessage
from dispatch.models import OutboxMessage
from dispatch.models.database import database_now
from dispatch.models.outbox_message import new_task_id
from dispatch.outbox.enqueueing import (
    CODE,
    Draft,
    check_embedded,
    check_ids,
    check_waiting_worker,
    checked,
    draft,
    insert,
)
from dispatch.outbox.lifecycle import STEP
from dispatch.outbox.stored_calls import chain_of
from dispatch.registry import Snapshot, current

Status = OutboxMessage.Status
#: Options that Celery's signatures write otherwise than the outbox does.
TURNED = ("queue", "exchange", "routing_key", "priority", "stamps")


def enqueue_chain(calls: Sequence[Call], *, using: str | None = None) -> list[OutboxMessage]:
    """Check every step, then insert a row for each, in the caller's transaction; return them in order.

    Raises what :func:`dispatch.outbox.enqueue` raises, with a note that names the step.
    """
    using = using or router.db_for_write(OutboxMessage)
    snapshot, now = current(), timezone.now()
    drafts = [_step(place, call, snapshot, now) for place, call in enumerate(calls)]
    check_ids(calls, using)
    if len(drafts) < 2:
        return insert(drafts, using)
    _link(drafts, calls, snapshot)
    return insert(drafts, using, complete=partial(_add_headers, [each.row for each in drafts]))


def enqueue_group(calls: Sequence[Call], *, using: str | None = None) -> list[OutboxMessage]:
    """Do what :func:`dispatch.outbox.enqueue` does; the messages say that they are parts of one group of Celery's."""
    using = using or router.db_for_write(OutboxMessage)
    drafts, group = checked(calls, using), str(new_task_id())
    for index, each in enumerate(drafts):
        each.row.options = {**each.row.options, "group_id": group, "group_index": index}
    return insert(drafts, using)


def promote(using: str, roots: Iterable[tuple[str, str]]) -> None:
    """Note of chains whose first message a broker has, that it has the later steps with it.

    ``roots`` are the options of the first messages, as JSON texts, and the alias of the broker.
    """
    steps: dict[str, list[str]] = defaultdict(list)
    for options, broker in roots:
        if '"chain"' in options:
            steps[broker] += map(_task_id, json.loads(options).get("chain") or ())
    for broker, ids in steps.items():
        for start in range(0, len(ids), STEP):
            _promote(using, ids[start : start + STEP], broker)


def _promote(using: str, ids: Sequence[str], broker: str) -> None:
    chained = OutboxMessage.objects.using(using).filter(pk__in=ids, status=Status.CHAINED)
    # the first was re-routed to another broker: where the steps go there, its workers know
    chained.exclude(broker=broker).update(published_to=None)
    chained.update(status=Status.PUBLISHED, published_at=database_now(), broker=broker)


def withdraw(first: OutboxMessage) -> None:
    """Let the later steps of a message that is taken out of its queue wait in their chain again."""
    if steps := members(first)[1:]:
        rows = OutboxMessage.objects.using(first._state.db).filter(pk__in=[step.pk for step in steps])
        sent = rows.filter(status=Status.PUBLISHED, handled_at=None)
        sent.update(status=Status.CHAINED, published_at=None)


def members(message: OutboxMessage) -> list[OutboxMessage]:
    """Return the messages of a message's chain, in order, but for pruned ones; none without its first."""
    rows = OutboxMessage.objects.using(message._state.db)
    first = rows.filter(pk__in=[message.root_id]).first() if message.root_id else message
    steps = _carried(first) if first else []
    found = {str(row.pk): row for row in rows.filter(pk__in=map(_task_id, steps))} if steps else {}
    return [first, *(found[pk] for pk in map(_task_id, steps) if pk in found)] if first and found else []


def is_given_result(message: OutboxMessage, first: OutboxMessage) -> bool:
    """Tell whether None stands in the arguments of a step for the result of the step before it."""
    return any(_task_id(step) == str(message.pk) and not step["immutable"] for step in _carried(first))


def _carried(first: OutboxMessage) -> list[dict[str, Any]]:
    """Return the later steps that a message carries, in order."""
    try:
        return chain_of(first.options)[::-1]
    except UnreadableMessage:
        return []


def _task_id(step: dict[str, Any]) -> str:
    return str(step["options"]["task_id"])


def _step(place: int, call: Call, snapshot: Snapshot, now: dt.datetime) -> Draft:
    """Return the row of one step. None stands in it for a result that it is given."""
    try:
        if not place:
            return draft(call, CODE, snapshot, now)
        for name, remedy in (("eta", "countdown"), ("expires", "expires")):
            if isinstance(getattr(call, name), dt.datetime):
                raise InvalidOption(
                    f"{name} cannot be a moment: the worker that sends it counts from then. Give {remedy} in seconds."
                )
        waiting = replace(call, countdown=0)  # the worker counts, and not the outbox
        if call.immutable:
            return draft(waiting, CODE, snapshot, now)
        arguments = [None, *(call.args or ())], call.kwargs or {}
        return draft(waiting, CODE, snapshot, now, arguments, is_given_result=True)
    except SendError as error:
        given = place and not call.immutable
        also = ", with the result before it as its first argument by position" if given else ""
        error.add_note(f"It is step {place + 1} of a chain, {call.name}{also}.")
        raise


def _link(drafts: Sequence[Draft], calls: Sequence[Call], snapshot: Snapshot) -> None:
    """Let the first row carry the others, the next one last: from there the worker takes it."""
    places = _destinations(drafts)
    first, *later = (each.row for each in drafts)
    steps = []
    for row, place, call in zip(later, places[1:], calls[1:], strict=True):
        row.options = {**row.options, **_seconds(call, snapshot)}
        steps.append(_signature(row, place, call, snapshot))
        row.status, row.root_id, row.expires_at = Status.CHAINED, first.pk, None
        row.queue, row.published_to = place.queue, asdict(place)
    first.options = {**first.options, "chain": steps[::-1]}
    _check_carried(drafts, chain_of(first.options))


def _check_carried(drafts: Sequence[Draft], steps: Sequence[dict[str, Any]]) -> None:
    """Raise InvalidArguments for what the serializer of a step that is sent before cannot write."""
    for behind, each in enumerate(reversed(drafts)):
        try:
            check_embedded(each, steps[:behind])
        except InvalidArguments as error:
            error.add_note(f"They are those of the steps behind {each.row.task_name}, which it carries.")
            raise


def _add_headers(rows: Sequence[OutboxMessage]) -> None:
    """Give later steps the headers that listeners have added to their rows, too."""
    first, *later = rows
    for step, row in zip(reversed(first.options["chain"]), later, strict=True):
        if row.headers:
            step["options"]["headers"] = row.headers


def _destinations(drafts: Sequence[Draft]) -> list[Destination]:
    """Return where the steps go; raises InvalidOption where a worker could not send the next one, or several would."""
    places = [each.destination for each in drafts if each.destination]
    for step, place in zip(drafts, places, strict=True):
        name = step.row.task_name
        if place.is_broadcast:
            raise InvalidOption(f"{name} is a broadcast: each of many workers would send what follows it.")
        if place.broker != places[0].broker:
            raise InvalidOption(
                f"{name} goes to broker {place.broker!r}, and the chain begins on {places[0].broker!r}: workers send "
                f"to their own broker. Route all steps to one, or send the rest when the first part has ended."
            )
    return places


def _seconds(call: Call, snapshot: Snapshot) -> dict[str, float]:
    """Return what the worker counts from when it sends a step: of the call, or of the task's own options."""
    own = snapshot.tasks[call.name].options
    asked = {name: getattr(call, name) for name in ("countdown", "expires")}
    given = {name: own.get(name) if value is None else value for name, value in asked.items()}
    return {name: value for name, value in given.items() if value is not None}


def _signature(row: OutboxMessage, place: Destination, call: Call, snapshot: Snapshot) -> dict[str, Any]:
    """Return a later step as Celery writes it into the message of the first, its arguments as their JSON texts."""
    options = {name: value for name, value in row.options.items() if name not in TURNED}
    if call.stamps:
        options |= {"stamped_headers": list(call.stamps), **row.options["stamps"]}
    if options.get("countdown"):
        check_waiting_worker(snapshot, place, f"A countdown of {call.name}", "Give it countdown=0.")
    return {
        "task": row.task_name,
        "args": row.args if call.immutable else to_json(json.loads(row.args)[1:]),
        "kwargs": row.kwargs,
        "options": {**options, **_target(place), "task_id": str(row.pk)},
        "subtask_type": None,
        "immutable": call.immutable,
    }


def _target(place: Destination) -> dict[str, Any]:
    """Return where a worker is to send a step, as Celery's options."""
    broker = conf.brokers.get(place.broker)
    if broker is None:
        raise InvalidOption(f'DISPATCH["BROKERS"] has no broker {place.broker!r}: add it.')
    if place.queue or (not broker.has_exchanges and len(place.queues) == 1):
        target: dict[str, Any] = {"queue": place.queue or place.queues[0]}
    elif broker.has_exchanges:
        target = {"exchange": place.exchange, "routing_key": place.routing_key}
    else:
        raise InvalidOption(
            f"exchange {place.exchange!r} reaches {len(place.queues)} queues, and broker {place.broker!r} has no "
            f"exchanges: a worker sends a later step to one queue. Name it."
        )
    if place.priority is not None:
        target["priority"] = number_on_redis(place.priority) if broker.is_urgent_low else place.priority
    return target
