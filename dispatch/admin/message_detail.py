"""One message in full: what was sent, where it is, what came of it."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from dispatch import outbox, registry
from dispatch.admin import broker_state, links, message_list, widgets
from dispatch.admin.explanations.in_one_sentence import place
from dispatch.admin.links import Link
from dispatch.core.message import MASK
from dispatch.core.redaction import storable
from dispatch.core.routing import Destination
from dispatch.exceptions import UnreadableMessage
from dispatch.models import OutboxMessage, TaskDefinition, Trigger
from dispatch.registry import Task

Status = OutboxMessage.Status
PATIENCE = dt.timedelta(seconds=30)
SOON = dt.timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Argument:
    """A name or a position, and the value as indented JSON."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Result:
    """What the worker reported."""

    status: str
    text: str
    traceback: str
    worker: str
    done_at: Any
    url: str


@dataclass(frozen=True, slots=True)
class Detail:
    """What the page shows beside the columns themselves."""

    explanation: str
    task: Link
    arguments: list[Argument]
    is_known: bool
    destination: str
    seen: SafeString
    options: list[Argument]
    header_names: str
    times: list[tuple[str, Any]]
    object: Link | None
    siblings: str
    trigger: Link | None
    result: Result | None


def describe(message: OutboxMessage, site: admin.AdminSite, request: HttpRequest) -> Detail:
    """Collect what this user may see of one message."""
    task = registry.current().tasks.get(message.task_name)
    result = _result(message, site, request)
    return Detail(
        explanation=explain(message, result.status if result else ""),
        task=_task(message, site, request),
        arguments=arguments(message, task),
        is_known=task is not None,
        destination=destination(message),
        seen=broker_state.look(_queues(message)),
        options=[Argument(name, _json(value)) for name, value in _entries(message.options)],
        header_names=widgets.listed(name for name, _value in _entries(message.headers)),
        times=times(message, result),
        object=_object(message, site, request),
        siblings=_siblings(message),
        trigger=_trigger(message, site, request),
        result=result,
    )


def arguments(message: OutboxMessage, task: Task | None) -> list[Argument]:
    """Return the arguments, sensitive ones masked; all of them where nobody knows which are sensitive."""
    if task is None:
        return []
    try:
        by_position, by_name = task.mask(*outbox.arguments_of(message.args, message.kwargs))
    except UnreadableMessage:  # a row that was written past the API
        return [Argument("", MASK)]
    names = (*task.parameters.positional, *map(str, range(len(task.parameters.positional), len(by_position))))
    positional = [Argument(name, _json(value)) for name, value in zip(names, by_position, strict=False)]
    return [*positional, *(Argument(name, _json(value)) for name, value in by_name.items())]


def _entries(column: Any) -> list[tuple[str, Any]]:
    """Return the entries of a JSON object; of anything else, which stands in a row written past the API, none."""
    return [(storable(name), value) for name, value in column.items()] if isinstance(column, dict) else []


def explain(message: OutboxMessage, result_status: str) -> str:
    """Say in a sentence where the message is, and what to do if that is not where it should be."""
    now = timezone.now()
    if message.status == Status.PENDING:
        return _pending(message, now)
    if message.status == Status.CLAIMED:
        return _(
            "A relay is publishing it now. If that relay stops, another one takes over after the lease has run out."
        )
    if message.status == Status.PUBLISHED:
        return _published(message, result_status, now)
    if message.status == Status.CANCELLED:
        return _("It was cancelled and is not sent, unless you requeue it.")
    if not message.broker:
        return _(
            "Nothing was sent: the trigger could not make the message. Correct it as the error says, then save the "
            "object again."
        )
    return _("It is not tried again by itself. Remove the cause that the error names, then requeue it.")


def destination(message: OutboxMessage) -> str:
    """Return where it was published to, or where it is to go as things stand."""
    if message.published_to:
        try:
            return place(
                Destination(**{**message.published_to, "queues": tuple(message.published_to["queues"])})
            )
        except (TypeError, KeyError):  # written by another version
            return _json(message.published_to)
    if not message.broker:
        return widgets.EMPTY
    if not message.queue:
        return _("an exchange on broker %(broker)s") % {"broker": message.broker}
    return _("queue %(queue)s on broker %(broker)s") % {"queue": message.queue, "broker": message.broker}


def _queues(message: OutboxMessage) -> list[str]:
    """Return the queues that it was published to, or waits for."""
    published = dict(_entries(message.published_to)).get("queues")
    if isinstance(published, list) and published:
        return [str(name) for name in published[: broker_state.MOST_ASKED]]
    return [message.queue] if message.queue else []


