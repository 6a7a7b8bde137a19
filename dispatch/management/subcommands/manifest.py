"""``dispatch manifest``: what the worker offers, into the registry."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from dispatch import contract
from dispatch.core import manifest
from dispatch.management.subcommands import Options, Subparsers
from dispatch.models import Manifest


def add(subparsers: Subparsers) -> None:
    """Add the parsers."""
    parser = subparsers.add_parser("manifest", help="import a worker manifest, or show what was imported")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    sync = actions.add_parser("sync", help="write a manifest's names and parameters into the registry")
    sync.add_argument(
        "file", metavar="FILE", help="as written by `celery -A worker manifest`; - for standard input"
    )
    sync.add_argument("--dry-run", action="store_true", help="show what would change, change nothing")
    sync.set_defaults(run=run_sync)
    show = actions.add_parser("show", help="list the imported manifests")
    show.add_argument("--format", choices=("text", "json"), default="text")
    show.set_defaults(run=run_show)


def run_sync(command: BaseCommand, options: Options) -> None:
    """Import a manifest and print what changed."""
    document = manifest.read(_read(options["file"]))
    changes = contract.sync(document, dry_run=options["dry_run"])
    for word, names in (("added", changes.added), ("changed", changes.changed), ("missing", changes.missing)):
        for name in names:
            command.stdout.write(f"{word:>8}  {name}")
    done = "would be" if options["dry_run"] else "were"
    command.stdout.write(
        f"{document.worker} {document.version}: {len(changes.added)} tasks {done} added, "
        f"{len(changes.changed)} changed, {len(changes.unchanged)} are as before, "
        f"{len(changes.missing)} are no longer offered."
    )


def run_show(command: BaseCommand, options: Options) -> None:
    """Print the imported manifests, newest first."""
    rows = list(Manifest.objects.values("worker", "version", "checksum", "imported_at", "queues"))
    if options["format"] == "json":
        command.stdout.write(json.dumps(rows, default=str, indent=2))
        return
    if not rows:
        command.stdout.write("No manifest was imported: manage.py dispatch manifest sync FILE.")
    for row in rows:
        command.stdout.write(
            f"{row['imported_at']:%Y-%m-%d %H:%M}  {row['worker']} {row['version']}  {row['checksum']}"
        )


def _read(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{name} cannot be read: {error}") from None
