"""One message in full: what was sent, where it is, what came of it."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from dispatch import registry
from dispatch.admin import broker_state, lifecycle_status, links, message_list, preview_links, widgets
from dispatch.admin.explanations.in_one_sentence import place
from dispatch.admin.links import Link, Viewer
from dispatch.admin.message_progress import FINISHED, Progress, progress, published_queues
from dispatch.core.redaction import storable
from dispatch.core.routing import Destination
from dispatch.core.sentences import duration
from dispatch.models import OutboxMessage, TaskDefinition, Trigger
from dispatch.outbox import canvas, transfer
from dispatch.outbox.history import Event, events
from dispatch.outbox.masking import arguments, masked_arguments, masked_option
from dispatch.outbox.resends import resends

#: Lines of a message's history in the admin that are shown, and copies of it.
MOST_ENTRIES, MOST_COPIES = 50, 20
Status = OutboxMessage.Status


@dataclass(frozen=True, slots=True)
class Result:
    """What the worker reported; its text and traceback are empty where this user may not view results."""

    status: str
    text: str
    traceback: str
    worker: str
    started_at: dt.datetime | None
    done_at: dt.datetime | None
    url: str
    is_hidden: bool


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happened, in the current time zone, and what went wrong then."""

    label: str
    at: dt.datetime
    error: str


@dataclass(frozen=True, slots=True)
class Where:
    """Where it is, in words, what is to be looked at for that, and what tells whether the page is out of date."""

    badge: SafeString
    progress: Progress
    about: Link | None
    state: str


def describe(message: OutboxMessage, viewer: Viewer) -> dict[str, Any]:
    """Collect what the page shows beside the columns themselves, as far as this user may see it."""
    task = registry.current().tasks.get(message.task_name)
    row = _result_row(message)
    result = _result(row, viewer) if row else None
    definition, trigger = TaskDefinition.objects.filter(name=message.task_name).first(), _trigger_row(message)
    is_at = _where(message, row, viewer)
    shown = masked_arguments(message, task)
    repeated = resends(message)
    better = transfer.better_place(message) if row is None else None
    chain = canvas.members(message)
    return {
        "where": is_at,
        "task": _link(message.task_name, definition, viewer),
        "arguments": [(name, _json(value)) for name, value in shown],
        "is_given_result": bool(chain) and canvas.is_given_result(message, chain[0]),
        "is_known": task is not None,
        "has_masked": bool(message.broker) and (task is None or shown != arguments(message, task)),
        "destination": destination(message),
        "elsewhere": place(better) if better else "",
        "can_move": better is not None and transfer.is_movable(message),
        "seen": broker_state.look(viewer.site, [] if is_at.progress.is_final else _queues(message)),
        "options": [
            (name, _option(name, value))
            for name, value in _entries(message.options)
            if not (name == "chain" and chain)  # which is shown as links
        ],
        "header_names": widgets.listed(name for name, _value in _entries(message.headers)),
        "times": times(message, result),
        "object": _object(message, viewer),
        "siblings": _siblings(message),
        "chain": _members(chain, message, viewer),
        "trigger": _trigger(message, trigger, viewer),
        "preview": _preview(message, trigger, viewer),
        "original": _message(repeated.original, viewer) if repeated.original else None,
        "copies": [_message(copy, viewer) for copy in repeated.copies[-MOST_COPIES:]],
        "again": _send_again_url(message, definition, viewer),
        "result": result,
        "spans": _spans(message, result) if result else [],
    }


def where(message: OutboxMessage, viewer: Viewer) -> Where:
    """Return where it is now; the broker may be asked for that."""
    return _where(message, _result_row(message), viewer, ask=True)


def _where(message: OutboxMessage, row: Any, viewer: Viewer, *, ask: bool = False) -> Where:
    found, state = progress(message, row, ask=ask), row.status if row else ""
    return Where(
        widgets.badge(*lifecycle_status.of(message, state)),
        found,
        _about(found.about, viewer) if found.about else None,
        state=f"{message.status} {state}",
    )


def _about(row: Model, viewer: Viewer) -> Link | None:
    link = _link(f"{row._meta.verbose_name} {row}", row, viewer)
    return link if link.url else None


def unmasked(message: OutboxMessage) -> list[tuple[str, str]]:
    """Return name and JSON of the arguments as they are, of an unknown task too."""
    task = registry.current().tasks.get(message.task_name)
    return [(name, _json(value)) for name, value in arguments(message, task)]


def _send_again_url(message: OutboxMessage, row: TaskDefinition | None, viewer: Viewer) -> str:
    """Return the address of the form that sends it as a new message, "" for those who may not."""
    was_sent = message.broker and message.status not in (Status.PENDING, Status.CHAINED, Status.CLAIMED)
    may_send = viewer.request.user.has_perm("dispatch.send_taskdefinition")
    if row is None or not (was_sent and may_send and viewer.may_open(TaskDefinition)):
        return ""
    return links.page("dispatch_taskdefinition_send", viewer.site, row.pk, again=message.pk)


def _option(name: str, value: Any) -> str:
    try:
        return _json(masked_option({name: value})[name])
    except RecursionError:
        return _too_deep()


def _entries(column: Any) -> list[tuple[str, Any]]:
    """Return the entries of a JSON object; of anything else, which stands in a row written past the API, none."""
    return [(storable(name), value) for name, value in column.items()] if isinstance(column, dict) else []


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
    queues = published_queues(message) or [message.queue]
    return [name for name in queues[: broker_state.MOST_ASKED] if name]


