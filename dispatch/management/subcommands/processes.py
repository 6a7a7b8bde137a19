"""``dispatch relay``, ``results`` and ``run``: relay and collector, each alone or both in one process."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from dispatch.management.subcommands import Options, Subparsers, add_database
from dispatch.relay import Relay
from dispatch.results import Collector


@dataclass(frozen=True, slots=True)
class Process:
    """What one of the commands runs, and how that is told."""

    help: str
    once: str
    workers: tuple[type[Relay | Collector], ...]
    begun: str
    ended: str


PROCESSES = {
    "relay": Process(
        "publish the outbox, until SIGTERM or Ctrl-C",
        "publish what is due now, then exit",
        (Relay,),
        "Relaying the outbox of database {!r}.",
        "Relay stopped; what it had claimed is published or released.",
    ),
    "results": Process(
        "store results as TaskResult, until SIGTERM or Ctrl-C",
        "collect what has finished, then exit",
        (Collector,),
        "Collecting results into database {!r}.",
        "Collector stopped.",
    ),
    "run": Process(
        "relay and results in one process, until SIGTERM or Ctrl-C",
        "do what there is to do now, then exit",
        (Relay, Collector),
        "Relaying the outbox of database {!r} and collecting its results.",
        "Relay and collector stopped; what was claimed is published or released.",
    ),
}
DRAINED = {Relay: "messages published", Collector: "results handled"}


def add(subparsers: Subparsers) -> None:
    for name, process in PROCESSES.items():
        parser = subparsers.add_parser(name, help=process.help)
        parser.add_argument("--once", action="store_true", help=process.once)
        parser.add_argument(
            "--metrics",
            type=_address,
            metavar="[ADDRESS:]PORT",
            help="serve metrics for Prometheus, to this machine alone unless an address is given, such as 0.0.0.0",
        )
        add_database(parser)
        parser.set_defaults(run=partial(run, process))


def run(process: Process, command: BaseCommand, options: Options) -> None:
    """Work until told to stop, or until one of two workers fails, which stops the other."""
    using = options["database"]
    workers = [worker(using) for worker in process.workers]
    with _serving_metrics(options), _stopped_by_signal([worker.stop for worker in workers]):
        if options["once"]:
            for worker in workers:
                command.stdout.write(f"{worker.drain()} {DRAINED[type(worker)]}.")
            return
        command.stdout.write(f"{process.begun.format(using)} Stop with Ctrl-C or SIGTERM.")
        _work(workers)
    command.stdout.write(process.ended)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and int(port) < 65_536):
        raise ArgumentTypeError(f"{text!r} is no port, nor an address and a port such as 0.0.0.0:9464.")
    return host.strip("[]") or "127.0.0.1", int(port)


@contextmanager
def _serving_metrics(options: Options) -> Iterator[None]:
    """Serve metrics inside the block, if ``--metrics`` asks for them."""
    if options["metrics"] is None:
        yield
        return
    try:
        from dispatch.metrics import serve  # with prometheus-client, which others need not have
    except ImportError as error:
        remedy = "pip install 'django-celery-dispatch[prometheus]'"
        raise CommandError(f"--metrics needs prometheus-client ({error}): {remedy}") from None
    host, port = options["metrics"]
    with ExitStack() as stack:
        try:
            stack.enter_context(serve(host, port, options["database"]))
        except (OSError, OverflowError) as error:
            raise CommandError(f"Metrics cannot be served at {host}:{port}: {error}") from None
        yield


@contextmanager
def _stopped_by_signal(stops: Sequence[threading.Event]) -> Iterator[None]:
    """Set each of ``stops`` on SIGTERM and SIGINT inside the block: work in hand is finished first."""

    def handler(number: int, frame: FrameType | None) -> None:
        for stop in stops:
            stop.set()

    previous = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)


def _work(workers: Sequence[Relay | Collector]) -> None:
    if len(workers) == 1:
        return workers[0].run()

    def stop(_: Future[None]) -> None:
        for worker in workers:
            worker.stop.set()

    with ThreadPoolExecutor(len(workers), thread_name_prefix="dispatch run") as pool:
        futures = [pool.submit(_in_thread, worker.run) for worker in workers]
        for future in futures:
            future.add_done_callback(stop)
        wait(futures)
    for future in futures:
        future.result()
    return None


def _in_thread(run: Callable[[], None]) -> None:
    try:
        run()
    finally:
        connections.close_all()  # those of this thread
