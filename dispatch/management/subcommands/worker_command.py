"""``dispatch worker-command``: how to start workers for the queues of the registry."""

from __future__ import annotations

from dataclasses import asdict

from django.core.management.base import BaseCommand

from dispatch import queues
from dispatch.management.subcommands import Options, Subparsers
from dispatch.management.subcommands.output import add_format, write_json, write_lines


def add(subparsers: Subparsers) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("worker-command", help="print the commands that start workers")
    parser.add_argument("queues", nargs="*", metavar="QUEUE", help="default: all of the registry")
    parser.add_argument(
        "--app", metavar="MODULE", help="for `celery -A` (default: the imported manifest's worker)"
    )
    add_format(parser)
    parser.set_defaults(run=run)


def run(command: BaseCommand, options: Options) -> None:
    """Print one command per broker, each ready to be pasted into a shell."""
    found = queues.launches(options["queues"] or None, options["app"])
    if options["format"] == "json":
        write_json(command, [asdict(launch) for launch in found])
        return
    if not found:
        command.stdout.write("# The registry has no queue.")
    for launch in found:
        write_lines(command, [f"# broker {launch.broker!r}", launch.command])
