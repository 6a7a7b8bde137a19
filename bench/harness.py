"""What the benchmarks share: databases, interleaved repeats, figures, and where they are written.

A script measures in a process of its own per database (``on_each_database``), since Django has one default database a
process. Contenders take turns at each repeat, so that a ratio compares what ran side by side on a noisy machine.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
sys.path.append(str(ROOT))  # the project, whose models are saved
SERVERS = {
    "PostgreSQL": os.environ.get("TEST_POSTGRESQL_URL", "postgres://postgres@127.0.0.1:5432/postgres"),
    "MariaDB": os.environ.get("TEST_MARIADB_URL", "mysql://root@127.0.0.1:3306/test"),
}
PACKAGES = ("Django", "celery", "psycopg", "PyMySQL", "django-celery-outbox")
CHILD = "BENCH_DATABASE"

#: Contender → one figure a repeat: microseconds an operation, unless the script says otherwise.
Series = dict[str, list[float]]


@dataclass(frozen=True)
class Figure:
    """A median, and the half of the repeats around it."""

    value: float
    spread: tuple[float, float]

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        low, median, high = statistics.quantiles([*values] * (1 + (len(values) == 1)), n=4)
        return cls(round(median, 3), (round(low, 3), round(high, 3)))


@dataclass(frozen=True)
class Goal:
    """A goal of the project: ``most`` tells whether it is an upper bound."""

    name: str
    text: str
    goal: float
    most: bool
    unit: str = "×"

    @property
    def bound(self) -> str:
        """The goal in words."""
        return f"goal {'≤' if self.most else '≥'} {self.goal:g} {self.unit}"

    def holds(self, value: float) -> bool:
        return value <= self.goal if self.most else value >= self.goal

    def reached(self, value: float) -> float:
        """Return how well a value does: 1 is the goal, more is better."""
        return self.goal / value if self.most else value / self.goal


def options(**defaults: int) -> argparse.Namespace:
    """Return what the command line says of a script's options, each a whole number; others' are passed over."""
    parser = argparse.ArgumentParser()
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_known_args()[0]


# ---------------------------------------------------------------- measuring


def repeated(contenders: Mapping[str, Callable[[], float]], repeats: int) -> Series:
    """Run each contender once a repeat, in turn, each repeat from another start; the first repeat does not count."""
    names = list(contenders)
    series: Series = {name: [] for name in names}
    for repeat in range(repeats + 1):
        for at in range(len(names)):
            name = names[(at + repeat) % len(names)]
            gc.collect()
            figure = contenders[name]()
            if repeat:
                series[name].append(figure)
    return series


def timed(
    operation: Callable[[], object], count: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return microseconds an operation."""
    start = clock()
    for _ in range(count):
        operation()
    return (clock() - start) / count * 1e6


def ratio(series: Series, above: str, below: str) -> Figure:
    """Return how many times as long one contender took as another, repeat by repeat."""
    return Figure.of([high / low for high, low in zip(series[above], series[below], strict=True)])


def difference(series: Series, above: str, below: str) -> Figure:
    """Return how much more one contender took than another, repeat by repeat."""
    return Figure.of([high - low for high, low in zip(series[above], series[below], strict=True)])


# ---------------------------------------------------------------- databases


