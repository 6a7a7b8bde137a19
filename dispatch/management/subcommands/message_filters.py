"""Which messages are meant: ids, and the filters that the admin has."""

from __future__ import annotations

import argparse
import datetime as dt
import re
import uuid
from collections.abc import Iterable

from django.core.management.base import CommandError, CommandParser
from django.db.models import Q
from django.utils import timezone

from dispatch.management.subcommands import USAGE, Options
from dispatch.models import OutboxMessage
from dispatch.models.outbox_message import OutboxQuerySet, of_object

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
#: Days: so long ago every database has a date.
LONGEST = dt.timedelta(days=36_500)
#: Options that stand for a column each.
EXACT = {"task": "task_name", "queue": "queue", "broker": "broker"}
FILTERS = ("status", "task", "queue", "broker", "object", "error", "newer_than", "older_than")


def add_filters(parser: CommandParser) -> None:
    """Add ids and filters; all that are given must hold."""
    parser.add_argument("ids", nargs="*", metavar="ID", help="only these task ids")
    group = parser.add_argument_group("filters")
    statuses = OutboxMessage.Status.values
    group.add_argument(
        "--status",
        action="append",
        choices=statuses,
        metavar="STATUS",
        help=f"one of {', '.join(statuses)}; may be repeated",
    )
    group.add_argument("--task", metavar="NAME", help="of this task")
    group.add_argument("--queue", metavar="NAME", help="that wait for, or went to, this queue")
    group.add_argument("--broker", metavar="ALIAS", help="the same of a broker")
    group.add_argument(
        "--object", type=_filled, metavar="APP.MODEL[:PK]", help="sent by saves of this object, or model"
    )
    group.add_argument("--error", type=_filled, metavar="TEXT", help="whose last error holds this text")
    group.add_argument(
        "--newer-than", type=age, metavar="AGE", help="enqueued within AGE, such as 90s, 15m, 2h, 7d"
    )
    group.add_argument("--older-than", type=age, metavar="AGE", help="enqueued before that")


def _filled(text: str) -> str:
    """Refuse the empty text, which every message holds: a script's variable was not set."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty, and would mean every message")
    return text


def age(text: str) -> dt.timedelta:
    """Return a span of time that was written as ``90s``, ``15m``, ``2h`` or ``7d``."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    span = dt.timedelta(**{UNITS[found[2]]: int(found[1])}) if found else LONGEST * 2
    if span > LONGEST:
        raise argparse.ArgumentTypeError("write a number and its unit, such as 90s, 15m, 2h or 7d")
    return span


def selected(options: Options) -> OutboxQuerySet:
    """Return the messages that the ids and filters stand for."""
    rows = OutboxMessage.objects.using(options["database"])
    if options["ids"]:
        rows = rows.filter(pk__in=task_ids(options["ids"]))
    exact = {column: options[name] for name, column in EXACT.items() if options[name] is not None}
    return rows.filter(*_conditions(options), **exact)


def is_narrowed(options: Options) -> bool:
    """Tell whether there are ids or filters at all."""
    return bool(options["ids"]) or any(options[name] is not None for name in FILTERS)


def task_ids(texts: Iterable[str]) -> list[uuid.UUID]:
    """Return task ids. Raises CommandError for what is none."""
    return [_task_id(text) for text in texts]


def _task_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise CommandError(
            f"{text!r} is no task id: write it as `messages list` shows it.", returncode=USAGE
        ) from None


def _conditions(options: Options) -> list[Q]:
    now, found = timezone.now(), []
    if options["status"]:
        found.append(Q(status__in=options["status"]))
    if options["object"] is not None:
        found.append(_of_object(options["object"]))
    if options["error"] is not None:
        found.append(Q(last_error__icontains=options["error"]))
    if options["newer_than"] is not None:
        found.append(Q(created_at__gte=now - options["newer_than"]))
    if options["older_than"] is not None:
        found.append(Q(created_at__lt=now - options["older_than"]))
    return found


def _of_object(text: str) -> Q:
    model, has_pk, pk = text.partition(":")
    return of_object([model.lower()], pk if has_pk else None)
