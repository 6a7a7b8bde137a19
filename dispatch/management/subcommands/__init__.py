"""One module per subcommand of ``manage.py dispatch``: arguments and printing around a call into the layers below.

Each module has ``add(subparsers)``, which adds its parser and sets ``run`` to a function of (command, options).
"""

from __future__ import annotations

import signal
import threading
from argparse import _SubParsersAction
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeAlias

from django.core.management.base import CommandParser
from django.db import DEFAULT_DB_ALIAS, connections

Subparsers: TypeAlias = "_SubParsersAction[Any]"
Options: TypeAlias = dict[str, Any]

NO_TABLES = "The tables of dispatch are missing: run `manage.py migrate` first."


def add_database(parser: CommandParser) -> None:
    """Add ``--database ALIAS``."""
    parser.add_argument(
        "--database",
        default=DEFAULT_DB_ALIAS,
        choices=tuple(connections),
        metavar="ALIAS",
        help="whose outbox is worked on (default: %(default)s)",
    )


@contextmanager
def stopped_by_signal(stop: threading.Event) -> Iterator[None]:
    """Set ``stop`` on SIGTERM and SIGINT inside the block: work in hand is finished first."""

    def handler(number: int, frame: FrameType | None) -> None:
        stop.set()

    previous = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
