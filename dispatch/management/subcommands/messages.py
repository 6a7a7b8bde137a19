"""``dispatch messages``: look at what was sent, and decide what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError

from dispatch import registry
from dispatch.core.redaction import shorten
from dispatch.management.subcommands import (
    Options,
    Subparsers,
    add_choice,
    add_database,
    message_changes,
    set_run,
)
from dispatch.management.subcommands.message_filters import add_filters, selected, task_ids
from dispatch.management.subcommands.operator_input import up_to
from dispatch.management.subcommands.output import paragraphs, table, write, write_json, write_rows
from dispatch.models import OutboxMessage
from dispatch.models.database import UNREADABLE
from dispatch.models.outbox_message import OutboxQuerySet
from dispatch.outbox.history import Event, events
from dispatch.outbox.masking import masked_arguments, masked_option

Status = OutboxMessage.Status
MOST_LISTED = 10_000
#: The columns of a message that are shown, in JSON all of them.
COLUMNS = (
    "id", "task_name", "status", "broker", "queue", "created_at", "available_at", "expires_at", "published_at",
    "handled_at", "attempts", "last_error", "origin", "origin_name", "object_model", "object_pk", "object_schema",
    "root_id",
)  # fmt: skip
TOO_DEEP = "(nested too deeply to be shown)"


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("messages", help="look at what was sent, and decide what becomes of it")
    actions = add_choice(parser, "action")
    listing = actions.add_parser("list", help="the messages, newest first")
    add_filters(listing)
    listing.add_argument(
        "--limit", type=up_to(MOST_LISTED), default=20, metavar="N", help="default: %(default)s"
    )
    showing = actions.add_parser("show", help="one message with its arguments and all that happened to it")
    showing.add_argument("id", metavar="ID", help="its task id")
    for action, run in ((listing, run_list), (showing, run_show)):
        add_database(action)
        set_run(action, run)
    message_changes.add(actions)


def run_list(command: BaseCommand, options: Options) -> None:
    found = _read(selected(options).order_by("-id").only(*COLUMNS)[: options["limit"]])
    if options["format"] == "json":
        write_json(command, [_columns(message) for message in found])
    else:
        write_rows(command, options, [_row(message) for message in found], "There is no such message.")


def _read(rows: OutboxQuerySet) -> list[OutboxMessage]:
    try:
        return list(rows)
    except UNREADABLE as error:
        raise CommandError(
            f"A message among these holds what cannot be read ({error}): correct its row, or leave it out by a filter."
        ) from error


def _columns(message: OutboxMessage) -> dict[str, Any]:
    return {name: getattr(message, name) for name in COLUMNS}


def _row(message: OutboxMessage) -> dict[str, Any]:
    return {
        "id": message.pk,
        "task": message.task_name,
        "status": message.status,
        "queue": message.queue,
        "attempts": message.attempts,
        "enqueued": _moment(message.created_at),
        "object": f"{message.object_model} {message.object_pk}".strip(),
        "last error": shorten(message.last_error, 60),
    }


def _moment(at: Any) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else ""


def run_show(command: BaseCommand, options: Options) -> None:
    [task_id] = task_ids([options["id"]])
    found = _read(OutboxMessage.objects.using(options["database"]).filter(pk=task_id))
    if not found:
        raise CommandError(f"There is no message {task_id}: it was never sent from here, or it was pruned.")
    [message] = found
    result = _result(message)
    happened = events(message, result["finished_at"] if result else None)
    document = {
        **_columns(message),
        "arguments": _arguments(message),
        "options": _option(message.options),
        "published_to": message.published_to,
        "events": [asdict(event) for event in happened],
        "result": result,
    }
    write(command, options, document, _lines(document, happened))


def _arguments(message: OutboxMessage) -> dict[str, Any] | None:
    """Return the arguments as one may see them; None where nobody knows which are sensitive."""
    task = registry.current().tasks.get(message.task_name)
    return None if task is None else dict(masked_arguments(message, task))


def _option(options: Any) -> Any:
    try:
        shown = masked_option(options)
        json.dumps(shown)
    except (RecursionError, ValueError):
        return TOO_DEEP
    return shown


def _result(message: OutboxMessage) -> dict[str, Any] | None:
    rows: Any = apps.get_model("django_celery_results", "TaskResult")._default_manager.using(
        message._state.db
    )
    row = rows.filter(task_id=str(message.pk)).first()
    if row is None:
        return None
    return {
        "status": row.status,
        "worker": row.worker or "",
        "finished_at": row.date_done,
        "result": row.result,
        "traceback": row.traceback,
    }


def _lines(document: dict[str, Any], happened: Iterable[Event]) -> list[str]:
    about = [
        f"{name.replace('_', ' ')}: {document[name]}" for name in COLUMNS if document[name] not in ("", None)
    ]
    arguments = document["arguments"]
    if arguments is None:
        sent = ["Its arguments are hidden: the task is not in the registry, which says which are sensitive."]
    else:
        sent = [f"{name or 'arguments'} = {value!r}" for name, value in arguments.items()]
    options = document["options"]
    if options:
        sent.append(f"options: {options}")
    rows = [_event(event) for event in happened]
    parts = [about, sent, table(rows) if rows else []]
    if result := document["result"]:
        parts.append([f"{name.replace('_', ' ')}: {value}" for name, value in result.items() if value])
    return paragraphs([part for part in parts if part])


def _event(event: Event) -> dict[str, Any]:
    what = event.kind if event.number is None else f"attempt {event.number} failed"
    return {"at": _moment(event.at), "what": what, "queue": event.queue, "error": event.error}
