"""Every test here talks to a real database, and where it takes a broker, to a real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.brokers import delete_queue
from tests.support.registry import make_registry


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


@pytest.fixture
def no_ttl(settings: Any, transactional_db: None) -> None:
    """Every change of the registry is seen at once."""
    settings.DISPATCH = {**settings.DISPATCH, "REGISTRY_TTL": 0}
