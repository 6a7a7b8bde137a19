"""``dispatch routes``: where tasks go and why, and the routing file of the worker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from dispatch import contract, queues, registry
from dispatch.client.kombu_topology import number_on
from dispatch.conf import conf
from dispatch.core.manifest import sealed
from dispatch.core.priority_order import PRIORITIES
from dispatch.core.routing import Destination, Target
from dispatch.exceptions import NoDestination
from dispatch.management.subcommands import Options, Subparsers, add_choice, set_run
from dispatch.management.subcommands.output import (
    add_target,
    paragraphs,
    table,
    write,
    write_document,
    write_lines,
    write_rows,
)
from dispatch.registry import priority_warnings
from dispatch.registry.routing_explanation import KEYS, Explanation, explain


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "routes", help="show where tasks go, and why; write the routing for the worker"
    )
    actions = add_choice(parser, "action")
    listing = actions.add_parser("list", help="list every registered task with its destination")
    set_run(listing, run_list)
    _add_offline(listing)
    _add_explain(actions)
    export = actions.add_parser("export", help="write routing.json, which the worker reads")
    add_target(export)
    export.set_defaults(run=run_export)


def _add_explain(actions: Subparsers) -> None:
    parser = actions.add_parser("explain", help="say where a task of this name goes, step by step")
    parser.add_argument("name", metavar="NAME", help="a task's name, registered or not")
    text = "as the caller would give it"
    for name in ("--queue", "--exchange", "--routing-key"):
        parser.add_argument(name, help=text)
    parser.add_argument("--priority", type=int, choices=PRIORITIES, metavar="0-255", help=text)
    set_run(parser, run_explain)
    _add_offline(parser)


def _add_offline(parser: CommandParser) -> None:
    parser.add_argument(
        "--offline", action="store_true", help="do not ask the brokers whether the queues are consumed"
    )


def run_list(command: BaseCommand, options: Options) -> None:
    """Print a row per registered task, and below them the queues that nobody consumes."""
    snapshot = registry.current()
    reached = {name: found.queues for name, found in snapshot.destinations().items()}
    notes = _notes({queue for queues in reached.values() for queue in queues}, options)
    rows = [
        _row(snapshot, name)
        | {"warnings": [notes[queue] for queue in reached.get(name, ()) if queue in notes]}
        for name in sorted(snapshot.tasks)
    ]
    if options["format"] == "text":
        rows = [
            {key: "-" if value is None else value for key, value in row.items() if key != "warnings"}
            for row in rows
        ]
    write_rows(command, options, rows, "No task is registered: manage.py dispatch manifest sync FILE.")
    if options["format"] == "text":
        write_lines(command, _warned(f"{queue}: {note}" for queue, note in notes.items()))


def run_explain(command: BaseCommand, options: Options) -> None:
    """Print the destination, which rule decided which key, and every step."""
    call = Target(options["queue"], options["exchange"], options["routing_key"], options["priority"])
    explanation = explain(registry.current(), options["name"], call)
    warnings = list(_warnings(explanation.destination, options)) if explanation.destination else []
    document = _document(explanation) | {"warnings": warnings}
    write(command, options, document, [*_lines(explanation), *_warned(warnings)])


def run_export(command: BaseCommand, options: Options) -> None:
    write_document(command, options["file"], sealed(contract.routing_document()), "routing")


def _warned(warnings: Iterable[str]) -> Iterator[str]:
    return (line for warning in warnings for line in ("", f"Warning: {warning}"))


def _row(snapshot: registry.Snapshot, name: str) -> dict[str, Any]:
    try:
        found = snapshot.destination(name)
    except NoDestination as error:
        return {"task": name, "broker": "", "destination": "", "priority": "", "problem": str(error)}
    retired = snapshot.tasks[name].retired
    depends = "depends on the arguments" if snapshot.reads_arguments(name) else ""
    problem = f"retired {retired}" if retired else depends
    return {
        "task": name,
        "broker": found.broker,
        "destination": _place(found),
        "priority": found.priority,
        "problem": problem,
    }


def _notes(names: Iterable[str], options: Options) -> dict[str, str]:
    """Ask the brokers, and return what needs attention, by queue; nothing with ``--offline``."""
    wanted = [] if options["offline"] else sorted(names)
    return {queue.name: seen.note for queue, seen in queues.look(wanted) if seen.note} if wanted else {}


def _warnings(destination: Destination, options: Options) -> Iterator[str]:
    snapshot = registry.current()
    for name in destination.queues:
        if destination.priority is not None:
            yield from filter(
                None, [priority_warnings.of_priority(snapshot.table.queues[name], destination.priority)]
            )
        for concern in priority_warnings.concerns(snapshot, name):
            if concern.kind == priority_warnings.MIXED:
                yield concern.text
    yield from (f"{name}: {note}" for name, note in _notes(destination.queues, options).items())


def _place(destination: Destination) -> str:
    if not destination.exchange:
        return destination.queue
    return f"{destination.exchange} ({destination.exchange_type}) {destination.routing_key}".rstrip()


def _document(explanation: Explanation) -> dict[str, Any]:
    found = explanation.destination
    return {
        "task": explanation.task,
        "broker": found.broker if found else None,
        "queue": found.queue if found else None,
        "queues": list(found.queues) if found else [],
        "exchange": found.exchange if found else None,
        "exchange_type": found.exchange_type if found else None,
        "routing_key": found.routing_key if found else None,
        "priority": found.priority if found else None,
        "broker_priority": _broker_priority(found) if found else None,
        "decided_by": explanation.decided_by,
        "steps": [asdict(step) for step in explanation.steps],
        "worker_command": _worker_commands(found) if found else [],
        "problem": explanation.problem,
    }


def _lines(explanation: Explanation) -> list[str]:
    parts = [[explanation.problem]] if explanation.problem else []
    found = explanation.destination
    if found:
        parts.append(
            [f"{explanation.task} → {_place(found)} on broker {found.broker!r}, {_priority(found)}."]
        )
    decided = [
        {"key": key, "decided by": explanation.decided_by[key]}
        for key in KEYS
        if key in explanation.decided_by
    ]
    steps = [
        {
            "step": number,
            "rule": step.rule,
            "asks for": ", ".join(f"{key}={value}" for key, value in step.asks.items()) or "-",
            "outcome": step.outcome,
        }
        for number, step in enumerate(explanation.steps, 1)
    ]
    parts += [table(rows) for rows in (decided, steps) if rows]
    if found and (commands := _worker_commands(found)):
        parts.append(["Consumed by:", *commands])
    return paragraphs(parts)


def _priority(destination: Destination) -> str:
    if destination.priority is None:
        return "without a priority"
    return f"priority {destination.priority} (as the broker sees it: {_broker_priority(destination)})"


def _broker_priority(destination: Destination) -> int | None:
    broker = conf.brokers.get(destination.broker)
    return number_on(broker, destination.priority) if broker else None


def _worker_commands(destination: Destination) -> list[str]:
    return [launch.command for launch in queues.launches_for(destination)]
