"""One module per subcommand of ``manage.py dispatch``: arguments and printing around a call into the layers below.

Each module has ``add(subparsers)``, which adds its parser and sets ``run`` to a function of (command, options).
"""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentTypeError, _SubParsersAction
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import FrameType
from typing import Any, TypeAlias

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connections

Subparsers: TypeAlias = "_SubParsersAction[Any]"
Options: TypeAlias = dict[str, Any]

NO_TABLES = "The tables of dispatch are missing: run `manage.py migrate` first."
#: Exit codes: what the arguments are is wrong, and, as shells have it, ended by Ctrl-C and by a closed pipe.
USAGE, INTERRUPTED, CLOSED_PIPE = 2, 130, 141


def add_database(
    parser: CommandParser,
    text: str = "whose outbox is worked on (default: %(default)s)",
    *,
    dest: str = "database",
    default: str | None = DEFAULT_DB_ALIAS,
) -> None:
    """Add ``--database ALIAS``."""
    choices = tuple(connections)
    parser.add_argument("--database", dest=dest, default=default, choices=choices, metavar="ALIAS", help=text)


def add_metrics(parser: CommandParser) -> None:
    """Add ``--metrics [ADDRESS:]PORT``."""
    parser.add_argument(
        "--metrics",
        type=_address,
        metavar="[ADDRESS:]PORT",
        help="serve metrics for Prometheus, to this machine alone unless an address is given, such as 0.0.0.0",
    )


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and int(port) < 65_536):
        raise ArgumentTypeError(f"{text!r} is no port, nor an address and a port such as 0.0.0.0:9464.")
    return host.strip("[]") or "127.0.0.1", int(port)


@contextmanager
def serving_metrics(options: Options) -> Iterator[None]:
    """Serve metrics inside the block, if ``--metrics`` asks for them."""
    if options["metrics"] is None:
        yield
        return
    try:
        from dispatch.metrics import serve  # with prometheus-client, which others need not have
    except ImportError as error:
        remedy = "pip install 'django-celery-dispatch[prometheus]'"
        raise CommandError(f"--metrics needs prometheus-client ({error}): {remedy}") from None
    host, port = options["metrics"]
    with ExitStack() as stack:
        try:
            stack.enter_context(serve(host, port, options["database"]))
        except (OSError, OverflowError) as error:
            raise CommandError(f"Metrics cannot be served at {host}:{port}: {error}") from None
        yield


def add_choice(parser: CommandParser, dest: str, **options: Any) -> Subparsers:
    """Add the subcommands of a parser; without any of them it lists them."""
    parser.set_defaults(run=partial(_list_choices, parser, dest), needs_tables=_never)
    return parser.add_subparsers(dest=dest, metavar=dest.upper(), **options)


def _list_choices(parser: CommandParser, dest: str, command: BaseCommand, options: Options) -> None:
    for line in parser.format_help().splitlines():
        command.stderr.write(line)
    raise CommandError(f"Which {dest.upper()}? They are listed above.", returncode=USAGE)


def _never(options: Options) -> bool:
    return False


@contextmanager
def stopped_by_signal(*stops: threading.Event) -> Iterator[None]:
    """Set each of ``stops`` on SIGTERM and SIGINT inside the block: work in hand is finished first."""

    def handler(number: int, frame: FrameType | None) -> None:
        for stop in stops:
            stop.set()

    previous = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
