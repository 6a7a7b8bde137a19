"""``dispatch groups``: two ready groups of users."""

from __future__ import annotations

from dataclasses import asdict

from django.core.management.base import BaseCommand

from dispatch import permission_groups
from dispatch.core.sentences import count
from dispatch.management.subcommands import Options, Subparsers
from dispatch.management.subcommands.output import add_format, write_json
from dispatch.permission_groups import Made


def add(subparsers: Subparsers) -> None:
    """Add the parser."""
    parser = subparsers.add_parser(
        "groups", help="make the groups of users 'dispatch viewers' and 'dispatch operators'"
    )
    add_format(parser)
    parser.set_defaults(run=run)


def run(command: BaseCommand, options: Options) -> None:
    """Make the groups, and tell what they got."""
    made = permission_groups.make()
    if options["format"] == "json":
        write_json(command, list(map(asdict, made)))
    else:
        for each in made:
            command.stdout.write(_line(each))


def _line(made: Made) -> str:
    if not made.added:
        return f"{made.group}: has all its permissions."
    names = ", ".join(made.added)
    return f"{made.group}: {'made with' if made.is_new else 'given'} {count(len(made.added), 'permission')}: {names}."
