"""The parsers of all subcommands of ``manage.py dispatch``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from dispatch.management.commands.dispatch import Command


def leaves(parser: argparse.ArgumentParser, path: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    found = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    if not found:
        yield path, parser
    for name, sub in (pair for each in found for pair in each.choices.items()):
        yield from leaves(sub, f"{path} {name}".strip())


PARSERS = dict(leaves(Command().create_parser("manage.py", "dispatch")))
