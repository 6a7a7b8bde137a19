"""The way to the terminal: one write is one line. Rows go out for people as aligned columns, for machines as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper

from dispatch.core.printable import json_lines, one_line
from dispatch.core.redaction import ascii_only
from dispatch.management.subcommands import CLOSED_PIPE, Options
from dispatch.management.subcommands.files import STANDARD, reason, replace_text

GAP = "  "
UNKNOWN = "?"


class Lines(OutputWrapper):
    """Standard output or error. Whatever a text holds, it stays on its line and steers no terminal."""

    def __init__(self, wrapped: OutputWrapper) -> None:
        stream: Any = wrapped._out
        super().__init__(stream, wrapped.ending)
        self.style_func = wrapped.style_func

    def write(  # type: ignore[override]
        self, msg: str = "", style_func: Any = None, ending: str | None = None
    ) -> None:
        line = one_line(str(msg))
        line = line.encode(encoding(self), "backslashreplace").decode(encoding(self))
        self._try(lambda: super(Lines, self).write(line, style_func, ending))

    def clear(self) -> None:
        """Begin anew at the top of the terminal; where there is none, with a line that parts."""
        if self.isatty():
            self._try(lambda: super(Lines, self).write("\x1b[H\x1b[J", ending=""))
        else:
            self.write("-" * 40)

    def flush(self) -> None:
        self._try(super().flush)

    def _try(self, action: Callable[[], None]) -> None:
        if self._out is None:
            return  # it was closed before Python began: what goes there is meant for nobody
        try:
            action()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """End the command: the reader of a pipe has seen enough, which is no error; all else is."""
        _discard(self._out)
        if isinstance(error, BrokenPipeError):
            raise SystemExit(CLOSED_PIPE) from None
        raise CommandError(f"Standard output cannot be written: {reason(error)}.") from None


class ErrorLines(Lines):
    """Standard error: where it cannot be written nobody can be told, and the exit code stays what it is."""

    def _give_up(self, error: OSError) -> None:
        _discard(self._out)


def _discard(stream: Any) -> None:
    """Let what is still buffered go nowhere: Python would try once more at its end, and say so."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def encoding(stream: Any) -> str:
    """Return the encoding of a stream; one that is made of text takes any."""
    return getattr(stream, "encoding", None) or "utf-8"


def write_lines(command: BaseCommand, lines: Iterable[str]) -> None:
    for line in lines:
        command.stdout.write(line)


def write_json(command: BaseCommand, rows: Any) -> None:
    write_json_text(command, json.dumps(rows, indent=2, default=str, ensure_ascii=False))


def write_json_text(command: BaseCommand, text: str) -> None:
    """Write a JSON text as it is, but for what the terminal should not, or cannot, get: JSON escapes that."""
    text = json_lines(text)
    try:
        text.encode(encoding(command.stdout))
    except UnicodeEncodeError:
        text = ascii_only(text)
    write_lines(command, text.removesuffix("\n").split("\n"))


def paragraphs(parts: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of all parts with an empty one between each two."""
    return [line for part in parts for line in ("", *part)][1:]


def write_document(command: BaseCommand, name: str | None, text: str, noun: str) -> None:
    """Write a JSON document to a file, or to standard output."""
    if name in (None, STANDARD):
        write_json_text(command, text)
        return
    replace_text(name, text)
    command.stdout.write(f"The {noun} was written to {name}.")


def add_target(parser: CommandParser) -> None:
    """Add ``FILE`` for what :func:`write_document` writes."""
    parser.add_argument("file", nargs="?", metavar="FILE", help="default, and -: standard output")


def write(command: BaseCommand, options: Options, data: Any, lines: Iterable[str]) -> None:
    """Write in the format that ``--format`` asked for: data as JSON, or lines for people."""
    if options["format"] == "json":
        write_json(command, data)
    else:
        write_lines(command, lines)


def write_rows(command: BaseCommand, options: Options, rows: Sequence[Mapping[str, Any]], empty: str) -> None:
    """Write rows as a table, or as JSON; in place of an empty table the sentence ``empty``."""
    write(command, options, rows, table(rows) if rows else [empty])


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return rows, which share their keys, as columns under capital headings, numbers to the right: a text per line."""
    names = list(rows[0])
    cells = [[shown(row[name]) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[at]) for line in cells)) for at, name in enumerate(names)]
    numeric = [all(_is_number(row[name]) for row in rows) for name in names]
    heading = _line([name.upper() for name in names], widths, numeric)
    return [heading, *(_line(line, widths, numeric) for line in cells)]


def shown(value: Any) -> str:
    """Return a value as one line of text: ``?`` for None, yes or nothing for a truth."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else ""
    return one_line(str(value))


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, numeric, strict=True)
    )
    return GAP.join(padded).rstrip()
