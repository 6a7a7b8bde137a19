"""The public API: what applications import.

Safe to import in ``models.py``; not in a package's ``__init__`` and not at the top of ``apps.py``, as with any model.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from asgiref.sync import sync_to_async

from dispatch import outbox
from dispatch.conf import DEFAULT_BROKER
from dispatch.core.call import Call
from dispatch.core.trigger_suppression import allow_triggers, suppress_triggers
from dispatch.exceptions import (
    DispatchError,
    InvalidArguments,
    InvalidOption,
    NoDestination,
    SendError,
    TaskDisabled,
    TaskRetired,
    UnknownTask,
)
from dispatch.models import OutboxMessage
from dispatch.signals import (
    message_dead,
    message_enqueued,
    message_published,
    messages_drafted,
    task_finished,
)
from dispatch.triggers.code_triggers import trigger
from dispatch.triggers.hooked_queryset import HookedManager, HookedModel, HookedQuerySet
from dispatch.typed_senders import Array, Sender, SendOptions, SentMessage, deprecated, sender

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from dispatch.client.result_backend import AsyncResult
    from dispatch.core.call import Link
    from dispatch.typed_senders import Returning

__all__ = [
    "Array",
    "Call",
    "DispatchError",
    "HookedManager",
    "HookedModel",
    "HookedQuerySet",
    "InvalidArguments",
    "InvalidOption",
    "NoDestination",
    "SendError",
    "SendOptions",
    "Sender",
    "SentMessage",
    "TaskDisabled",
    "TaskRetired",
    "UnknownTask",
    "allow_triggers",
    "asend_task",
    "deprecated",
    "message_dead",
    "message_enqueued",
    "message_published",
    "messages_drafted",
    "result",
    "send_chain",
    "send_group",
    "send_many",
    "send_task",
    "sender",
    "suppress_triggers",
    "task_finished",
    "trigger",
]

R = TypeVar("R")


def send_task(
    name: str,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    countdown: float | None = None,
    eta: dt.datetime | None = None,
    expires: float | dt.datetime | None = None,
    queue: str | None = None,
    exchange: str | None = None,
    routing_key: str | None = None,
    priority: int | None = None,
    serializer: str | None = None,
    compression: str | None = None,
    time_limit: float | None = None,
    soft_time_limit: float | None = None,
    ignore_result: bool | None = None,
    shadow: str | None = None,
    reply_to: str | None = None,
    delivery_mode: int | None = None,
    headers: Mapping[str, Any] | None = None,
    stamps: Mapping[str, Any] | None = None,
    link: Link = None,
    link_error: Link = None,
    task_id: uuid.UUID | str | None = None,
    deliver_eta: bool = False,
    using: str | None = None,
) -> OutboxMessage:
    """Send a task by name: insert its message in the caller's transaction, and return it.

    No broker is contacted. The message's ``id`` is the Celery task id. What is rolled back is never sent;
    what is committed reaches the broker at least once, with this id at every attempt.

    The options are those of Celery's ``send_task``: ``countdown``, ``expires`` and the limits in seconds,
    ``eta`` (or ``expires``) as a timezone-aware datetime, ``priority`` the more urgent the higher on every
    broker: up to 9 on Redis, up to the queue's highest one on RabbitMQ, as which anything higher counts. A
    countdown waits in the outbox; ``deliver_eta=True`` leaves the wait to the worker. ``link`` and
    ``link_error`` name tasks that the worker sends afterwards. ``using`` names the database whose outbox is
    written.

    Raises UnknownTask (with close matches), TaskDisabled, TaskRetired, InvalidArguments (with the JSON pointer),
    InvalidOption and NoDestination, all of them SendError, before anything is stored; TypeError for an option that does
    not exist.
    """
    call = Call(
        name,
        args,
        kwargs,
        countdown=countdown,
        eta=eta,
        expires=expires,
        queue=queue,
        exchange=exchange,
        routing_key=routing_key,
        priority=priority,
        serializer=serializer,
        compression=compression,
        time_limit=time_limit,
        soft_time_limit=soft_time_limit,
        ignore_result=ignore_result,
        shadow=shadow,
        reply_to=reply_to,
        delivery_mode=delivery_mode,
        headers=headers,
        stamps=stamps,
        link=link,
        link_error=link_error,
        task_id=task_id,
        deliver_eta=deliver_eta,
    )
    [message] = outbox.enqueue([call], using=using)
    return message


async def asend_task(
    name: str,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    **options: Unpack[SendOptions],
) -> OutboxMessage:
    """Send a task by name from async code; takes what :func:`send_task` takes."""
    return await sync_to_async(send_task)(name, args, kwargs, **options)


def send_many(calls: Iterable[Call], *, using: str | None = None) -> list[OutboxMessage]:
    """Send many tasks with one INSERT, all or nothing; return their messages in order.

    Raises what :func:`send_task` raises, for the first call that does not fit.
    """
    return outbox.enqueue(list(calls), using=using)


def send_chain(calls: Iterable[Call], *, using: str | None = None) -> list[OutboxMessage]:
    """Send tasks that run one after the other; return their messages in order, all or none inserted.

    The first message carries the others, as Celery's ``chain`` does: each worker sends the next step when its own has
    succeeded, with its result as the first argument by position, unless the step is ``Call(…, immutable=True)``. Each
    is checked against its schema, but for the result it is given. The destinations of the later steps are those of now.

    Raises what :func:`send_task` raises, with a note that names the step, and InvalidOption for what a worker could not
    send: a step on another broker, a broadcast, a moment where seconds are needed.
    """
    return outbox.enqueue_chain(list(calls), using=using)


def send_group(calls: Iterable[Call], *, using: str | None = None) -> list[OutboxMessage]:
    """Send tasks that run side by side, as parts of one group of Celery's; return their messages in order.

    It is :func:`send_many`, but that the messages say which group they belong to. No task can follow it as a whole: a
    chord counts its parts in the result backend of the workers, which the sender does not write to.
    """
    return outbox.enqueue_group(list(calls), using=using)


@overload
def result(task: Returning[R], *, broker: str = ...) -> AsyncResult[R]: ...
@overload
def result(task: uuid.UUID | str, *, broker: str = ...) -> AsyncResult[Any]: ...
def result(task: Returning[Any] | uuid.UUID | str, *, broker: str = DEFAULT_BROKER) -> AsyncResult[Any]:
    """Return Celery's AsyncResult of a message or a task id, which reads the worker's own result backend.

    ``broker`` is the alias the task was sent through; a message knows its own.
    """
    from dispatch.client.result_backend import async_result

    if isinstance(task, OutboxMessage):
        return async_result(str(task.pk), task.broker or broker)
    return async_result(str(task), broker)
