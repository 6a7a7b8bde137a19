"""Whole processes: web, worker, relay and results, as a user runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import servers
from tests.support.own_servers import own_rabbitmq

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


@pytest.fixture(scope="session")
def own_rabbitmq_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a RabbitMQ that this process of pytest started for itself."""
    with own_rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server.url


@pytest.fixture
def rabbitmq_url(request: pytest.FixtureRequest) -> str:
    """Of slow tests several run at once, with queues of the same names, and workers that answer whoever asks."""
    if request.node.get_closest_marker("slow"):
        return str(request.getfixturevalue("own_rabbitmq_url"))
    return servers.RABBITMQ.require()
