"""``dispatch results``: bring results home."""

from __future__ import annotations

from django.core.management.base import BaseCommand

from dispatch.management.subcommands import (
    Options,
    Subparsers,
    add_database,
    add_metrics,
    serving_metrics,
    stopped_by_signal,
)
from dispatch.results import Collector


def add(subparsers: Subparsers) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("results", help="store results as TaskResult, until SIGTERM or Ctrl-C")
    parser.add_argument("--once", action="store_true", help="collect what has finished, then exit")
    add_metrics(parser)
    add_database(parser)
    parser.set_defaults(run=run)


def run(command: BaseCommand, options: Options) -> None:
    """Collect until told to stop."""
    collector = Collector(options["database"])
    with serving_metrics(options), stopped_by_signal(collector.stop):
        if options["once"]:
            command.stdout.write(f"{collector.drain()} results handled.")
            return
        command.stdout.write(
            f"Collecting results into database {collector.using!r}. Stop with Ctrl-C or SIGTERM."
        )
        collector.run()
    command.stdout.write("Collector stopped.")
