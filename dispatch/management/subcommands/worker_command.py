"""``dispatch worker-command``: how to start workers for the queues of the registry."""

from __future__ import annotations

from dataclasses import asdict

from django.core.management.base import BaseCommand

from dispatch import queues
from dispatch.management.subcommands import Options, Subparsers, set_run
from dispatch.management.subcommands.output import write


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("worker-command", help="print the commands that start workers")
    parser.add_argument("queues", nargs="*", metavar="QUEUE", help="default: all of the registry")
    parser.add_argument(
        "--app", metavar="MODULE", help="for `celery -A` (default: the imported manifest's worker)"
    )
    set_run(parser, run)


def run(command: BaseCommand, options: Options) -> None:
    """Print one command per broker, each ready to be pasted into a shell."""
    found = queues.launches(options["queues"] or None, options["app"])
    lines = [line for launch in found for line in (f"# broker {launch.broker!r}", launch.command)]
    write(command, options, [asdict(launch) for launch in found], lines or ["# The registry has no queue."])