def on_each_database(
    script: str, measure: Callable[[], dict[str, Any]], only: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Return what ``measure`` returns on each database that answers, or on each of ``only`` these; name the others.

    In the process of one database this prints the result and does not return.
    """
    from project.stack import exit_on_signals

    exit_on_signals()
    if os.environ.get(CHILD):
        print(json.dumps(_on_test_database(measure)))
        raise SystemExit
    with tempfile.TemporaryDirectory() as folder:
        urls = {"SQLite": f"sqlite:///{folder}/bench.sqlite3", **SERVERS}
        asked = {name: url for name, url in urls.items() if name in (only or urls)}
        return {name: _child(script, name, url) for name, url in there(asked).items()}


def there(urls: Mapping[str, str]) -> dict[str, str]:
    """Return the servers that answer, and name the others."""
    found = {name: url for name, url in urls.items() if name == "SQLite" or _answers(url)}
    for name in urls.keys() - found.keys():
        print(f"{name} does not answer at {_address(urls[name])}: not measured.", file=sys.stderr, flush=True)
    return found


def _child(script: str, name: str, url: str) -> dict[str, Any]:
    print(f"… {Path(script).name} on {name}", file=sys.stderr, flush=True)
    environment = {
        "TEST_DATABASE_SUFFIX": os.environ.get("TEST_DATABASE_SUFFIX", "_bench"),
        "DJANGO_SETTINGS_MODULE": "settings",
        "DATABASE_URL": url,
        CHILD: name,
    }
    command = [sys.executable, script, *sys.argv[1:]]
    child = subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True)
    try:
        output, _ = child.communicate()
    finally:  # it has processes of its own to stop
        child.terminate()
        child.wait()
    if child.returncode:
        raise SystemExit(child.returncode)
    measured: dict[str, Any] = json.loads(output.splitlines()[-1])
    return measured


def _on_test_database(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    import django

    django.setup()
    from django.db import connection

    name = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        found = ".".join(map(str, connection.get_database_version()))
        return {"version": found, **measure()}
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)


def _address(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}"


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=1):
            return True
    except OSError:
        return False


# ---------------------------------------------------------------- reporting


class Report:
    """The table of one script: printed, and written to ``results/NAME.txt``; its goals go to ``latest.json``."""

    def __init__(self, name: str, databases: Mapping[str, Mapping[str, Any]]) -> None:
        self.name = name
        self.machine = _machine()
        servers = [f"{each} {found['version']}" for each, found in databases.items()]
        self.versions = [f"Python {platform.python_version()}", *_packages(), *servers]
        self.lines = [self.machine, ", ".join(self.versions), ""]
        self.goals: dict[str, dict[str, Any]] = {}

    def title(self, text: str) -> None:
        """Begin a part of the table."""
        self.lines += ["", text]

    def row(self, what: str, figure: Figure, unit: str, note: str = "") -> None:
        """Add a median with its spread."""
        low, high = figure.spread
        digits = 2 if unit == "×" else 1
        self.lines.append(
            f"  {what:<68}{figure.value:9.{digits}f} {unit:<4}({low:.{digits}f} to {high:.{digits}f})  {note}".rstrip()
        )

    def say(self, text: str) -> None:
        """Add a sentence."""
        self.lines.append(f"  {text}")

    def times(self, series: Series) -> None:
        """Add a line for each contender."""
        for contender, values in series.items():
            self.row(contender, Figure.of(values), "µs")

    def worst(self, goals: Mapping[str, Goal], figures: Mapping[str, Figure], *, met: bool = True) -> None:
        """Judge a goal by the database that is the farthest from its own; those that were not reached do not count."""
        for name, figure in figures.items():
            self.row(f"{goals[name].name}  {name}", figure, goals[name].unit, goals[name].bound)
        name = min(figures, key=lambda name: goals[name].reached(figures[name].value))
        values = {name: figure.value for name, figure in figures.items()}
        wanted = {name: goals[name].goal for name in figures}
        self.goal(goals[name], figures[name], values, met=met, worst=name, goals=wanted)

    def goal(
        self, goal: Goal, figure: Figure, databases: Mapping[str, float], *, met: bool = True, **more: Any
    ) -> None:
        """Judge a goal by a figure; ``met`` tells of what else it asks for, ``more`` is kept beside it."""
        holds = met and goal.holds(figure.value)
        self.row(
            f"{goal.name}  {goal.text}", figure, goal.unit, f"{goal.bound}: {'holds' if holds else 'MISSED'}"
        )
        self.goals[goal.name] = {
            "text": goal.text,
            "value": figure.value,
            "goal": goal.goal,
            "most": goal.most,
            "holds": holds,
            "spread": list(figure.spread),
            "unit": goal.unit,
            "databases": dict(databases),
            **more,
            "machine": self.machine,
            "versions": self.versions,
        }

    def write(self) -> None:
        """Print the table and keep it."""
        text = "\n".join(self.lines) + "\n"
        print(text, flush=True)
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{self.name}.txt").write_text(text)
        latest = RESULTS / "latest.json"
        known = json.loads(latest.read_text()) if latest.exists() else {}
        merged = dict(sorted((known | self.goals).items()))
        latest.write_text(json.dumps(merged, indent=2, ensure_ascii=False) + "\n")


def _packages() -> list[str]:
    return [f"{name} {version(name)}" for name in PACKAGES]


def _machine() -> str:
    cpu = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in cpu.read_text().splitlines() if "model name" in line]
        if (cpu.exists())
        else []
    )
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} × {names[0] if names else platform.machine()}, "
        f"{platform.system()}, load {load:.1f}"
    )
