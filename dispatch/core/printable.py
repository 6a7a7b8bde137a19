"""Texts from elsewhere made fit for a terminal and a log, which obey the control characters in them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any


def one_line(text: str) -> str:
    """Return ``text`` on one line, every character that cannot be seen written as Python writes it.

    Those are line breaks and tabs, what steers a terminal (ESC, C1 and the like), what reorders a line (the marks of
    bidirectional text), and lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def json_lines(text: str) -> str:
    """Return a JSON text with the same meaning in which only its own line breaks cannot be seen."""
    return "\n".join(line if line.isprintable() else _escaped(line) for line in text.split("\n"))


def _escaped(line: str) -> str:
    # JSON may leave DEL and what stands beyond it unescaped; outside of its strings there is neither.
    return "".join(
        char
        if char.isprintable()
        else f"\\u{ord(char):04x}"
        if char < "\U00010000"
        else json.dumps(char)[1:-1]
        for char in line
    )


def log_fields(
    *, task_id: object = "", task_name: object = "", queue: object = "", trigger: object = ""
) -> dict[str, str]:
    """Return what a log record says of a message, as its ``extra``: always the same fields, named as Celery's are.

    A SQLite may hold what is no text.
    """
    fields = {"task_id": task_id, "task_name": task_name, "queue": queue, "trigger": trigger}
    return {name: one_line(str(value)) for name, value in fields.items()}


#: Everything in the package logs to one of these, each below ``dispatch``.
LOGGERS = (
    "admin",
    "beat",
    "client",
    "contract",
    "delivery",
    "outbox",
    "registry",
    "relay",
    "results",
    "triggers",
)


def keep_log_lines_whole() -> None:
    """Let nothing that the package logs break its line; a second call changes nothing."""
    for name in LOGGERS:
        logging.getLogger(f"dispatch.{name}").addFilter(_one_line_of)


def _one_line_of(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(map(_argument, record.args))
    elif isinstance(record.args, Mapping):
        record.args = {name: _argument(value) for name, value in record.args.items()}
    return True


def _argument(value: Any) -> Any:
    if value is None or isinstance(value, (int, float)) or (isinstance(value, str) and value.isprintable()):
        return value
    return _OneLine(value)


class _OneLine:
    """A value that is written on one line, by ``%s`` and by ``%r``."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        return one_line(str(self._value))

    def __repr__(self) -> str:
        return one_line(repr(self._value))
