"""Destructive commands ask first."""

from __future__ import annotations

import sys

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dispatch.management.subcommands import Options


def add_yes(parser: CommandParser) -> None:
    """Add ``--yes``."""
    parser.add_argument("--yes", action="store_true", help="do it without asking")


def agreed(command: BaseCommand, options: Options, question: str) -> bool:
    """Ask on the terminal; ``--yes`` answers beforehand.

    Raises CommandError where there is neither a terminal nor ``--yes``.
    """
    if options["yes"]:
        return True
    if not sys.stdin.isatty():
        raise CommandError(f"{question} Nobody is here to answer: add --yes.")
    # not to standard output, which a program may be reading
    command.stderr.write(f"{question} [y/N] ", ending="")
    command.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
