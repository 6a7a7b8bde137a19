"""Whole processes: web, worker, relay and results, as a user runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

WORKER = Path(__file__).resolve().parents[2] / "worker_stub" / ".venv" / "bin" / "celery"


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
