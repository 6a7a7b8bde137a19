"""``dispatch stubs``: the tasks as a module of typed functions."""

from __future__ import annotations

import difflib
from itertools import islice

from django.core.management.base import BaseCommand, CommandError

from dispatch.contract.typed_stubs import module, registered
from dispatch.management.subcommands import Options, Subparsers
from dispatch.management.subcommands.files import STANDARD, exists, named, read_text, replace_text
from dispatch.management.subcommands.operator_input import read_manifest
from dispatch.management.subcommands.output import write_lines

MOST_LINES = 60
MOST_CHARACTERS = 16 * 1024 * 1024  # of a file that is there; a module of 10,000 tasks is shorter


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("stubs", help="write the tasks as a module of typed functions")
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="a .py file; - for standard output"
    )
    parser.add_argument(
        "--manifest",
        metavar="FILE",
        help="take the tasks from this manifest instead of the registry; - for standard input",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail unless FILE is what would be written"
    )
    parser.set_defaults(run=run, needs_tables=lambda options: options["manifest"] is None)


def run(command: BaseCommand, options: Options) -> None:
    """Write the module, or say in what the file differs from it."""
    text, name = _module(options["manifest"]), options["output"]
    if name == STANDARD:
        if options["check"]:
            raise CommandError("--check compares a file: give its name with -o.")
        write_lines(command, text.removesuffix("\n").split("\n"))
        return
    found = read_text(name, MOST_CHARACTERS) if exists(name) else None
    if found == text:
        command.stdout.write(f"{name} is as it should be.")
    elif options["check"]:
        _tell_difference(command, found, text, options)
    else:
        replace_text(name, text)
        command.stdout.write(f"{name} was written.")


def _module(source: str | None) -> str:
    offers = registered() if source is None else read_manifest(source).tasks
    if not offers:
        where = (
            "registered: manage.py dispatch manifest sync FILE" if source is None else f"in {named(source)}"
        )
        raise CommandError(f"No task is {where}.")
    return module(offers)


def _tell_difference(command: BaseCommand, found: str | None, text: str, options: Options) -> None:
    name, source = options["output"], options["manifest"]
    remedy = f"manage.py dispatch stubs -o {name}{f' --manifest {source}' if source else ''}"
    if found is None:
        raise CommandError(f"{name} does not exist. Write it: {remedy}")
    write_lines(command, _difference(found, text, name))
    raise CommandError(
        f"{name} is not what the worker offers. Write it anew, then let mypy look at your calls: {remedy}"
    )


def _difference(found: str, text: str, name: str) -> list[str]:
    lines = difflib.unified_diff(
        found.splitlines(), text.splitlines(), name, f"{name} (as it should be)", n=1, lineterm=""
    )
    shown = list(islice(lines, MOST_LINES))
    more = sum(1 for _ in lines)
    return [*shown, f"… and {more} lines more"] if more else shown
