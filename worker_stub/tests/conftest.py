from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kombu
import pytest
from celery import Celery
from celery_manifest import checksum

# Before any test imports the app: the suite needs no server and no setting of the machine it runs on.
for name in (
    "ROUTING_FILE",
    "BROKER_ALIAS",
    "BROKER_FOLDER",
    "CELERY_BROKER_URL",
    "CELERY_RESULT_BACKEND",
    "WORKER_DATABASE",
):
    os.environ.pop(name, None)
os.environ["BROKER_URL"] = "memory://"
os.environ["RESULT_BACKEND_URL"] = "cache+memory://"


@pytest.fixture(scope="session")
def write_routing(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a routing file with a right checksum and return its path."""

    def write(**changes: Any) -> Path:
        document = {
            "routing": 1,
            "default_queue": "default",
            "exchanges": [],
            "queues": [{"name": "default"}],
            "tasks": {},
        } | changes
        path = tmp_path_factory.mktemp("routing") / "routing.json"
        path.write_text(json.dumps({"checksum": checksum(document)} | document))
        return path

    return write


WAIT = 40
RABBITMQ = os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//")


def missing(reason: str) -> None:
    """Skip, or fail where `DISPATCH_REQUIRE_SERVERS` asks for every server."""
    if os.environ.get("DISPATCH_REQUIRE_SERVERS", "") not in ("", "0"):
        pytest.fail(f"{reason}, and DISPATCH_REQUIRE_SERVERS asks for it.")
    pytest.skip(reason)


def wait_for(condition: Callable[[], Any], what: Callable[[], str]) -> Any:
    """Return the first true value of a condition."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.1)
    pytest.fail(what())


def answers(url: str) -> bool:
    address = urlsplit(url)
    with contextlib.suppress(OSError), socket.create_connection((address.hostname, address.port), timeout=1):
        return True
    return False


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis of this test run alone: workers give back whatever is unacknowledged on theirs."""
    program = shutil.which("redis-server") or missing("no redis-server was found")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(f"redis://127.0.0.1:{port}"), lambda: "redis-server does not start")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(WAIT)


@pytest.fixture(params=["redis", "rabbitmq"])
def broker_url(request: pytest.FixtureRequest) -> str:
    if request.param == "redis":
        return request.getfixturevalue("redis_server")
    return (
        RABBITMQ
        if answers(RABBITMQ)
        else missing(f"RabbitMQ does not answer at {urlsplit(RABBITMQ).hostname}")
    )


class Worker:
    """A worker process of its own process group, with its log in a file."""

    def __init__(self, app: str, host: str, log: Path, environ: dict[str, str], options: list[str]) -> None:
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            app,
            "worker",
            "--hostname",
            host,
            "--loglevel",
            "INFO",
        ]
        command += ["--without-gossip", "--without-mingle", *options]
        self.host, self.log = host, log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command, cwd=log.parent, env=environ, stdout=file, stderr=file, start_new_session=True
            )

    def says(self, pattern: str, times: int = 1) -> None:
        """Wait until the log holds a pattern so often."""
        wait_for(lambda: len(re.findall(pattern, self.log.read_text())) >= times, self.log.read_text)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(WAIT)


class Site:
    """A broker, a database and queues of one test's own, and workers on them."""

    def __init__(self, broker_url: str, folder: Path, write_routing: Callable[..., Path]) -> None:
        self.queue = f"stub-{uuid.uuid4().hex[:12]}"
        self.queues = [self.queue, f"{self.queue}-other"]
        self.database = folder / "worker.sqlite3"
        self.workers: list[Worker] = []
        self.folder, self.broker_url = folder, broker_url
        entries = [{"name": self.queues[0], "arguments": {"x-max-priority": 5}}, {"name": self.queues[1]}]
        (folder / "results").mkdir()
        self.environ = os.environ | {
            "PYTHONPATH": str(Path(__file__).parent),  # crashing.py
            "BROKER_URL": broker_url,
            "RESULT_BACKEND_URL": (folder / "results").as_uri(),
            "ROUTING_FILE": str(write_routing(default_queue=self.queue, queues=entries)),
            "WORKER_DATABASE": str(self.database),
        }
        self.sender = Celery("sender", broker=broker_url, set_as_current=False)
        self.sender.conf.update(task_default_queue=self.queue, task_create_missing_queues=True)
        self.sender.conf.task_queues = [kombu.Queue(self.queue, queue_arguments={"x-max-priority": 5})]

    def start(self, *options: str, app: str = "worker", **environ: str) -> Worker:
        """Start a worker and wait until it is ready."""
        number = len(self.workers)
        host, log = f"{self.queue}-{number}@localhost", self.folder / f"worker-{number}.log"
        self.workers.append(Worker(app, host, log, self.environ | environ, list(options)))
        self.workers[-1].says(" ready\\.")
        return self.workers[-1]

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        with kombu.Connection(self.broker_url) as connection:
            for queue in self.queues:
                with contextlib.suppress(*connection.channel_errors):
                    connection.channel().queue_delete(queue)
                with contextlib.suppress(*connection.channel_errors):
                    connection.channel().exchange_delete(queue)
        self.sender.close()


@pytest.fixture
def site(broker_url: str, tmp_path: Path, write_routing: Callable[..., Path]) -> Iterator[Site]:
    site = Site(broker_url, tmp_path, write_routing)
    yield site
    site.close()
