"""`celery -A worker manifest`, found by Celery through the entry point group `celery.commands`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click
from celery.bin.base import CeleryCommand, handle_preload_options

from celery_manifest.document import build, encode
from celery_manifest.errors import ManifestError
from celery_manifest.files import replace
from celery_manifest.live import version_of

#: The exit code where the document is written, and lacks tasks.
INCOMPLETE = 3


@click.command(cls=CeleryCommand)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True),
    default="-",
    metavar="FILE",
    help="Where to write the manifest; standard output by default.",
)
@click.pass_context
@handle_preload_options
def manifest(ctx: click.Context, output: str) -> None:
    """Write what this worker offers: tasks, parameters, queues. Needs no broker."""
    try:
        # what a task module prints must not end up in the document
        with contextlib.redirect_stdout(sys.stderr):
            document = build(ctx.obj.app, version_of(ctx.obj.app))
            content = encode(document)
    except ManifestError as error:
        raise click.ClickException(str(error)) from None
    if output == "-":
        click.get_binary_stream("stdout").write(content)
    else:
        _write(Path(output), content)
    if left_out := document.get("left_out"):
        for task in left_out:
            click.echo(f"Error: {task['reason']}", err=True)
        ctx.exit(INCOMPLETE)


def _write(path: Path, content: bytes) -> None:
    try:
        replace(path, content)
    except OSError as error:
        raise click.ClickException(f"The file {str(path)!r} cannot be written: {error.strerror}.") from None
