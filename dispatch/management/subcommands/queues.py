"""``dispatch queues``: look at queues on their brokers, and work on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dispatch import health, queues
from dispatch.core.sentences import at_most, count
from dispatch.management.subcommands import Options, Subparsers, add_choice, add_database
from dispatch.management.subcommands.operator_input import add_yes, agreed, up_to
from dispatch.management.subcommands.output import (
    add_format,
    shown,
    table,
    write_json,
    write_lines,
    write_rows,
)


def add_apply(actions: Subparsers) -> None:
    """Add the parser."""
    parser = actions.add_parser(
        "apply",
        help="make running workers consume new queues, and leave those that are gone",
        epilog="A restart forgets it: export routing.json too.",
    )
    parser.add_argument(
        "queues",
        nargs="*",
        metavar="NAME",
        help="only these, also where another worker consumes them already",
    )
    parser.add_argument("--worker", metavar="HOSTNAME", help="only this worker, as `celery status` names it")
    parser.add_argument("--dry-run", action="store_true", help="show the difference, tell nobody")
    add_yes(parser)
    add_format(parser)
    parser.set_defaults(run=run)


def run(command: BaseCommand, options: Options) -> None:
    """Show the difference, ask, and tell the workers."""
    plan = queues.plan(options["queues"] or None, options["worker"])
    if options["format"] == "text":
        _show(command, plan)
    steps, news = plan.steps, []
    told = _may_tell(command, options, len(steps))
    if told:
        steps = list(queues.carry_out(steps))
        news = list(queues.renew_pools(steps))
    if options["format"] == "json":
        document = {"applied": told, "steps": list(map(asdict, steps)), "notes": plan.notes + news}
        write_json(command, document | {"problems": plan.problems})
    elif told:
        _show_done(command, steps, news)
    if plan.problems or any(step.error for step in steps):
        raise CommandError("The workers could not all be brought into step with the registry.")


def _may_tell(command: BaseCommand, options: Options, changes: int) -> bool:
    if not changes or options["dry_run"]:
        return False
    return agreed(command, options, f"Make {changes} change{'' if changes == 1 else 's'}?")


def _show(command: BaseCommand, plan: queues.Plan) -> None:
    if plan.steps:
        write_lines(command, table([_step_row(step) for step in plan.steps]))
    elif not plan.problems:
        command.stdout.write("Nothing to do: the running workers consume what the registry has.")
    write_lines(command, plan.notes)
    for text in plan.problems:
        command.stderr.write(text)


def _step_row(step: queues.Step) -> dict[str, Any]:
    return {
        "worker": step.worker,
        "change": f"{'+' if step.action == 'consume' else '-'} {step.action}",
        "queue": step.queue,
        "broker": step.broker,
        "messages": step.messages,
    }


def _show_done(command: BaseCommand, steps: list[queues.Step], news: list[str]) -> None:
    words = {"consume": "consumes", "leave": "has left"}
    for step in steps:
        if step.error:
            command.stderr.write(step.error)
        else:
            command.stdout.write(f"{step.worker} {words[step.action]} {step.queue}.")
    write_lines(command, news)


#: To be peeked at: they are held in memory, and RabbitMQ hands out each of them.
MOST_MESSAGES = 10_000
HEADER = "   {}: {}"


def add(subparsers: Subparsers) -> None:
    """Add the parsers."""
    parser = subparsers.add_parser("queues", help="look at queues on their brokers, and work on them")
    actions = add_choice(parser, "action")
    _add_list(actions)
    _add_peek(actions)
    declare = _named(actions, "declare", run_declare, "create exchanges, queues and bindings", default="all")
    for name, run, text in (
        ("delete", run_delete, "delete queues on their brokers, messages included; the registry keeps them"),
        ("purge", run_purge, "throw away the messages that wait on the broker"),
    ):
        add_yes(_named(actions, name, run, text))
    _named(actions, "pause", run_pause, "let messages wait in the outbox")
    _named(actions, "resume", run_resume, "publish again what waited in the outbox")
    add_apply(actions)
    declare.epilog = "What exists already with other arguments is an error that says what to do."


def _add_list(actions: Subparsers) -> None:
    parser = actions.add_parser("list", help="every queue of the registry, with what its broker holds")
    add_database(parser)
    add_format(parser)
    parser.set_defaults(run=run_list)


def _add_peek(actions: Subparsers) -> None:
    parser = actions.add_parser("peek", help="show messages without taking them away (Redis, RabbitMQ)")
    parser.add_argument("queue", metavar="NAME")
    parser.add_argument(
        "--limit", type=up_to(MOST_MESSAGES), default=10, metavar="N", help="default: %(default)s"
    )
    add_format(parser)
    parser.set_defaults(run=run_peek)


def _named(actions: Subparsers, name: str, run: Any, text: str, default: str = "") -> CommandParser:
    parser: CommandParser = actions.add_parser(name, help=text)
    count, help_ = ("*", f"default: {default}") if default else ("+", "")
    parser.add_argument("queues", nargs=count, metavar="NAME", help=help_)
    add_format(parser)
    parser.set_defaults(run=run)
    return parser


def run_list(command: BaseCommand, options: Options) -> None:
    """Print a line per queue, and below it what needs attention."""
    lines = queues.overview(options["database"])
    rows = [_row(line) for line in lines]
    if options["format"] == "json":
        write_json(command, [row | {"note": line.seen.note} for row, line in zip(rows, lines, strict=True)])
    else:
        if not lines:
            command.stdout.write("The registry has no queue.")
        write_rows(command, options, [*map(_bounded, rows)])
        for note, names in _notes(lines).items():
            write_lines(command, ["", f"{', '.join(names)}: {note}"])
    unseen = sorted({line.broker for line in lines if line.seen.state == "down"})
    if unseen:
        raise CommandError(f"Not every broker could be asked: {', '.join(unseen)}.")


def _row(line: queues.Line) -> dict[str, Any]:
    return {
        "queue": line.queue,
        "broker": line.broker,
        "ready": line.seen.ready,
        "consumers": line.seen.consumers,
        "waiting": line.waiting,
        "paused": line.paused,
        "default": line.default,
        "state": line.seen.state,
    }


def _bounded(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row that says of a number counted to a bound that there may be more."""
    is_more = row["waiting"] >= health.MOST_COUNTED
    return {**row, "waiting": at_most(row["waiting"], health.MOST_COUNTED)} if is_more else row


