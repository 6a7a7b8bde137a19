"""The files that an operator names: regular ones only, ``-`` being standard input or output.

A pipe would wait for somebody at its other end, a device has no end, and a file that is replaced whole must be one.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from django.core.management.base import CommandError

STANDARD = "-"


def read_text(name: str, most: int, *, returncode: int = 1) -> str:
    """Return what a regular file, or standard input, holds: its first ``most`` characters.

    Raises CommandError with ``returncode`` for what cannot be read.
    """
    try:
        if name == STANDARD:
            return _standard_input(most)
        _is_regular(name)
        with Path(name).open(encoding="utf-8", newline="") as file:
            return file.read(most)
    except (OSError, ValueError) as error:  # ValueError: it is no UTF-8, or the name holds NUL
        raise CommandError(f"{named(name)} cannot be read: {reason(error)}.", returncode=returncode) from None


def replace_text(name: str, text: str) -> None:
    """Write a file whole or not at all; it keeps its permissions, and a link to it stays a link.

    Raises CommandError for what cannot be written.
    """
    try:
        is_there = _is_regular(name)
        path = Path(os.path.realpath(name))
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".dispatch-") as folder:
            written = Path(folder) / path.name
            written.write_text(text, encoding="utf-8", newline="\n")
            if is_there:
                shutil.copymode(path, written)
            written.replace(path)
    except (OSError, ValueError) as error:
        raise CommandError(f"{named(name)} cannot be written: {reason(error)}.") from None


def exists(name: str) -> bool:
    """Tell whether there is a file of this name.

    Raises CommandError where there is something else.
    """
    try:
        return _is_regular(name)
    except (OSError, ValueError) as error:
        raise CommandError(f"{named(name)} cannot be used: {reason(error)}.") from None


def _is_regular(name: str) -> bool:
    """Tell whether there is a file; raise OSError where there is something else."""
    try:
        mode = Path(name).stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError("it is a directory")
    if not stat.S_ISREG(mode):
        raise OSError("it is no regular file. For a pipe or a device write -, and redirect")
    return True


def named(name: str) -> str:
    """Return the name of a file for a sentence."""
    return "standard input" if name == STANDARD else name or "''"


def reason(error: Exception) -> str:
    """Return what the system says, without the number and the path that Python puts around it."""
    return getattr(error, "strerror", None) or str(error)


def _standard_input(most: int) -> str:
    if sys.stdin is None:
        raise OSError("it is closed")
    return sys.stdin.read(most)
