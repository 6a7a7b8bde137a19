"""``dispatch acl``: the rights that brokers have to give for this registry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from django.core.management.base import BaseCommand

from dispatch import queues
from dispatch.management.subcommands import Options, Subparsers, set_run
from dispatch.management.subcommands.output import paragraphs, write


def add(subparsers: Subparsers) -> None:
    set_run(
        subparsers.add_parser("acl", help="print the rights that this registry needs on its brokers"), run
    )


def run(command: BaseCommand, options: Options) -> None:
    """Print the accounts of each broker: commands to be pasted, and what is to be known as comments."""
    found = queues.accounts()
    write(command, options, list(map(asdict, found)), paragraphs(map(list, map(_lines, found))))


def _lines(found: queues.BrokerAccounts) -> Iterator[str]:
    yield f"# broker {found.broker!r}"
    yield from (f"# {note}" for note in found.notes)
    for account in found.accounts:
        yield f"# {account.role}"
        yield from account.lines()