def _notes(lines: Iterable[queues.Line]) -> dict[str, list[str]]:
    """Return each note with the queues it is about."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.seen.note:
            found.setdefault(line.seen.note, []).append(line.queue)
    return found


def run_peek(command: BaseCommand, options: Options) -> None:
    """Print messages, those first that are next in turn."""
    messages = queues.peek(options["queue"], options["limit"])
    if options["format"] == "json":
        write_json(command, [asdict(message) for message in messages])
        return
    if not messages:
        command.stdout.write(f"Queue {options['queue']!r} is empty.")
    for number, message in enumerate(messages, start=1):
        command.stdout.write(f"{number}. {message.task} {message.task_id}")
        about = {"args": message.args, "kwargs": message.kwargs, "priority": message.priority}
        for name, value in (about | {"bytes": message.size} | dict(message.headers)).items():
            if value not in (None, "", [], {}):
                command.stdout.write(HEADER.format(name, shown(value)))


def run_declare(command: BaseCommand, options: Options) -> None:
    """Declare queues on their brokers."""
    _report(command, options, queues.declare(options["queues"] or None))


def run_delete(command: BaseCommand, options: Options) -> None:
    """Delete queues on their brokers, one question for each."""
    _report(command, options, queues.delete(_agreed(command, options, "Delete")))


def run_purge(command: BaseCommand, options: Options) -> None:
    """Throw away messages, one question for each queue."""
    _report(command, options, queues.purge(_agreed(command, options, "Throw away the messages of")))


def run_pause(command: BaseCommand, options: Options) -> None:
    """Stop publishing to queues."""
    _report(command, options, queues.set_paused(options["queues"], paused=True))


def run_resume(command: BaseCommand, options: Options) -> None:
    """Publish to queues again."""
    _report(command, options, queues.set_paused(options["queues"], paused=False))


def _agreed(command: BaseCommand, options: Options, verb: str) -> list[str]:
    """Return the queues that may be worked on; one that is not there, or cannot be asked, needs no question."""
    if options["yes"]:
        return list(options["queues"])
    return [
        line.queue
        for line in queues.overview("default", options["queues"])
        if line.seen.state not in ("ok", "drift")
        or agreed(command, options, f"{verb} queue {line.queue!r} {_with(line)}?")
    ]


def _with(line: queues.Line) -> str:
    consumers = line.seen.consumers
    users = "" if consumers is None else f" and {count(consumers, 'consumer')}"
    return f"with {count(line.seen.ready or 0, 'message')}{users}"


def _report(command: BaseCommand, options: Options, outcomes: Iterable[queues.Outcome]) -> None:
    """Print each outcome as it comes; fail at the end if one of them did."""
    done: list[queues.Outcome] = []
    for outcome in outcomes:
        done.append(outcome)
        if options["format"] == "text":
            _print(command, outcome)
    if options["format"] == "json":
        write_json(command, [asdict(outcome) for outcome in done])
    _fail_if_any(done)


def _print(command: BaseCommand, outcome: queues.Outcome) -> None:
    if outcome.error:
        command.stderr.write(f"{outcome.queue}: {outcome.error}")
        return
    messages = "" if outcome.messages is None else f", {count(outcome.messages, 'message')} gone"
    command.stdout.write(f"{outcome.queue}: {outcome.done}{messages}")


def _fail_if_any(outcomes: Sequence[queues.Outcome]) -> None:
    failed = [outcome.queue for outcome in outcomes if outcome.error]
    if failed:
        raise CommandError(f"{len(failed)} of {count(len(outcomes), 'queue')} failed: {', '.join(failed)}.")
