"""``dispatch run``: relay and collector in one process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from django.core.management.base import BaseCommand
from django.db import connections

from dispatch.management.subcommands import (
    Options,
    Subparsers,
    add_database,
    add_metrics,
    serving_metrics,
    stopped_by_signal,
)
from dispatch.relay import Relay
from dispatch.results import Collector


def add(subparsers: Subparsers) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("run", help="relay and results in one process, until SIGTERM or Ctrl-C")
    parser.add_argument("--once", action="store_true", help="do what there is to do now, then exit")
    add_metrics(parser)
    add_database(parser)
    parser.set_defaults(run=run)


def run(command: BaseCommand, options: Options) -> None:
    """Relay and collect until told to stop, or until one of the two fails, which stops the other."""
    relay, collector = Relay(options["database"]), Collector(options["database"])
    with serving_metrics(options), stopped_by_signal(relay.stop, collector.stop):
        if options["once"]:
            command.stdout.write(f"{relay.drain()} messages published.")
            command.stdout.write(f"{collector.drain()} results handled.")
            return
        command.stdout.write(
            f"Relaying the outbox of database {relay.using!r} and collecting its results. Stop with Ctrl-C or SIGTERM."
        )
        _side_by_side(relay, collector)
    command.stdout.write("Relay and collector stopped; what was claimed is published or released.")


def _side_by_side(*workers: Relay | Collector) -> None:
    def stop(_: Future[None]) -> None:
        for worker in workers:
            worker.stop.set()

    with ThreadPoolExecutor(len(workers), thread_name_prefix="dispatch run") as pool:
        futures = [pool.submit(_work, worker.run) for worker in workers]
        for future in futures:
            future.add_done_callback(stop)
        wait(futures)
    for future in futures:
        future.result()


def _work(run: Callable[[], None]) -> None:
    try:
        run()
    finally:
        connections.close_all()  # those of this thread
