"""``manage.py dispatch``: assembles the subcommands."""

from __future__ import annotations

import sys
from argparse import SUPPRESS
from contextlib import nullcontext, suppress
from typing import Any

from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    SystemCheckError,
)
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, router
from django.utils.translation import override

from dispatch import registry
from dispatch.core.printable import one_line
from dispatch.core.redaction import UNSENDABLE, redact
from dispatch.exceptions import DispatchError
from dispatch.management.subcommands import (
    INTERRUPTED,
    NO_TABLES,
    Options,
    acl,
    add_choice,
    config,
    groups,
    manifest,
    messages,
    processes,
    queues,
    routes,
    status,
    stubs,
    triggers,
    verify,
    worker_command,
)
from dispatch.management.subcommands.examples import with_examples
from dispatch.management.subcommands.output import ErrorLines, Lines
from dispatch.models import TaskDefinition

SUBCOMMANDS = (
    processes,
    status,
    messages,
    manifest,
    verify,
    stubs,
    routes,
    triggers,
    config,
    queues,
    worker_command,
    acl,
    groups,
)


class Command(BaseCommand):
    """One command with subcommands, so that a project's ``manage.py help`` gains one line."""

    help = "Relay messages to Celery, collect results, keep the registry and the worker in step."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.set_defaults(unusable=1)
        subparsers = add_choice(parser, "subcommand", parser_class=_Subparser)
        for module in SUBCOMMANDS:
            module.add(subparsers)

    def run_from_argv(self, argv: list[str]) -> None:
        """Run as a program, which Ctrl-C ends."""
        try:
            super().run_from_argv(argv)
        except KeyboardInterrupt:
            self.stderr.write("")
            self.stderr.write("Interrupted.")
            sys.exit(INTERRUPTED)
        finally:
            ErrorLines(self.stdout).flush()  # --help ends the program before anything is handled

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the subcommand. Nothing reaches the terminal but through here."""
        self.stdout, self.stderr = Lines(self.stdout), ErrorLines(self.stderr)
        _refuse_what_is_no_text(options)
        if options["needs_tables"](options) and not registry.has_tables(_database(options)):
            raise CommandError(NO_TABLES, returncode=options["unusable"])
        # They run the project's own receivers and routers, in its language; what the others print is English.
        is_process = options["subcommand"] in processes.PROCESSES
        try:
            with nullcontext() if is_process else override("en"):
                options["run"](self, options)
        finally:
            self.stdout.flush()  # before an error is told, and while what cannot be written can be told

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Check and run; what goes wrong for a known reason is one line, without a traceback."""
        try:
            return super().execute(*args, **options)
        except SystemCheckError:
            raise
        except CommandError as error:
            raise CommandError(one_line(str(error)), returncode=error.returncode) from error
        except DispatchError as error:
            raise CommandError(one_line(redact(str(error))), returncode=options["unusable"]) from error
        except (DatabaseError, InterfaceError) as error:
            raise CommandError(_told(error, _database(options)), returncode=options["unusable"]) from error


def _database(options: Options) -> str:
    return options.get("database") or router.db_for_write(TaskDefinition)


def _told(error: Exception, using: str) -> str:
    """Say that a database was not migrated, or what it says itself."""
    with suppress(DatabaseError, InterfaceError):
        if not registry.has_tables(using):
            return NO_TABLES
    what = "refuses that" if isinstance(error, (DataError, IntegrityError)) else "cannot be used"
    return f"The database {what}: {' '.join(redact(str(error)).split())}"


def _refuse_what_is_no_text(options: Options) -> None:
    """Refuse arguments that are no UTF-8: Python hands them over with lone surrogates, which no database takes."""
    for value in options.values():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and UNSENDABLE.search(text):
                raise CommandError(f"{text} is no text in UTF-8.", returncode=options["unusable"])


class _Subparser(CommandParser):
    """Takes Django's common options after the subcommand too, and shows examples."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.set_defaults(needs_tables=lambda options: True, unusable=1)
        common = self.add_argument_group("common options")
        common.add_argument("--settings", default=SUPPRESS, help=SUPPRESS)
        common.add_argument("--pythonpath", default=SUPPRESS, help=SUPPRESS)
        common.add_argument(
            "-v", "--verbosity", default=SUPPRESS, type=int, choices=(0, 1, 2, 3), help=SUPPRESS
        )
        for flag in ("--traceback", "--no-color", "--force-color", "--skip-checks"):
            common.add_argument(flag, action="store_true", default=SUPPRESS, help=SUPPRESS)

    def format_help(self) -> str:
        return with_examples(super().format_help(), self.prog)
