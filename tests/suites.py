"""Runs the suites of `make test` side by side: all tests on SQLite, what needs a database on each server, the worker's.

With ``--slow`` or ``--faults`` first, those of `make test-slow` or `make faults`. Further arguments are pytest's, for
every suite. While they run, a line says how far they are. Where a few tests of a suite have failed they are run once
more, alone: one that passes then is named as flaky (decision 55). At the end comes what failed, what was skipped and
why, and the counts of each suite and of all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.servers import CHROMIUM, DATABASES, PROMTOOL, RABBITMQ, servers_required

ROOT = Path(__file__).resolve().parents[1]
WORKER = ROOT / "worker_stub"
ON_EVERY_DATABASE = ["tests/integration", "tests/unit/models", "tests/unit/outbox"]
FAULTS = ["tests/acceptance/faults"]
# The longest files first: the last one may find the other processes at their end.
SLOW = ["tests/integration", "tests/unit", "tests/acceptance"]
# What PostgreSQL has committed may be lost with the server, which no test stops: a commit waits for no disk.
ON_SERVERS = {"PGOPTIONS": "-c synchronous_commit=off"}
CORES = os.cpu_count() or 1
# Without bytecode each of the many processes that tests start would compile the project anew.
NOT_INHERITED = {"DATABASE_URL", "PYTHONDONTWRITEBYTECODE"}
TESTS_FAILED = 1
NO_TESTS_COLLECTED = 5  # of an argument such as -k, which another suite has tests for
FEW = 3  # failures that may be the machine's; more of them are the code's


@dataclass
class Suite:
    """One run of pytest, whose reports are read while it writes them."""

    name: str
    paths: list[str]
    processes: int
    options: list[str] = field(default_factory=list)
    python: Path = Path(sys.executable)
    folder: Path = ROOT
    environment: dict[str, str] = field(default_factory=dict)
    niceness: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    passed: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    flaky: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: float = 0
    _read: int = 0

    def start(self, directory: Path, arguments: list[str]) -> None:
        self._reports = directory / f"{self.name}.jsonl"
        self._output = directory / f"{self.name}.txt"
        self._reports.touch()
        command = [
            self.python,
            "-m",
            "pytest",
            "-q",
            "-rN",
            "-n",
            # One process needs no other that hands it the tests.
            str(self.processes if self.processes > 1 else 0),
            "--dist",
            "loadfile",
            "--no-loadscope-reorder",
        ]
        command += [f"--report-log={self._reports}", *arguments, *self.options, *self.paths]
        inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        self._started = time.monotonic()
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=inherited | self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        niceness = os.getpriority(os.PRIO_PROCESS, 0) + self.niceness
        os.setpriority(os.PRIO_PROCESS, self._process.pid, niceness)  # which those that it will start inherit

    def runs(self) -> bool:
        """Read the reports that came since, and tell whether more will come."""
        running = self._process.poll() is None
        for report in self._new_reports():
            self._count(report)
        if running:
            self.seconds = time.monotonic() - self._started
        return running

    @property
    def failed(self) -> bool:
        was_odd = not self.flaky and self._process.returncode not in (0, NO_TESTS_COLLECTED)
        return was_odd or bool(self.failures)

    def run_again(self, directory: Path, arguments: list[str]) -> None:
        """Run the tests that failed once more, if they are few: one after another, with nothing beside them."""
        tests = list(dict.fromkeys(self.failures))
        if self._process.returncode != TESTS_FAILED or len(tests) > FEW:
            return
        again = Suite(
            f"{self.name}, again", tests, 1, self.options, self.python, self.folder, self.environment
        )
        again.start(directory, arguments)
        follow([again])
        if again.failed or again.counts["passed"] < len(tests):
            return
        # What failed as it was torn down had passed.
        self.counts += Counter(passed=len(set(tests) - self.passed))
        self.counts["failed"] = 0
        self.flaky, self.failures = tests, []

    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def _new_reports(self) -> Iterator[dict]:
        with self._reports.open("rb") as reports:
            reports.seek(self._read)
            for line in reports:
                if not line.endswith(b"\n"):
                    return  # it is being written
                self._read += len(line)
                yield json.loads(line)

    def _count(self, report: dict) -> None:
        outcome = report.get("outcome")
        if outcome == "skipped":
            _, _, reason = report["longrepr"]
            self.reasons[reason.removeprefix("Skipped: ")] += 1
        elif outcome == "failed":
            self.failures.append(report["nodeid"])
        elif report.get("when") != "call":
            return
        else:
            self.passed.add(report["nodeid"])
        self.counts[outcome] += 1


def suites() -> list[Suite]:
    """Return the suites whose servers answer."""
    databases = [
        Suite(
            server.name,
            ON_EVERY_DATABASE,
            max(1, CORES // 2),
            environment=ON_SERVERS | {"DATABASE_URL": server.url},
        )
        for server in DATABASES.values()
        if server.answers
    ]
    # Its tests wait for processes and brokers now and then: one more than there are cores keeps these busy. But they
    # give way to those of a server, which are one after another in a process and would end last.
    return [Suite("SQLite", ["tests"], CORES + 1, niceness=3), *databases, worker()]


def worker(*arguments: str) -> Suite:
    return Suite("worker_stub", [], 1, [*arguments], WORKER / ".venv" / "bin" / "python", WORKER)


def slow_suites() -> list[Suite]:
    """Return what `make test` leaves out: tests that mostly wait, beside them properties with many examples."""
    properties = Suite(
        "properties",
        ["tests"],
        CORES,
        ["-m", "hypothesis and not slow", "--hypothesis-profile=many", "--timeout=1500"],
        environment={"TEST_DATABASE_SUFFIX": os.environ.get("TEST_DATABASE_SUFFIX", "") + "_many"},
        niceness=5,  # they wait for nobody, and nobody waits for them
    )
    options = ["-m", "slow", "--timeout=600", f"--ignore={FAULTS[0]}"]
    slow = Suite("slow", SLOW, CORES + 1, options)
    return [slow, properties, worker("-m", "slow")]


def fault_suites() -> list[Suite]:
    """Return the suites in which processes are killed; they wait more than they compute."""
    servers = [
        Suite(server.name, FAULTS, processes, environment={"DATABASE_URL": server.url})
        for server, processes in ((DATABASES["postgresql"], 2), (DATABASES["mariadb"], 1))
        if server.answers
    ]
    return [Suite("SQLite", FAULTS, 3), *servers]


def missing_servers() -> list[str]:
    found = {RABBITMQ.name: RABBITMQ.answers, "Chromium": bool(CHROMIUM), "promtool": bool(PROMTOOL)}
    found |= {server.name: server.answers for server in DATABASES.values()}
    return [name for name, is_there in found.items() if not is_there]


def follow(running: list[Suite]) -> None:
    """Show how far the suites are, until all have ended: on a terminal in one line, else a line now and then."""
    is_terminal = sys.stdout.isatty()
    shown = 0.0
    while [suite for suite in running if suite.runs()]:
        if time.monotonic() - shown > (0.5 if is_terminal else 20):
            shown = time.monotonic()
            print("\r\x1b[K" * is_terminal + progress(running), end="" if is_terminal else "\n", flush=True)
        time.sleep(0.1)
    print("\r\x1b[K" * is_terminal, end="")


def progress(running: list[Suite]) -> str:
    def so_far(suite: Suite) -> str:
        return f"{suite.name} {suite.counts.total()}" + f" ({len(suite.failures)} failed)" * bool(
            suite.failures
        )

    return " · ".join(map(so_far, running))


def summary(ended: list[Suite]) -> Iterator[str]:
    for suite in ended:
        if suite.failed or suite.flaky:
            yield f"\n» {suite.name}\n{suite.output()}"
    skipped = sum((suite.reasons for suite in ended), Counter())
    if skipped:
        yield "\nSkipped"
        yield from (f"  {count:4}  {reason}" for reason, count in skipped.most_common())
    if any(suite.failures for suite in ended):
        yield "\nFailed"
        yield from (f"  {suite.name}: {test}" for suite in ended for test in suite.failures)
    if any(suite.flaky for suite in ended):
        yield "\nFlaky: failed beside others, passed when run again, alone"
        yield from (f"  {suite.name}: {test}" for suite in ended for test in suite.flaky)
    yield f"\n{'':12}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}"
    for suite in ended:
        counts = "".join(
            f"{suite.counts[key]:{width}}" for key, width in (("passed", 8), ("failed", 8), ("skipped", 9))
        )
        yield f"{suite.name:12}{counts}{suite.seconds:9.0f}"
    total = sum((suite.counts for suite in ended), Counter())
    yield f"\ntotal: {total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped"


def main(arguments: list[str]) -> int:
    others = {"--slow": slow_suites, "--faults": fault_suites}
    chosen = others.get(arguments[0]) if arguments else None
    missing, running = missing_servers(), (chosen or suites)()
    arguments = arguments[bool(chosen) :]
    with tempfile.TemporaryDirectory(prefix="dispatch-tests-") as directory:
        for suite in running:
            suite.start(Path(directory), arguments)
        follow(running)
        for suite in running:
            suite.run_again(Path(directory), arguments)
        print("\n".join(summary(running)), flush=True)
    if missing:
        print(f"\nNot found, so not tested: {', '.join(missing)}.", flush=True)
    return int(any(suite.failed for suite in running) or (bool(missing) and servers_required()))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
