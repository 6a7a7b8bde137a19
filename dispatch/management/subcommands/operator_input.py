"""What an operator gives: files, ``-`` being standard input, and the word that a destructive command may go on."""

from __future__ import annotations

import sys
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dispatch.core import manifest
from dispatch.exceptions import InvalidManifest
from dispatch.management.subcommands import Options


def read_text(name: str, most: int = -1, *, returncode: int = 1) -> str:
    """Return what a file, or standard input, holds: its first ``most`` characters.

    Raises CommandError with ``returncode`` for what cannot be read.
    """
    try:
        if name == "-":
            return sys.stdin.read(most)
        with Path(name).open(encoding="utf-8") as file:
            return file.read(most)
    except (OSError, ValueError) as error:  # ValueError: it is no UTF-8, or the name holds NUL
        raise CommandError(f"{named(name)} cannot be read: {reason(error)}", returncode=returncode) from None


def read_manifest(name: str, *, returncode: int = 1) -> manifest.Manifest:
    """Return the manifest that a file, or standard input, holds; CommandError names the file and what is wrong."""
    try:
        return manifest.read(read_text(name, manifest.LONGEST + 1, returncode=returncode))
    except InvalidManifest as error:
        raise CommandError(f"{named(name)}: {error}", returncode=returncode) from None


def named(name: str) -> str:
    """Return the name of a file for a sentence."""
    return "standard input" if name == "-" else name


def reason(error: Exception) -> str:
    """Return what the system says, without the number and the path that Python puts around it."""
    return getattr(error, "strerror", None) or str(error)


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
