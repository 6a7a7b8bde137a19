"""``dispatch triggers``: which triggers there are, and what one of them would send."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dispatch.core import trigger_rules
from dispatch.core.suggestions import suggest
from dispatch.management.subcommands import Options, Subparsers, add_choice, add_database, set_run
from dispatch.management.subcommands.output import paragraphs, table, write, write_rows
from dispatch.models import Trigger
from dispatch.triggers.code_triggers import CodeTrigger, declared
from dispatch.triggers.preview import Body, Candidate, Preview, candidates, destination, load, preview


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("triggers", help="show the triggers, and what one of them would send")
    actions = add_choice(parser, "action")
    set_run(actions.add_parser("list", help="list the triggers of the admin and those in code"), run_list)
    _add_preview(actions)


def _add_preview(actions: Subparsers) -> None:
    parser = actions.add_parser(
        "preview", help="say what a trigger would send for an object; nothing is sent"
    )
    parser.add_argument("trigger", metavar="TRIGGER", help="a trigger's name, as `triggers list` prints it")
    parser.add_argument("pk", metavar="PK", help="the primary key of an object of its model")
    parser.add_argument(
        "--event",
        choices=trigger_rules.EVENTS,
        metavar="EVENT",
        help=f"one of {', '.join(trigger_rules.EVENTS)}",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="as if the save had changed this; may be repeated",
    )
    parser.add_argument("--model", default="", metavar="APP.MODEL", help="where several share the name")
    parser.add_argument("--task", default="", metavar="NAME", help="where several share the name")
    add_database(
        parser, "where the object is (default: by the routers)", dest="object_database", default=None
    )
    set_run(parser, run_preview)


def run_list(command: BaseCommand, options: Options) -> None:
    stored = Trigger.objects.select_related("task", "queue").prefetch_related("conditions", "arguments")
    found = [Candidate(row.spec(), row.enabled, row) for row in stored]
    found += [Candidate(each) for each in sorted(declared.values(), key=lambda each: each.name)]
    empty = "There is no trigger: add one in the admin, or write @trigger in code."
    write_rows(command, options, [_row(each) for each in found], empty)


def run_preview(command: BaseCommand, options: Options) -> None:
    """Print whether the trigger would fire, condition by condition, and what it would send."""
    found = _choose(options)
    instance = load(found.trigger, options["pk"], options["object_database"])
    event = options["event"] or found.first_event
    answer = preview(found, instance, event, _changes(options["set"]))
    write(command, options, asdict(answer), _lines(answer))


def _choose(options: Options) -> Candidate:
    name = options["trigger"]
    found = candidates(name, options["model"], options["task"], options["event"] or "")
    if not found:
        known = [*Trigger.objects.values_list("name", flat=True), *(each.name for each in declared.values())]
        raise CommandError(
            f"There is no such trigger {name!r}{suggest(name, known)}: see manage.py dispatch triggers list."
        )
    if len(found) > 1:
        which = "; ".join(f"--model {each.trigger.model} --task {each.trigger.task}" for each in found)
        raise CommandError(f"{len(found)} triggers are named {name!r}. Add --event, or one of: {which}.")
    return found[0]


def _changes(texts: list[str]) -> dict[str, str]:
    changes = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise CommandError(f"--set {text}: write FIELD=VALUE.")
        changes[name] = value
    return changes


def _row(found: Candidate) -> dict[str, Any]:
    trigger = found.trigger
    where, problem = destination(trigger)
    return {
        "trigger": trigger.name,
        "made in": "code" if isinstance(trigger, CodeTrigger) else "admin",
        "enabled": found.enabled,
        "model": trigger.model,
        "events": ", ".join(event for event in trigger_rules.EVENTS if event in trigger.events),
        "watched": ", ".join((*trigger.watched, *trigger.relations)),
        "if": _condition(found),
        "task": trigger.task,
        "destination": (where.exchange or where.queue) if where else "",
        "problem": getattr(trigger, "problem", "") or problem,
    }


def _condition(found: Candidate) -> str:
    if found.row is not None:
        return " and ".join(map(str, found.row.conditions.all()))
    when = getattr(found.trigger, "when", None)
    return getattr(when, "__name__", "") if when else ""


def _lines(answer: Preview) -> list[str]:
    what = f"{answer.model} {answer.object_pk} was {answer.event}"
    parts = [[f"Trigger {answer.trigger!r} {'fires' if answer.fires else 'does not fire'} when {what}."]]
    parts += [[f"It would leave a dead message: {problem}"] for problem in answer.problems]
    if answer.checks:
        parts.append(table([_check(check) for check in answer.checks]))
    if answer.body:
        parts.append(_sent(answer, answer.body))
    return paragraphs([*parts, ["Nothing was sent."]])


def _check(check: Any) -> dict[str, Any]:
    return {
        "what": check.what,
        "is": check.value,
        "expected": check.expected or "-",
        "holds": "yes" if check.holds else "no",
        "hint": check.hint,
    }


def _sent(answer: Preview, body: Body) -> list[str]:
    verb = "Sends" if answer.fires else "If it fired, it would send"
    where = f"to queue {body.queue}" if body.queue else f"to {_place(answer)}"
    lines = [f"{verb} {answer.task} {where}{f', due in {body.due_in:g} s' if body.due_in else ''}:"]
    lines += [f"  {value!r}" for value in body.args]
    return lines + [f"  {name} = {value!r}" for name, value in body.kwargs.items()]


def _place(answer: Preview) -> str:
    found = answer.destination.destination
    return f"exchange {found.exchange}" if found else f"nowhere: {answer.destination.problem}"
