"""What an operator gives: a manifest, and the word that a destructive command may go on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dispatch.core import manifest
from dispatch.exceptions import InvalidManifest
from dispatch.management.subcommands import INTERRUPTED, Options
from dispatch.management.subcommands.files import named, read_text


def read_manifest(name: str, *, returncode: int = 1) -> manifest.Manifest:
    """Return the manifest that a file, or standard input, holds; CommandError names the file and what is wrong."""
    try:
        return manifest.read(read_text(name, manifest.LONGEST + 1, returncode=returncode))
    except InvalidManifest as error:
        raise CommandError(f"{named(name)}: {error}", returncode=returncode) from None


def up_to(most: int) -> Callable[[str], int]:
    """Return what reads an argument that is a whole number from 1 on."""

    def read(text: str) -> int:
        if not (text.isdecimal() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"1 to {most}")
        return int(text)

    return read


def add_yes(parser: CommandParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do it without asking")


def agreed(command: BaseCommand, options: Options, question: str) -> bool:
    """Ask on the terminal; ``--yes`` answers beforehand.

    Raises CommandError where there is neither a terminal nor ``--yes``, and for Ctrl-C.
    """
    if options["yes"]:
        return True
    if sys.stdin is None or not sys.stdin.isatty():
        raise CommandError(f"{question} Nobody is here to answer: add --yes.")
    # not to standard output, which a program may be reading
    command.stderr.write(f"{question} [y/N] ", ending="")
    command.stderr.flush()
    try:
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except UnicodeDecodeError:
        return False
    except KeyboardInterrupt:
        command.stderr.write("")
        raise CommandError("Interrupted: nothing was changed.", returncode=INTERRUPTED) from None
