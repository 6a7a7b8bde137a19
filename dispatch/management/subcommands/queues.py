"""``dispatch queues``: look at queues on their brokers, and work on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from typing import Any, TypeAlias

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dispatch import health, queues
from dispatch.core.sentences import at_most, count
from dispatch.management.subcommands import Options, Subparsers, add_choice, add_database, set_run
from dispatch.management.subcommands.operator_input import add_yes, agreed, up_to
from dispatch.management.subcommands.output import shown, table, write_json, write_lines, write_rows

#: What is done to the queues that are named.
Work: TypeAlias = Callable[[BaseCommand, Options], Iterable[queues.Outcome]]
#: To be peeked at: they are held in memory, and RabbitMQ hands out each of them.
MOST_MESSAGES = 10_000
HEADER = "   {}: {}"


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("queues", help="look at queues on their brokers, and work on them")
    actions = add_choice(parser, "action")
    _add_list(actions)
    _add_peek(actions)
    declare = _add_work(actions, "declare", _declare, "create exchanges, queues and bindings", default="all")
    declare.epilog = "What exists already with other arguments is an error that says what to do."
    for name, work, text in (
        ("delete", _delete, "delete queues on their brokers, messages included; the registry keeps them"),
        ("purge", _purge, "throw away the messages that wait on the broker"),
    ):
        add_yes(_add_work(actions, name, work, text))
    _add_work(actions, "pause", partial(_set_paused, paused=True), "let messages wait in the outbox")
    resume = "publish again what waited in the outbox"
    _add_work(actions, "resume", partial(_set_paused, paused=False), resume)
    _add_apply(actions)


def _add_list(actions: Subparsers) -> None:
    parser = actions.add_parser("list", help="every queue of the registry, with what its broker holds")
    add_database(parser)
    set_run(parser, run_list)


def _add_peek(actions: Subparsers) -> None:
    parser = actions.add_parser("peek", help="show messages without taking them away (Redis, RabbitMQ)")
    parser.add_argument("queue", metavar="NAME")
    parser.add_argument(
        "--limit", type=up_to(MOST_MESSAGES), default=10, metavar="N", help="default: %(default)s"
    )
    set_run(parser, run_peek)


def _add_work(actions: Subparsers, name: str, work: Work, text: str, default: str = "") -> CommandParser:
    parser: CommandParser = actions.add_parser(name, help=text)
    count, help_ = ("*", f"default: {default}") if default else ("+", "")
    parser.add_argument("queues", nargs=count, metavar="NAME", help=help_)
    set_run(parser, partial(run_work, work))
    return parser


def run_list(command: BaseCommand, options: Options) -> None:
    """Print a line per queue, and below it what needs attention."""
    lines = queues.overview(options["database"])
    rows = [_row(line) for line in lines]
    if options["format"] == "json":
        write_json(command, [row | {"note": line.seen.note} for row, line in zip(rows, lines, strict=True)])
    else:
        write_rows(command, options, [*map(_bounded, rows)], "The registry has no queue.")
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


def run_work(work: Work, command: BaseCommand, options: Options) -> None:
    """Print each outcome as it comes; fail at the end if one of them did."""
    done: list[queues.Outcome] = []
    for outcome in work(command, options):
        done.append(outcome)
        if options["format"] == "text":
            _print(command, outcome)
    if options["format"] == "json":
        write_json(command, [asdict(outcome) for outcome in done])
    if failed := [outcome.queue for outcome in done if outcome.error]:
        raise CommandError(f"{len(failed)} of {count(len(done), 'queue')} failed: {', '.join(failed)}.")


def _declare(command: BaseCommand, options: Options) -> Iterable[queues.Outcome]:
    return queues.declare(options["queues"] or None)


def _delete(command: BaseCommand, options: Options) -> Iterable[queues.Outcome]:
    return queues.delete(_agreed(command, options, "Delete"))


def _purge(command: BaseCommand, options: Options) -> Iterable[queues.Outcome]:
    return queues.purge(_agreed(command, options, "Throw away the messages of"))


def _set_paused(command: BaseCommand, options: Options, *, paused: bool) -> Iterable[queues.Outcome]:
    return queues.set_paused(options["queues"], paused=paused)


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


def _print(command: BaseCommand, outcome: queues.Outcome) -> None:
    if outcome.error:
        command.stderr.write(f"{outcome.queue}: {outcome.error}")
        return
    messages = "" if outcome.messages is None else f", {count(outcome.messages, 'message')} gone"
    command.stdout.write(f"{outcome.queue}: {outcome.done}{messages}")


def _add_apply(actions: Subparsers) -> None:
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
    set_run(parser, run_apply)


def run_apply(command: BaseCommand, options: Options) -> None:
    """Show the difference, ask, and tell the workers."""
    plan = queues.plan(options["queues"] or None, options["worker"])
    if options["format"] == "text":
        _show(command, plan)
    steps, news = plan.steps, []
    question = f"Make {count(len(steps), 'change')}?"
    told = bool(steps) and not options["dry_run"] and agreed(command, options, question)
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
