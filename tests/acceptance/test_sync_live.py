"""`dispatch manifest sync --live`: what a running worker answers is what its file says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from project.stack import Process, Stack
from project.stack.process import says
from tests.support.brokers import delete_queue
from tests.support.clones import CELERY, clone
from tests.support.stacks import QUEUES, fresh_database

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ("--pool", "solo", "--loglevel", "INFO", "--without-gossip", "--without-mingle")


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_a_running_worker_brings_its_registry_up_to_date(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, unique: str, results_url: str
) -> None:
    url = str(request.getfixturevalue(f"{kind}_url"))
    if kind == "rabbitmq":
        delete_queue(url, *QUEUES)
    worker = clone(tmp_path / "worker-repository")
    worker.release("0.2.0")
    worker.edit("tasks/llm.py", "worker.tasks.llm.summarize_note", "worker.tasks.llm.summarise_note")
    with fresh_database("sqlite", tmp_path) as database_url:
        stack = Stack(
            tmp_path / "stack",
            database_url=database_url,
            broker_url=url,
            result_backend_url=results_url,
            start=(),
        )
        stack.prepare()  # imports the manifest of 0.1.0
        sync = _command(stack)
        silent = sync()
        assert silent.returncode == 1
        assert "No running worker told its manifest" in silent.stderr

        process = Process(
            "worker",
            [CELERY, "-A", "worker", "worker", *FLAGS, "-n", f"{unique}@here", "-Q", "default"],
            log=stack.directory / "worker.log",
            env=worker.environment(stack.worker_environment),
            cwd=worker.directory,
            ready=says(" ready."),
        )
        process.start()
        try:
            process.wait_ready()
            [found] = json.loads(sync().stdout)
            assert (found["version"], found["added"], found["missing"]) == (
                "0.2.0",
                ["worker.tasks.llm.summarise_note"],
                ["worker.tasks.llm.summarize_note"],
            )
            assert [(each["kind"], each["subject"]) for each in found["breaks"]] == [
                ("trigger", "Summarise text notes")
            ]
            [again] = json.loads(sync().stdout)
            assert (again["added"], again["changed"], again["missing"]) == ([], [], [])
        finally:
            process.stop()
            if kind == "rabbitmq":
                delete_queue(url, *QUEUES)


def _command(stack: Stack) -> Callable[[], Any]:
    arguments = [
        sys.executable,
        ROOT / "manage.py",
        "dispatch",
        "manifest",
        "sync",
        "--live",
        "--format",
        "json",
    ]
    return lambda: subprocess.run(
        arguments, env=stack.web_environment, capture_output=True, text=True, timeout=60, check=False
    )
