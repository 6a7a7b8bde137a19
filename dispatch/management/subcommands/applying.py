"""``dispatch queues apply``: make running workers consume what the registry has."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dispatch import queues
from dispatch.management.subcommands import Options, Subparsers
from dispatch.management.subcommands.asking import add_yes, agreed
from dispatch.management.subcommands.tables import add_format, shown, table, write_json


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
        command.stdout.write(table([_row(step) for step in plan.steps]))
    elif not plan.problems:
        command.stdout.write("Nothing to do: the running workers consume what the registry has.")
    for text in plan.notes:
        command.stdout.write(shown(text))
    for text in plan.problems:
        command.stderr.write(shown(text))


def _row(step: queues.Step) -> dict[str, Any]:
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
            command.stderr.write(shown(step.error))
        else:
            command.stdout.write(f"{step.worker} {words[step.action]} {step.queue}.")
    for text in news:
        command.stdout.write(shown(text))
