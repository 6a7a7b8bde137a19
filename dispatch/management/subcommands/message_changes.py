"""What ``dispatch messages`` does with many messages at once: requeue, cancel, revoke, prune, in small steps."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dispatch import outbox
from dispatch.conf import conf
from dispatch.core.sentences import count, enumerated
from dispatch.core.setting_kinds import RETAINED
from dispatch.management.subcommands import USAGE, Options, Run, Subparsers, add_database, set_run
from dispatch.management.subcommands.message_filters import add_filters, age, is_narrowed, selected, task_ids
from dispatch.management.subcommands.operator_input import add_yes, agreed, up_to
from dispatch.management.subcommands.output import write
from dispatch.models import OutboxMessage
from dispatch.models.outbox_message import OutboxQuerySet
from dispatch.outbox.lifecycle import STEP, cancellable, in_steps, requeueable
from dispatch.outbox.retention import Pruning
from dispatch.outbox.revocation import Revocation, revoke

Status = OutboxMessage.Status
MOST_MOVED = 100_000_000
#: Seconds between two words of progress.
PROGRESS_EVERY = 2.0
SIGNALS = ("SIGTERM", "SIGKILL", "SIGINT", "SIGQUIT", "SIGUSR1")
#: What ``--older-than`` is about where no status is named: a dead letter is nobody's to forget by the way.
UNASKED = ("published", "superseded", "cancelled")


@dataclass(frozen=True, slots=True)
class Move:
    """What is done to many messages: to which of them, and how that is told."""

    verb: str
    help: str
    possible: Callable[[OutboxQuerySet], OutboxQuerySet]
    run: Callable[[OutboxQuerySet], int]
    done: str


MOVES = (
    Move(
        "requeue",
        "let dead and cancelled messages be published again",
        requeueable,
        outbox.requeue,
        "requeued",
    ),
    Move("cancel", "let pending and dead messages not be published", cancellable, outbox.cancel, "cancelled"),
)


def add(actions: Subparsers) -> None:
    for move in MOVES:
        parser = actions.add_parser(move.verb, help=move.help)
        _add_selection(parser, partial(run_move, move))
    _add_revoke(actions)
    _add_prune(actions)


def _add_selection(parser: CommandParser, run: Run) -> None:
    add_filters(parser)
    parser.add_argument(
        "--limit", type=up_to(MOST_MOVED), metavar="N", help="no more than these, the oldest first"
    )
    _add_common(parser, run)


def _add_common(parser: CommandParser, run: Run) -> None:
    add_yes(parser)
    add_database(parser)
    set_run(parser, run)


def _add_revoke(actions: Subparsers) -> None:
    parser = actions.add_parser(
        "revoke",
        help="cancel what waits, and tell the running workers not to run what is published",
        epilog="A worker that starts later knows nothing of it, unless it keeps a --statedb.",
    )
    parser.add_argument(
        "--terminate", action="store_true", help="end the process that runs one of them already"
    )
    parser.add_argument(
        "--signal",
        choices=SIGNALS,
        default=SIGNALS[0],
        metavar="NAME",
        help="by this one (default: %(default)s)",
    )
    _add_selection(parser, run_revoke)


def _add_prune(actions: Subparsers) -> None:
    parser = actions.add_parser(
        "prune", help="delete settled messages that are past their retention; never one that was not sent yet"
    )
    parser.add_argument(
        "--status",
        action="append",
        choices=RETAINED,
        metavar="STATUS",
        help=f"only these: {', '.join(RETAINED)}; may be repeated",
    )
    parser.add_argument(
        "--older-than", type=age, metavar="AGE", help='instead of DISPATCH["RETENTION"]: 12h, 30d'
    )
    _add_common(parser, run_prune)


def run_move(move: Move, command: BaseCommand, options: Options) -> None:
    """Requeue, or cancel, in small steps; fail where a named message does not allow it."""
    _must_be_narrowed(options)
    named = selected(options)
    rows = move.possible(named)
    refused = _refused(options, named, rows)
    total = _count(rows, options["limit"])
    asked = done = 0
    if total and agreed(command, options, f"{move.verb.capitalize()} {count(total, 'message')}?"):
        asked, progress = total, Progress(command, total)
        for step in in_steps(rows, options["limit"]):
            done += move.run(step)
            progress.tell(done)
    document = {move.done: done, "refused": refused}
    write(command, options, document, [f"{count(done, 'message')} {move.done}."])
    problems = []
    if refused:
        told = enumerated(f"{task_id} ({status})" for task_id, status in refused.items())
        problems.append(f"Could not be {move.done}: {told}.")
    if Status.CHAINED in refused.values():
        problems.append(
            "A later step of a chain goes with its first message: name that one, the step's root id."
        )
    if options["ids"] and done < asked:
        problems.append(f"{count(asked - done, 'message')} changed in the meantime: look again.")
    if problems:
        raise CommandError(" ".join(problems))


def run_revoke(command: BaseCommand, options: Options) -> None:
    """Cancel, and tell the workers, a few messages at a time; fail where messages may run nevertheless."""
    _must_be_narrowed(options)
    rows = selected(options)
    missing = _refused(options, rows, rows)
    chained = rows.filter(status=Status.CHAINED).count()
    rows = rows.filter(status__in=(Status.PENDING, Status.CLAIMED, Status.PUBLISHED))
    total = _count(rows, options["limit"])
    signal = options["signal"] if options["terminate"] else ""
    result = Revocation()
    ends = f", and end those that run by {signal}" if signal else ""
    if total and agreed(command, options, f"Revoke {count(total, 'message')}{ends}?"):
        progress = Progress(command, total)
        for at, step in enumerate(in_steps(rows, options["limit"]), start=1):
            result.add(revoke(step, signal))
            progress.tell(min(at * STEP, total))
    _show_revoked(command, options, result)
    problems = [*sorted(result.problems), *(f"There is no message {task_id}." for task_id in missing)]
    if result.in_hand:
        problems.append(
            f"{count(result.in_hand, 'message')} in the hands of a relay at this moment: revoke again in a second."
        )
    if chained:
        problems.append(f"{count(chained, 'message')} waiting in a chain: revoke its first message.")
    if problems:
        raise CommandError(" ".join(problems))


def _show_revoked(command: BaseCommand, options: Options, result: Revocation) -> None:
    sets = {name: sorted(getattr(result, name)) for name in ("workers", "problems")}
    lines = [f"{count(result.cancelled, 'message')} cancelled before being published."]
    if result.revoked:
        workers = ", ".join(sets["workers"])
        lines.append(f"{count(result.revoked, 'message')} revoked; it was taken by {workers}.")
    if result.done:
        lines.append(f"{count(result.done, 'message')} had a result already.")
    write(command, options, asdict(result) | sets, lines)


def run_prune(command: BaseCommand, options: Options) -> None:
    """Delete what is past its retention, in small steps."""
    kept = _retention(options)
    what = ", ".join(f"{status} ones older than {_span(span)}" for status, span in kept.items())
    pruned = 0
    if kept and agreed(command, options, f"Delete messages for good: {what}?"):
        progress = Progress(command)
        for deleted in Pruning(options["database"], kept).steps():
            pruned += deleted
            progress.tell(pruned)
    lines = [f"{count(pruned, 'message')} pruned."]
    if not kept:
        lines.append('DISPATCH["RETENTION"] keeps these for ever: set it, or give --older-than.')
    write(command, options, {"pruned": pruned}, lines)


def _retention(options: Options) -> dict[str, dt.timedelta]:
    statuses: list[str] | None = options["status"]
    span: dt.timedelta | None = options["older_than"]
    if span is not None:
        return dict.fromkeys(statuses or UNASKED, span)
    return {
        status: kept
        for status, kept in conf.retention.items()
        if kept is not None and (not statuses or status in statuses)
    }


def _span(span: dt.timedelta) -> str:
    return str(span).removesuffix(", 0:00:00")


class Progress:
    """Tells on standard error how far a long work has come."""

    def __init__(self, command: BaseCommand, total: int = 0) -> None:
        self.command = command
        self.of = f" of {total}" if total else ""
        self._told = time.monotonic()

    def tell(self, done: int) -> None:
        """Say so, if it was not said just now."""
        if time.monotonic() - self._told >= PROGRESS_EVERY:
            self._told = time.monotonic()
            self.command.stderr.write(f"{done}{self.of} …")


def _must_be_narrowed(options: Options) -> None:
    if not is_narrowed(options):
        raise CommandError(
            "Which messages? Give task ids, or filters such as --status dead.", returncode=USAGE
        )


def _count(rows: OutboxQuerySet, limit: int | None) -> int:
    found = rows.count()
    return found if limit is None else min(found, limit)


def _refused(options: Options, named: OutboxQuerySet, possible: OutboxQuerySet) -> dict[str, str]:
    """Return those of the ids given that it cannot be done to, each with what it is instead."""
    if not options["ids"]:
        return {}
    able = set(possible.values_list("pk", flat=True))
    statuses = dict(named.values_list("pk", "status"))
    return {str(pk): statuses.get(pk, "not there") for pk in task_ids(options["ids"]) if pk not in able}
