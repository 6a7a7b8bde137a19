"""One module per subcommand of ``manage.py dispatch``: arguments and printing around a call into the layers below.
The three that run until they are stopped share one, ``processes``.

Each module has ``add(subparsers)``, which adds its parser and sets ``run`` to a function of (command, options).
"""

from __future__ import annotations

from argparse import _SubParsersAction
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connections

Subparsers: TypeAlias = "_SubParsersAction[Any]"
Options: TypeAlias = dict[str, Any]
Run: TypeAlias = Callable[[BaseCommand, Options], None]

NO_TABLES = "The tables of dispatch are missing: run `manage.py migrate` first."
#: Exit codes: what the arguments are is wrong, and, as shells have it, ended by Ctrl-C and by a closed pipe.
USAGE, INTERRUPTED, CLOSED_PIPE = 2, 130, 141


def set_run(parser: CommandParser, run: Run, *formats: str) -> None:
    """Let ``run`` do what the parser's command is, and write in the format that ``--format`` asks for."""
    choices = ("text", "json", *formats)
    text = "json for machines (default: %(default)s)"
    parser.add_argument("--format", choices=choices, default="text", help=text)
    parser.set_defaults(run=run)


def add_database(
    parser: CommandParser,
    text: str = "whose outbox is worked on (default: %(default)s)",
    *,
    dest: str = "database",
    default: str | None = DEFAULT_DB_ALIAS,
) -> None:
    choices = tuple(connections)
    parser.add_argument("--database", dest=dest, default=default, choices=choices, metavar="ALIAS", help=text)


def add_choice(parser: CommandParser, dest: str, **options: Any) -> Subparsers:
    """Add the subcommands of a parser; without any of them it lists them."""
    parser.set_defaults(run=partial(_list_choices, parser, dest), needs_tables=lambda options: False)
    return parser.add_subparsers(dest=dest, metavar=dest.upper(), **options)


def _list_choices(parser: CommandParser, dest: str, command: BaseCommand, options: Options) -> None:
    for line in parser.format_help().splitlines():
        command.stderr.write(line)
    raise CommandError(f"Which {dest.upper()}? They are listed above.", returncode=USAGE)
