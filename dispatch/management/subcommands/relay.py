"""``dispatch relay``: publish the outbox."""

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
from dispatch.relay import Relay


def add(subparsers: Subparsers) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("relay", help="publish the outbox, until SIGTERM or Ctrl-C")
    parser.add_argument("--once", action="store_true", help="publish what is due now, then exit")
    add_metrics(parser)
    add_database(parser)
    parser.set_defaults(run=run)


def run(command: BaseCommand, options: Options) -> None:
    """Relay until told to stop."""
    relay = Relay(options["database"])
    with serving_metrics(options), stopped_by_signal(relay.stop):
        if options["once"]:
            command.stdout.write(f"{relay.drain()} messages published.")
            return
        command.stdout.write(f"Relaying the outbox of database {relay.using!r}. Stop with Ctrl-C or SIGTERM.")
        relay.run()
    command.stdout.write("Relay stopped; what it had claimed is published or released.")
