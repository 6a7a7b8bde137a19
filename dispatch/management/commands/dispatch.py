"""``manage.py dispatch``: assembles the subcommands."""

from __future__ import annotations

from argparse import SUPPRESS
from contextlib import suppress
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, OperationalError, ProgrammingError, router

from dispatch import registry
from dispatch.exceptions import DispatchError
from dispatch.management.subcommands import (
    NO_TABLES,
    config,
    manifest,
    queues,
    relay,
    results,
    routes,
    stubs,
    triggers,
    verify,
    worker_command,
)
from dispatch.models import TaskDefinition

SUBCOMMANDS = (relay, results, manifest, verify, stubs, routes, triggers, config, queues, worker_command)


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
        """Run the subcommand."""
        options["run"](self, options)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Check and run; what goes wrong for a known reason is printed without a traceback."""
        try:
            return super().execute(*args, **options)
        except DispatchError as error:
            raise CommandError(str(error)) from None
        except (OperationalError, ProgrammingError) as error:
            using = options.get("database") or router.db_for_write(TaskDefinition)
            if told := _told(error, using):
                raise CommandError(told) from error
            raise


def _told(error: DatabaseError, using: str) -> str:
    """Say that a database is down or was not migrated; nothing where the fault is ours."""
    with suppress(DatabaseError):
        if not registry.has_tables(using):
            return NO_TABLES
    return f"The database cannot be used: {error}" if isinstance(error, OperationalError) else ""


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
