"""``dispatch groups``: two ready groups of users."""

from __future__ import annotations

from dataclasses import asdict

from django.core.management.base import BaseCommand

from dispatch import permission_groups
from dispatch.core.sentences import count
from dispatch.management.subcommands import Options, Subparsers, set_run
from dispatch.management.subcommands.output import write
from dispatch.permission_groups import Made


def add(subparsers: Subparsers) -> None:
    text = "make the groups of users 'dispatch viewers' and 'dispatch operators'"
    set_run(subparsers.add_parser("groups", help=text), run)


def run(command: BaseCommand, options: Options) -> None:
    made = permission_groups.make()
    write(command, options, list(map(asdict, made)), map(_line, made))


def _line(made: Made) -> str:
    if not made.added:
        return f"{made.group}: has all its permissions."
    names = ", ".join(made.added)
    return f"{made.group}: {'made with' if made.is_new else 'given'} {count(len(made.added), 'permission')}: {names}."
