"""``manage.py dispatch``: assembles the subcommands."""

from __future__ import annotations

from argparse import SUPPRESS
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dispatch.exceptions import DispatchError
from dispatch.management.subcommands import config, manifest, queues, relay, results, routes, worker_command

SUBCOMMANDS = (relay, results, manifest, routes, config, queues, worker_command)


class Command(BaseCommand):
    """One command with subcommands, so that a project's ``manage.py help`` gains one line."""

    help = "Relay messages to Celery, collect results, keep the registry and the worker in step."

    def add_arguments(self, parser: CommandParser) -> None:
        """Let each module add its parser."""
        subparsers = parser.add_subparsers(
            dest="subcommand", required=True, metavar="SUBCOMMAND", parser_class=_Subparser
        )
        for module in SUBCOMMANDS:
            module.add(subparsers)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the subcommand; what dispatch raises on purpose is printed without a traceback."""
        try:
            options["run"](self, options)
        except DispatchError as error:
            raise CommandError(str(error)) from None


class _Subparser(CommandParser):
    """Takes Django's common options after the subcommand too."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        common = self.add_argument_group("common options")
        common.add_argument("--settings", default=SUPPRESS, help=SUPPRESS)
        common.add_argument("--pythonpath", default=SUPPRESS, help=SUPPRESS)
        common.add_argument(
            "-v", "--verbosity", default=SUPPRESS, type=int, choices=(0, 1, 2, 3), help=SUPPRESS
        )
        for flag in ("--traceback", "--no-color", "--force-color", "--skip-checks"):
            common.add_argument(flag, action="store_true", default=SUPPRESS, help=SUPPRESS)
