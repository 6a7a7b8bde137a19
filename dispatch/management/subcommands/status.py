"""``dispatch status``: who relays and collects, what waits; exit code 1 where something is wrong."""

from __future__ import annotations

import argparse
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dispatch import health
from dispatch.core.seconds import EXPECTED, is_seconds
from dispatch.core.sentences import at_most, duration
from dispatch.health import Health, Problem, QueueLine
from dispatch.management.subcommands import Options, Subparsers, add_database, set_run
from dispatch.management.subcommands.output import paragraphs, table, write, write_json
from dispatch.models import Process

#: Seconds between two looks of ``--watch``.
EVERY = 2.0


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "status", help="who relays and collects, what waits; exit 1 if that is wrong"
    )
    parser.add_argument("--watch", action="store_true", help=f"look again every {EVERY:g} s, until Ctrl-C")
    parser.add_argument(
        "--check", choices=Process.Kind.values, help="only tell whether one of these lives on this host"
    )
    parser.add_argument(
        "--max-age",
        type=_seconds,
        default=health.MAX_AGE,
        metavar="SECONDS",
        help="for how long a message may be due (default: %(default)g)",
    )
    parser.add_argument(
        "--max-silence",
        type=_seconds,
        metavar="SECONDS",
        help="for how long no process may be seen (default: 60 and what the loop may wait by the settings)",
    )
    add_database(parser, "whose outbox is looked at (default: %(default)s)")
    set_run(parser, run)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if is_seconds(value := float(text)):
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not {EXPECTED}.")


def run(command: BaseCommand, options: Options) -> None:
    """Print what is seen. Exit 0 if all is well, 1 if something is wrong."""
    if options["check"]:
        return _check(command, options)
    while options["watch"]:
        if options["format"] == "text":
            command.stdout.clear()
        _look(command, options)
        command.stdout.flush()
        time.sleep(EVERY)
    problems = [problem.sentence for problem in _look(command, options) if problem.fails]
    if problems:
        raise CommandError(" ".join(problems))
    return None


def _check(command: BaseCommand, options: Options) -> None:
    kind = options["check"]
    silence = options["max_silence"] or Process.silence(kind)
    is_alive = health.lives_here(options["database"], kind, silence)
    if options["format"] == "json":
        write_json(command, {"kind": kind, "host": socket.gethostname(), "alive": is_alive})
    elif is_alive:
        command.stdout.write(f"A {kind} on {socket.gethostname()} is alive.")
    if not is_alive:
        raise CommandError(f"No {kind} on {socket.gethostname()} was seen for {duration(silence)}.")


def _look(command: BaseCommand, options: Options) -> list[Problem]:
    seen = health.look(options["database"])
    problems = list(seen.problems(options["max_silence"], options["max_age"]))
    lines = paragraphs(part for part in _parts(seen, problems) if part)
    write(command, options, _document(seen, problems), lines)
    return problems


def _document(seen: Health, problems: list[Problem]) -> dict[str, Any]:
    return {
        "ok": not any(problem.fails for problem in problems),
        "minutes": health.MINUTES,
        "counted_up_to": health.MOST_COUNTED,
        **asdict(seen),
        "problems": list(map(asdict, problems)),
    }


def _parts(seen: Health, problems: list[Problem]) -> Iterator[list[str]]:
    recently = f"In the last {health.MINUTES} minutes"
    processes = [
        {
            "process": process.kind,
            "state": process.state,
            "host": f"{process.host}:{process.pid}",
            "version": process.version,
            "since": f"{process.started_at:%Y-%m-%d %H:%M}",
            "seen": f"{duration(process.seen)} ago",
            recently: health.in_words(process.did),
        }
        for process in seen.processes
    ]
    yield table(processes) if processes else ["No relay or collector has run."]
    yield table([_row(line) for line in seen.queues]) if seen.queues else []
    yield [f"{line.queue or 'no queue'}: {line.error}" for line in seen.queues if line.error]
    if seen.oldest_awaited is not None:
        yield [f"Results awaited: {_counted(seen.awaited)}, the oldest for {duration(seen.oldest_awaited)}."]
    yield [line for problem in problems for line in (problem.sentence, f"  → {problem.remedy}")] or [
        "All is well."
    ]


def _row(line: QueueLine) -> Mapping[str, Any]:
    return {
        "queue": line.queue or "(none)",
        "broker": line.broker,
        "pending": _counted(line.pending),
        "claimed": line.claimed,
        "oldest due": "" if line.oldest_due is None else duration(line.oldest_due),
        "published": line.published,
        "a minute": f"{line.published / health.MINUTES:.1f}",
        "failed": line.failed,
        "paused": line.paused,
    }


def _counted(number: int) -> str:
    return at_most(number, health.MOST_COUNTED)
