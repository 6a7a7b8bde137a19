"""``dispatch manifest``: what the workers offer, into the registry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dispatch import contract, registry
from dispatch.contract.manifest_diff import TaskChange
from dispatch.core import manifest
from dispatch.core.sentences import enumerated
from dispatch.core.suggestions import suggest
from dispatch.management.subcommands import Options, Subparsers, add_choice, set_run
from dispatch.management.subcommands.operator_input import read_manifest
from dispatch.management.subcommands.output import write, write_json, write_lines
from dispatch.models import Manifest
from dispatch.triggers.code_triggers import declared

#: How many missing tasks are looked up among the added ones: for a thousand it would take minutes.
MOST_SUGGESTIONS = 50


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("manifest", help="import a worker manifest, or show what was imported")
    actions = add_choice(parser, "action")
    _add_sync(actions)
    show = actions.add_parser("show", help="list the imported manifests, or write the contract as AsyncAPI 3")
    set_run(show, run_show, "asyncapi")


def _add_sync(actions: Subparsers) -> None:
    parser = actions.add_parser("sync", help="write what a manifest says of its tasks into the registry")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="as written by `celery -A worker manifest`; - for standard input",
    )
    source.add_argument("--live", action="store_true", help="ask the workers that run now")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, change nothing")
    parser.add_argument(
        "--refuse-breaking",
        action="store_true",
        help="change nothing and exit with 1 if something could no longer be sent",
    )
    parser.add_argument(
        "--own-queues",
        action="store_true",
        help="send tasks to the queues that the worker's code sets on them, where their definitions name none",
    )
    set_run(parser, run_sync)


def run_sync(command: BaseCommand, options: Options) -> None:
    """Import manifests, and tell what changed and what that breaks."""
    refused = []
    told = []
    for document in _documents(options):
        result = contract.sync(
            document,
            dry_run=options["dry_run"],
            refuse_breaking=options["refuse_breaking"],
            code=[(trigger.name, trigger.task) for trigger in declared.values()],
            own_queues=options["own_queues"],
        )
        told.append(_as_json(result))
        if options["format"] == "text":
            write_lines(command, _lines(result, options))
        if options["refuse_breaking"] and result.difference.breaking:
            refused.append(document.worker)
    if options["format"] == "json":
        write_json(command, told)
    if refused:
        raise CommandError(
            f"Breaking changes of {', '.join(refused)} were refused: nothing of it was changed."
        )


def run_show(command: BaseCommand, options: Options) -> None:
    """Print the imported manifests, newest first, or what this service sends as an AsyncAPI document."""
    if options["format"] == "asyncapi":
        write_json(command, contract.asyncapi_document())
        return
    rows = list(Manifest.objects.values("worker", "version", "checksum", "imported_at", "queues", "offers"))
    lines = [
        f"{row['imported_at']:%Y-%m-%d %H:%M}  {row['worker']} {row['version']}  {row['checksum']}"
        for row in rows
    ]
    empty = "No manifest was imported: manage.py dispatch manifest sync FILE."
    write(command, options, rows, lines or [empty])


def _documents(options: Options) -> list[manifest.Manifest]:
    if options["live"]:
        return contract.ask_running(registry.current().table)
    return [read_manifest(options["file"])]


def _lines(result: contract.Synced, options: Options) -> Iterator[str]:
    found = result.difference
    yield from (f" warning  {text}" for text in found.warnings)
    yield from (f"   added  {name}" for name in found.added)
    yield from _tasks("changed", found.changed)
    yield from _tasks("returned", found.returned)
    for place, name in enumerate(found.missing):
        close = suggest(name, found.added, most=1) if place < MOST_SUGGESTIONS else ""
        yield f" missing  {name}{close}"
    for effect in result.effects:
        yield f"  breaks  {_subject(effect)} {effect.sentence}"
        yield from (f"            {example}" for example in effect.examples)
    yield from _own_queues(result, is_wanted=options["own_queues"])
    yield _summary(result, applied=not options["dry_run"])


def _own_queues(result: contract.Synced, *, is_wanted: bool) -> Iterator[str]:
    """Yield a line for each task that is sent where the worker's code says, or one for all that are not."""
    if is_wanted:
        for own in result.own_queues:
            problem = f", but not here: {own.problem}" if own.problem else ""
            yield f"   queue  {own.task} goes to {own.place}, as its code says{problem}"
    elif result.own_queues:
        told = enumerated(f"{own.task} ({own.place})" for own in result.own_queues)
        yield (
            f" warning  The worker's code sends these to queues of their own, and the registry does not: {told}. Add "
            f"--own-queues to bring them, or choose a queue on the definition."
        )


def _tasks(word: str, tasks: tuple[TaskChange, ...]) -> Iterator[str]:
    for task in tasks:
        yield f"{word:>8}  {task.name}"
        for change in task.changes:
            yield f"            {'BREAKING  ' if change.breaking else ''}{change}"


def _subject(effect: Any) -> str:
    if effect.kind == "messages":
        return "messages:"
    label = {"trigger": "trigger", "code": "@trigger", "route": "route"}[effect.kind]
    task = f", which sends {effect.task}," if effect.task else ""
    return f"{label} {effect.subject!r}{task}"


def _summary(result: contract.Synced, *, applied: bool) -> str:
    found = result.difference
    one = len(found.added) == 1
    verb = ("was" if one else "were") if applied and result.applied else "would be"
    returned = f", {len(found.returned)} offered again" if found.returned else ""
    return (
        f"{found.worker} {found.version}: {len(found.added)} {'task' if one else 'tasks'} {verb} added, "
        f"{len(found.changed)} changed{returned}, {len(found.missing)} retired; {len(found.unchanged)} are as before."
    )


def _as_json(result: contract.Synced) -> dict[str, Any]:
    found = result.difference
    return {
        "worker": found.worker,
        "version": found.version,
        "applied": result.applied,
        "breaking": found.breaking,
        **found.document(),
        "unchanged": found.unchanged,
        "warnings": found.warnings,
        "breaks": [asdict(effect) for effect in result.effects],
        "own_queues": [asdict(own) for own in result.own_queues],
    }