def times(message: OutboxMessage, result: Result | None) -> list[Moment]:
    """Return what happened, what was done in the admin, and what is to happen, in the order of time."""
    happened = events(message, result.done_at, result.started_at) if result else events(message)
    moments = [Moment(_label(event), widgets.local(event.at), event.error) for event in happened]
    return sorted([*moments, *_by_hand(message)], key=lambda moment: moment.at.replace(microsecond=0))


def _by_hand(message: OutboxMessage) -> list[Moment]:
    entries = LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(OutboxMessage), object_id=str(message.pk)
    ).select_related("user")
    return [
        Moment(
            _("%(what)s by %(user)s")
            % {"what": entry.get_change_message().rstrip("."), "user": entry.user.get_username()},
            widgets.local(entry.action_time),
            "",
        )
        for entry in entries[:MOST_ENTRIES]
    ]


def _label(event: Event) -> str:
    labels = {
        "enqueued": _("enqueued"),
        "due": _("due"),
        "claimed": _("claimed"),
        "lease ends": _("lease ends"),
        "published": _("published"),
        "started": _("started by the worker"),
        "finished": _("finished by the worker"),
        "handled": _("result handled"),
        "expires": _("expires"),
        "dead": _("dead"),
        "cancelled": _("cancelled"),
        "failed": _("failed, not counted"),
    }
    if event.number is None:
        return labels[event.kind]
    return _("attempt %(number)s failed") % {"number": event.number}


def _spans(message: OutboxMessage, result: Result) -> list[tuple[str, str]]:
    """Return how long it was in the queue, and how long it ran, as far as the worker tells when it started."""
    published, started, done = message.published_at, result.started_at, result.done_at
    if not published:
        return []
    if not started:
        return [(_("From published to finished"), _span(published, done))] if done else []
    spans = [(_("In the queue"), _span(published, started))]
    return [*spans, (_("Runtime"), _span(started, done))] if done and result.status in FINISHED else spans


def _span(start: dt.datetime, end: dt.datetime) -> str:
    seconds = max((end - start).total_seconds(), 0.0)
    return f"{widgets.number(round(seconds, 3))} s" if seconds < 60 else duration(seconds)


def _trigger_row(message: OutboxMessage) -> Trigger | None:
    if message.origin != OutboxMessage.Origin.TRIGGER:
        return None
    found: Trigger | None = Trigger.objects.filter(name=message.origin_name).first()
    return found


def _trigger(message: OutboxMessage, row: Trigger | None, viewer: Viewer) -> Link | None:
    if message.origin != OutboxMessage.Origin.TRIGGER:
        return None
    return _link(message.origin_name, row, viewer)


def _preview(message: OutboxMessage, row: Trigger | None, viewer: Viewer) -> str:
    """Return where one sees what the trigger would send for the object today, for those who may see both."""
    is_there = message_list.object_url(viewer, message) and viewer.may_open(Trigger)
    return preview_links.address(viewer.site, row, message.object_pk) if row and is_there else ""


def _message(pk: uuid.UUID, viewer: Viewer) -> Link:
    return Link(str(pk), links.url(OutboxMessage, pk, viewer.site))


def _members(
    chain: list[OutboxMessage], shown: OutboxMessage, viewer: Viewer
) -> list[tuple[Link, SafeString]]:
    """Return the messages of the chain, each as a link, the one that is shown as its name alone, and its status."""
    states = message_list.results(chain)
    return [
        (
            Link(row.task_name, "" if row == shown else links.url(OutboxMessage, row.pk, viewer.site)),
            widgets.badge(*lifecycle_status.of(row, states.get(str(row.pk), ""))),
        )
        for row in chain
    ]


def _link(text: str, row: Any, viewer: Viewer) -> Link:
    return Link(text, viewer.url(row))


def _object(message: OutboxMessage, viewer: Viewer) -> Link | None:
    if not message.object_model:
        return None
    text = f"{message.object_model} {message.object_pk}"
    if message.object_schema:
        text = _("%(object)s in schema %(schema)s") % {"object": text, "schema": message.object_schema}
    return Link(text, message_list.object_url(viewer, message))


def _siblings(message: OutboxMessage) -> str:
    names = ("object_model", "object_pk", "object_schema")
    return urlencode({name: value for name in names if (value := getattr(message, name))})


def _result_row(message: OutboxMessage) -> Any:
    """Return the TaskResult, None where there is none, or where its table cannot be read."""
    using = message._state.db or "default"
    rows = message_list.result_model()._default_manager.using(using).filter(task_id=str(message.pk))
    with message_list.readable_results(using, None):
        return rows.first()


def _result(row: Any, viewer: Viewer) -> Result:
    may_view = viewer.may_view(type(row))
    return Result(
        status=row.status,
        text=_readable(row.result) if may_view else "",
        traceback=(row.traceback or "") if may_view else "",
        worker=row.worker or "",
        started_at=getattr(row, "date_started", None),  # since version 2.6 of django-celery-results
        done_at=row.date_done,
        url=viewer.url(row),
        is_hidden=not may_view,
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
        return _too_deep()


def _too_deep() -> str:
    return _("(nested too deeply to be shown)")


def _indented(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
