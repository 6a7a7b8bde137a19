"""``dispatch stubs``: the tasks as a module of typed functions."""

from __future__ import annotations

import difflib
import shutil
import tempfile
from itertools import islice
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from dispatch.contract.typed_stubs import module, offered, registered
from dispatch.management.subcommands import Options, Subparsers
from dispatch.management.subcommands.operator_input import named, read_manifest, reason

MOST_LINES = 60


def add(subparsers: Subparsers) -> None:
    """Add the parser."""
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
    parser.set_defaults(run=run)


def run(command: BaseCommand, options: Options) -> None:
    """Write the module, or say in what the file differs from it."""
    text, name = _module(options["manifest"]), options["output"]
    if name == "-" and options["check"]:
        raise CommandError("--check compares a file: give its name with -o.")
    if name == "-":
        command.stdout.write(text, ending="")
    elif options["check"]:
        _check(command, text, name, options["manifest"])
    else:
        _write(command, text, Path(name))


def _module(source: str | None) -> str:
    offers = registered() if source is None else offered(read_manifest(source))
    if not offers:
        where = (
            "registered: manage.py dispatch manifest sync FILE" if source is None else f"in {named(source)}"
        )
        raise CommandError(f"No task is {where}.")
    return module(offers)


def _check(command: BaseCommand, text: str, name: str, source: str | None) -> None:
    found = _read(Path(name))
    if found == text:
        command.stdout.write(f"{name} is as it should be.")
        return
    remedy = f"manage.py dispatch stubs -o {name}{f' --manifest {source}' if source else ''}"
    if found is None:
        raise CommandError(f"{name} does not exist. Write it: {remedy}")
    for line in _difference(found, text, name):
        command.stdout.write(line)
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


def _write(command: BaseCommand, text: str, path: Path) -> None:
    if _read(path) == text:
        command.stdout.write(f"{path} is as it should be.")
        return
    try:
        _replace(path, text)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {reason(error)}") from None
    command.stdout.write(f"{path} was written.")


def _replace(path: Path, text: str) -> None:
    """Write the file whole or not at all; it keeps its permissions, and a link to it stays a link."""
    path = path.resolve()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".stubs-") as folder:
        written = Path(folder) / path.name
        written.write_text(text, encoding="utf-8", newline="\n")
        if path.exists():
            shutil.copymode(path, written)
        written.replace(path)


def _read(path: Path) -> str | None:
    """Return what the file holds, None where there is none."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read: {reason(error)}") from None
