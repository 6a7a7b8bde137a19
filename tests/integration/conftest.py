"""Every test here talks to a real database, and where it takes a broker, to a real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from dispatch.results import schedule
from project.stack.broker import embedded_broker
from tests.support import servers
from tests.support.brokers import delete_queue
from tests.support.proxy import Proxy
from tests.support.registry import make_registry, make_trigger

#: DISPATCH["BROKER_TIMEOUT"] of brokers that fail.
TIMEOUT = 0.5


@dataclass(frozen=True)
class Broker:
    """A real broker with a queue of the test's own, to which the registry routes its task."""

    kind: str
    url: str
    queue: str


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(
    request: pytest.FixtureRequest, broker_settings: Callable[..., None], unique: str, transactional_db: None
) -> Iterator[Broker]:
    url: str = request.getfixturevalue(f"{request.param}_url")
    broker_settings(url)
    make_registry(queue=unique)
    yield Broker(request.param, url, unique)
    if request.param == "rabbitmq":
        delete_queue(url, unique)


@dataclass(frozen=True)
class Fragile:
    """A real broker behind a proxy of the test's own."""

    proxy: Proxy
    url: str
    queue: str


@pytest.fixture(params=["redis", "rabbitmq"])
def fragile(
    request: pytest.FixtureRequest, broker_settings: Callable[..., None], unique: str, transactional_db: None
) -> Iterator[Fragile]:
    url: str = request.getfixturevalue(f"{request.param}_url")
    port = urlsplit(url).port
    assert port
    proxy = Proxy(port)
    broker_settings(url.replace(f":{port}", f":{proxy.port}"), BROKER_TIMEOUT=TIMEOUT)
    make_trigger(make_registry(queue=unique), "created")
    yield Fragile(proxy, url, unique)
    proxy.close()
    if request.param == "rabbitmq":
        delete_queue(url, unique)


@pytest.fixture
def own_redis(tmp_path: Path, broker_settings: Callable[..., None]) -> Iterator[redis.Redis]:
    """A Redis of this test's own, which is the default broker, and whose settings may be changed."""
    with embedded_broker(tmp_path) as broker:
        if not broker.url.startswith("redis://"):
            servers.missing("no redis-server was found")
        broker_settings(broker.url, MAX_ATTEMPTS=2, BACKOFF_MAX=0)
        with redis.Redis.from_url(broker.url) as client:
            yield client


@pytest.fixture
def no_ttl(settings: Any, transactional_db: None) -> None:
    """Every change of the registry is seen at once."""
    settings.DISPATCH = {**settings.DISPATCH, "REGISTRY_TTL": 0}


@pytest.fixture
def at_each_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector asks for results of any age at each sweep: a busy machine makes the test's own old."""
    monkeypatch.setattr(schedule, "PART", 0)
