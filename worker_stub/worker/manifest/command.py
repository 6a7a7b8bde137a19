"""`celery -A worker manifest`, found by Celery through the entry point group `celery.commands`."""

from __future__ import annotations

from typing import BinaryIO

import click
from celery.bin.base import CeleryCommand, handle_preload_options

from worker import __version__
from worker.manifest.document import ManifestError, build, encode


@click.command(cls=CeleryCommand)
@click.option(
    "-o",
    "--output",
    type=click.File("wb", atomic=True),
    default="-",
    metavar="FILE",
    help="Where to write the manifest; standard output by default.",
)
@click.pass_context
@handle_preload_options
def manifest(ctx: click.Context, output: BinaryIO) -> None:
    """Write what this worker offers: tasks, parameters, queues. Needs no broker."""
    try:
        output.write(encode(build(ctx.obj.app, __version__)))
    except ManifestError as error:
        raise click.ClickException(str(error)) from None
