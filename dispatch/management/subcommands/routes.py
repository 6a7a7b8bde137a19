"""``dispatch routes``: the routing, for the worker."""

from __future__ import annotations

from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from dispatch import contract
from dispatch.core.manifest import sealed
from dispatch.management.subcommands import Options, Subparsers


def add(subparsers: Subparsers) -> None:
    """Add the parsers."""
    parser = subparsers.add_parser("routes", help="write the routing for the worker")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    export = actions.add_parser("export", help="write routing.json, which the worker reads")
    export.add_argument("file", nargs="?", metavar="FILE", help="default: standard output")
    export.set_defaults(run=run_export)


def run_export(command: BaseCommand, options: Options) -> None:
    """Write the routing document to a file or to standard output."""
    text = sealed(contract.routing_document())
    if not options["file"]:
        command.stdout.write(text, ending="")
        return
    try:
        Path(options["file"]).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{options['file']} cannot be written: {error}") from None
    command.stdout.write(f"The routing was written to {options['file']}.")