def times(message: OutboxMessage, result: Result | None) -> list[tuple[str, Any]]:
    """Return what happened, and what is to happen, in the order of time."""
    found = [
        (_("enqueued"), message.created_at),
        (_("due"), message.available_at if message.available_at - message.created_at > SOON else None),
        (_("lease ends"), message.lease_expires_at),
        (_("published"), message.published_at),
        (_("finished by the worker"), result.done_at if result else None),
        (_("result handled"), message.handled_at),
        (_("expires"), message.expires_at),
    ]
    return sorted(((label, when) for label, when in found if when), key=lambda entry: entry[1])


def _pending(message: OutboxMessage, now: dt.datetime) -> str:
    task = registry.current().tasks.get(message.task_name)
    if task and task.retired:
        return _("Its task was retired %(retired)s: it waits until the task returns, or you cancel it.") % {
            "retired": task.retired
        }
    if message.task_name in registry.current().paused_tasks:
        return _("Its task is paused: it waits until the task is resumed.")
    if message.queue in registry.current().paused:
        return _("Its queue %(queue)s is paused: it waits until the queue is resumed.") % {
            "queue": message.queue
        }
    if message.available_at > now and message.last_error:
        return _("An attempt failed; the relay tries again when it is due.")
    if message.available_at > now:
        return _("It waits until it is due.")
    if now - message.available_at > PATIENCE:
        return _(
            "It has been due for a while. Does a relay run (manage.py dispatch relay), and does the broker answer?"
        )
    return _("The relay publishes it next.")


def _published(message: OutboxMessage, result_status: str, now: dt.datetime) -> str:
    if result_status == "SUCCESS":
        return _("The worker has finished it.")
    if result_status == "FAILURE":
        return _("The broker took it and the worker ran it, but the task failed: its exception stands below.")
    if result_status:
        return _("The worker has it; its last word is %(status)s.") % {"status": result_status.lower()}
    if message.ignore_result:
        return _("The broker has it. No result is kept, since the task asks for none.")
    if message.published_at and now - message.published_at > PATIENCE:
        return _(
            "The broker has it, and no result came yet. Does a worker consume the queue, and does manage.py dispatch "
            "results run?"
        )
    return _("The broker has it; the result is awaited.")


def _task(message: OutboxMessage, site: admin.AdminSite, request: HttpRequest) -> Link:
    row = TaskDefinition.objects.filter(name=message.task_name).first()
    return _link(message.task_name, row, site, request)


def _trigger(message: OutboxMessage, site: admin.AdminSite, request: HttpRequest) -> Link | None:
    if message.origin != OutboxMessage.Origin.TRIGGER:
        return None
    row = Trigger.objects.filter(name=message.origin_name).first()
    return _link(message.origin_name, row, site, request)


def _link(text: str, row: Any, site: admin.AdminSite, request: HttpRequest) -> Link:
    may_follow = row is not None and links.viewable(site, request, type(row))
    return Link(text, links.change_url(row, site.name) if may_follow else "")


def _object(message: OutboxMessage, site: admin.AdminSite, request: HttpRequest) -> Link | None:
    if not message.object_model:
        return None
    return Link(
        f"{message.object_model} {message.object_pk}", message_list.object_url(site, request, message)
    )


def _siblings(message: OutboxMessage) -> str:
    return urlencode({"object_model": message.object_model, "object_pk": message.object_pk})


def _result(message: OutboxMessage, site: admin.AdminSite, request: HttpRequest) -> Result | None:
    model = message_list.result_model()
    row: Any = model._default_manager.using(message._state.db).filter(task_id=str(message.pk)).first()
    if row is None:
        return None
    return Result(
        status=row.status,
        text=_readable(row.result),
        traceback=row.traceback or "",
        worker=row.worker or "",
        done_at=row.date_done,
        url=links.change_url(row, site.name) if links.viewable(site, request, model) else "",
    )


def _readable(text: str | None) -> str:
    """Return a result as indented JSON; an exception as Celery stores it becomes ``ValueError: why``."""
    try:
        return storable(_in_words(json.loads(text or "null")))
    except (ValueError, RecursionError):  # no JSON, or deeper than a page can follow
        return text or ""


def _in_words(value: Any) -> str:
    if isinstance(value, dict) and "exc_type" in value:
        reason = value.get("exc_message", "")
        reason = ", ".join(map(str, reason)) if isinstance(reason, list) else reason
        return f"{value['exc_type']}: {reason}"
    return _indented(value)


def _json(value: Any) -> str:
    try:
        return storable(_indented(value))
    except RecursionError:
        return _("(nested too deeply to be shown)")


def _indented(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
