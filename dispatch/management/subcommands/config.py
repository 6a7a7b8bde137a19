"""``dispatch config``: the whole configuration as one document, out of the registry and into it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from types import MappingProxyType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import router

from dispatch.client import celery_import
from dispatch.conf import DEFAULT_BROKER, conf
from dispatch.configuration import apply, document
from dispatch.configuration.diff import Change, Changes
from dispatch.exceptions import InvalidConfiguration
from dispatch.management.subcommands import Options, Run, Subparsers, add_choice, set_run
from dispatch.management.subcommands.files import named, read_text
from dispatch.management.subcommands.operator_input import add_yes, agreed
from dispatch.management.subcommands.output import add_target, write_document, write_json, write_lines
from dispatch.models import Queue

REMARKS = {"left_out": "left out", "notes": "note"}


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("config", help="export the configuration, or import one")
    actions = add_choice(parser, "action")
    export = actions.add_parser("export", help="write exchanges, queues, routes, tasks and triggers as JSON")
    add_target(export)
    export.set_defaults(run=run_export)
    import_ = actions.add_parser("import", help="bring a document into the registry, all or nothing")
    import_.add_argument("file", metavar="FILE", help="as written by `config export`; - for standard input")
    import_.add_argument("--prune", action="store_true", help="delete the rows that are not in FILE")
    _add_common(import_, run_import)
    celery = actions.add_parser("import-celery", help="bring the routing of a Celery app")
    celery.add_argument("app", metavar="MODULE:APP", help="as for `celery -A`, for example proj.celery:app")
    celery.add_argument(
        "--broker",
        default=DEFAULT_BROKER,
        metavar="ALIAS",
        help="whose queues they are (default: %(default)s)",
    )
    _add_common(celery, run_import_celery)


def run_export(command: BaseCommand, options: Options) -> None:
    write_document(command, options["file"], document.export(_database()), "configuration")


def run_import(command: BaseCommand, options: Options) -> None:
    """Show what a file changes, ask, and change it."""
    name = options["file"]
    with _every_problem_told(command, named(name)):
        wanted = document.read(read_text(name, document.LONGEST + 1))
        _bring(command, options, wanted, prune=options["prune"])


@contextmanager
def _every_problem_told(command: BaseCommand, source: str) -> Iterator[None]:
    try:
        yield
    except InvalidConfiguration as error:
        if len(error.problems) == 1:
            raise CommandError(f"{source}: {error}") from None
        for problem in error.problems:
            command.stderr.write(problem)
        raise CommandError(f"{source}: {len(error.problems)} problems. Nothing was changed.") from None


def run_import_celery(command: BaseCommand, options: Options) -> None:
    """Show what a Celery app's settings change, and what they hold beyond that; ask, and change it."""
    broker = conf.brokers.get(options["broker"])
    if broker is None:
        known = ", ".join(sorted(conf.brokers))
        raise CommandError(f"No broker {options['broker']!r} in the settings: choose one of {known}.")
    with redirect_stdout(sys.stderr):  # what a module prints must not end up in a document
        found = celery_import.read(options["app"], broker)
    with _every_problem_told(command, options["app"]):
        wanted = document.parse(found.document).as_some("tasks")  # those that route themselves
        usable, problems = apply.usable(wanted, _database())
        refused = [f"{problem.label}: {problem.reason}" for problem in problems]
        remarks = {"left_out": [*found.left_out, *refused], "notes": list(found.notes)}
        _bring(command, options, usable, prune=False, remarks=remarks, source="the Celery app")


def _bring(
    command: BaseCommand,
    options: Options,
    wanted: document.Document,
    *,
    prune: bool,
    remarks: Mapping[str, list[str]] = MappingProxyType({}),
    source: str = "the file",
) -> None:
    using = _database()
    changes = apply.preview(wanted, using, prune=prune)
    if options["format"] == "text":
        _print(command, changes, remarks, source)
    is_wanted = bool(changes) and not options["dry_run"]
    applied = is_wanted and agreed(command, options, "Apply these changes?")
    if applied:
        apply.apply(wanted, using, prune=prune, expected=changes)
    if options["format"] == "json":
        write_json(command, {**changes.as_json(), **remarks, "applied": applied})
    elif changes:
        command.stdout.write("Done." if applied else "Nothing was changed.")


def _print(command: BaseCommand, changes: Changes, remarks: Mapping[str, list[str]], source: str) -> None:
    for word, rows in (("added", changes.added), ("changed", changes.changed), ("deleted", changes.deleted)):
        for change in rows:
            command.stdout.write(f"{word:>8}  {change.label}")
            write_lines(command, (f"            {line}" for line in _columns(change, is_new=word == "added")))
    for change in changes.kept:
        command.stdout.write(f"{'kept':>8}  {change.label}, which is not in {source}")
    for word in ("left_out", "notes"):
        for sentence in remarks.get(word, ()):
            command.stdout.write(f"{REMARKS[word]:>8}  {sentence}")
    command.stdout.write(_summary(changes, remarks))


def _columns(change: Change, *, is_new: bool) -> Iterator[str]:
    """Yield a line for each column; of a new row those that are not as in every new row."""
    defaults = change.section.defaults() if is_new else {}
    for name, (before, after) in change.columns.items():
        if not is_new:
            yield f"{name}: {_shown(before)} → {_shown(after)}"
        elif name not in change.section.key_columns and defaults[name] != after:
            yield f"{name}: {_shown(after)}"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value if isinstance(value, str) and value else document.as_line(value)
    return text if len(text) <= 200 else f"{text[:199]}…"


def _summary(changes: Changes, remarks: Mapping[str, list[str]]) -> str:
    kept = f", {len(changes.kept)} kept" if changes.kept else ""
    left_out = f", {len(remarks['left_out'])} left out" if remarks.get("left_out") else ""
    if not changes:
        return f"Nothing to change: {changes.unchanged} rows are as they should be{kept}{left_out}."
    return (
        f"{len(changes.added)} to add, {len(changes.changed)} to change, {len(changes.deleted)} to delete, "
        f"{changes.unchanged} as they should be{kept}{left_out}."
    )


def _add_common(parser: CommandParser, run: Run) -> None:
    parser.add_argument("--dry-run", action="store_true", help="show what would change, change nothing")
    add_yes(parser)
    set_run(parser, run)


def _database() -> str:
    return router.db_for_write(Queue)
