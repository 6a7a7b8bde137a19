"""Rows for people as aligned columns, for machines as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from dispatch.management.subcommands import Options

GAP = "  "
UNKNOWN = "?"


def add_format(parser: CommandParser) -> None:
    """Add ``--format text|json``."""
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="json for machines (default: %(default)s)"
    )


def write_json(command: BaseCommand, rows: Any) -> None:
    """Write data as indented JSON."""
    command.stdout.write(json.dumps(rows, indent=2, default=str, ensure_ascii=False))


def write_rows(command: BaseCommand, options: Options, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows in the format that ``--format`` asked for; nothing is written of an empty table."""
    if options["format"] == "json":
        write_json(command, rows)
    elif rows:
        command.stdout.write(table(rows))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows, which share their keys, as columns under capital headings, numbers to the right."""
    names = list(rows[0])
    cells = [[shown(row[name]) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[at]) for line in cells)) for at, name in enumerate(names)]
    numeric = [all(_is_number(row[name]) for row in rows) for name in names]
    heading = _line([name.upper() for name in names], widths, numeric)
    return "\n".join([heading, *(_line(line, widths, numeric) for line in cells)])


def shown(value: Any) -> str:
    """Return a value as one line of text: ``?`` for None, yes or nothing for a truth, no control characters."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else ""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(value))


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, numeric, strict=True)
    )
    return GAP.join(padded).rstrip()
