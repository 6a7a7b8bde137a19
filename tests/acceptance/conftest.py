"""Whole processes: web, worker, relay and results, as a user runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
WORKER = Path(__file__).resolve().parents[2] / "worker_stub" / ".venv" / "bin" / "celery"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one process of xdist run the tests that share a stack, or the queues of the one RabbitMQ."""
    for item in items:
        if item.path.is_relative_to(HERE):
            group = "rabbitmq" if "rabbitmq" in item.name else item.path.stem
            item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(autouse=True)
def worker_is_built() -> None:
    if not WORKER.exists():
        pytest.fail("The worker's virtualenv is missing: run the tests with `make test`, which builds it.")


@pytest.fixture
def results_url(redis_server: str, redis_url: str) -> str:
    """The worker's own result backend: an empty database beside the broker's."""
    import redis

    client = redis.Redis.from_url(f"{redis_server}/4")
    client.flushdb()
    client.close()
    return f"{redis_server}/4"
