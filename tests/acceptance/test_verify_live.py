"""`dispatch verify --live` with real workers, of several versions, on both brokers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from project.stack import Process, Stack
from project.stack.process import says
from tests.support.brokers import delete_queue
from tests.support.clones import CELERY, Clone, clone
from tests.support.stacks import QUEUES, fresh_database, in_django

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ("--pool", "solo", "--loglevel", "INFO", "--without-gossip", "--without-mingle")
STRANGE = "strange-queue"
WITHOUT_THE_COMMAND = """
from celery.worker.control import Panel
Panel.data.pop("manifest", None)
"""


@dataclass
class Site:
    """A registry as the demo has it, and the workers that a test starts beside it."""

    stack: Stack
    unique: str
    running: list[Process] = field(default_factory=list)

    def start(self, name: str, worker: Clone, *arguments: str) -> Process:
        """Start a worker under a node name that nobody else uses."""
        process = Process(
            name,
            [CELERY, "-A", "worker", "worker", *FLAGS, "-n", f"{self.unique}-{name}@here", *arguments],
            log=self.stack.directory / f"{name}.log",
            env=worker.environment(self.stack.worker_environment),
            cwd=worker.directory,
            ready=says(" ready."),
        )
        self.running.append(process)
        process.start()
        process.wait_ready()
        return process

    def verify(self) -> dict[str, dict[str, Any]]:
        """Return what is found, by id, beside that a Redis of tests keeps nothing; the exit code must say the same."""
        command = [sys.executable, ROOT / "manage.py", "dispatch", "verify", "--live", "--ignore", "C056"]
        command += ["--format", "json"]
        done = subprocess.run(
            command,
            env=self.stack.web_environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        report = json.loads(done.stdout)
        assert done.returncode == (1 if report["errors"] else 0), done.stderr
        return {finding["id"]: finding for finding in report["findings"]}


@pytest.fixture(params=["redis", "rabbitmq"])
def site(request: pytest.FixtureRequest, tmp_path: Path, unique: str, results_url: str) -> Iterator[Site]:
    with prepared(
        str(request.getfixturevalue(f"{request.param}_url")), tmp_path, unique, results_url
    ) as site:
        yield site


@contextmanager
def prepared(url: str, directory: Path, unique: str, results_url: str) -> Iterator[Site]:
    names = (*QUEUES, STRANGE)
    if url.startswith("amqp"):
        delete_queue(url, *names)
    with fresh_database("sqlite", directory) as database_url:
        stack = Stack(
            directory / "stack",
            database_url=database_url,
            broker_url=url,
            result_backend_url=results_url,
            start=(),
        )
        stack.prepare()
        site = Site(stack, unique)
        try:
            yield site
        finally:
            for process in site.running:
                process.stop()
            if url.startswith("amqp"):
                delete_queue(url, *names)


@pytest.fixture
def worker(tmp_path: Path) -> Clone:
    return clone(tmp_path / "worker-repository")


def test_workers_that_consume_all_queues_pass_and_what_they_leave_is_told(site: Site, worker: Clone) -> None:
    assert site.verify().keys() == {"C052"}, "nobody runs"

    site.start("most", worker, "-Q", "default,llm,stt")
    found = site.verify()
    assert (found.keys(), found["C031"]["subject"]) == ({"C031"}, "link")

    last = site.start("last", worker, "-Q", "link")
    assert site.verify() == {}

    last.stop()
    assert site.verify().keys() == {"C031"}


def test_two_versions_and_a_queue_without_a_route_are_told(site: Site, worker: Clone, tmp_path: Path) -> None:
    site.start("old", worker, "-Q", "default,llm,stt,link")
    newer = clone(tmp_path / "newer")
    newer.release("0.2.0")
    newer.edit("tasks/llm.py", "worker.tasks.llm.summarize_note", "worker.tasks.llm.summarise_note")
    newer.move_queue("llm", STRANGE)
    site.start("new", newer, "-Q", f"default,{STRANGE}")

    found = site.verify()
    assert f"0.1.0 (running as {site.unique}-old@here)" in found["C041"]["sentence"]
    assert f"0.2.0 (running as {site.unique}-new@here)" in found["C041"]["sentence"]
    assert found["C033"]["subject"] == STRANGE
    assert found["C004"]["subject"] == "worker.tasks.llm.summarize_note"
    assert "'worker.tasks.llm.summarise_note'" in found["C004"]["sentence"]


def test_a_worker_without_the_command_is_judged_by_names_and_queues(site: Site, worker: Clone) -> None:
    worker.edit("app.py", "app = Celery(", f"{WITHOUT_THE_COMMAND}\napp = Celery(")
    site.start("plain", worker)
    found = site.verify()
    assert found.keys() == {"C053"}
    assert found["C053"]["subject"] == f"{site.unique}-plain@here"

    worker.edit("tasks/llm.py", "worker.tasks.llm.summarize_note", "worker.tasks.llm.summarise_note")
    site.running[0].stop()
    site.start("plain", worker)
    found = site.verify()
    assert found.keys() == {"C032", "C053"}
    assert "worker.tasks.llm.summarize_note" in found["C032"]["sentence"]


def test_a_queue_that_rabbitmq_holds_otherwise_is_told(
    tmp_path: Path, unique: str, rabbitmq_url: str, results_url: str, worker: Clone
) -> None:
    with prepared(rabbitmq_url, tmp_path, unique, results_url) as site:
        site.start("all", worker)
        assert site.verify() == {}
        in_django(
            site.stack,
            'from dispatch.models import Queue; Queue.objects.filter(name="llm").update(max_priority=9)',
        )
        found = site.verify()
        assert found.keys() == {"C035", "C036"}
        assert "no arguments, the registry has arguments" in found["C035"]["sentence"]
        assert "inequivalent arg 'x-max-priority'" in found["C036"]["sentence"]
