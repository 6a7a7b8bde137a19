"""Sites for faults: quick to try again, on each kind of broker, which may be behind a proxy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.brokers import delete_queue
from tests.support.proxy import Proxy
from tests.support.registry import make_registry
from tests.support.sites import Site

#: ``DISPATCH`` of these tests, in seconds: what waits for a fault to be over is soon tried again.
QUICK = {
    "RELAY_LEASE": 3,
    "BROKER_TIMEOUT": 1,
    "BACKOFF_BASE": 0.05,
    "BACKOFF_MAX": 0.5,
    "RELAY_POLL_INTERVAL": 0.1,
}


@pytest.fixture
def make_site(
    tmp_path: Path, unique: str, broker_settings: Callable[..., None], transactional_db: None
) -> Iterator[Callable[..., Site]]:
    """Return a function that makes a site on the broker of a URL, with further keys of ``DISPATCH``."""
    with contextlib.ExitStack() as stack:

        def make(url: str, **keys: Any) -> Site:
            broker_settings(url, **{**QUICK, **keys})
            make_registry(queue=unique)
            site = Site(tmp_path, url, unique)
            stack.callback(site.stop)
            return site

        yield make


@pytest.fixture(params=["redis", "rabbitmq"])
def site(request: pytest.FixtureRequest, make_site: Callable[..., Site]) -> Iterator[Site]:
    """A site on each kind of broker."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    yield (site := make_site(url))
    site.stop()
    if request.param == "rabbitmq":
        delete_queue(url, site.queue)


@pytest.fixture
def redis_site(redis_url: str, make_site: Callable[..., Site]) -> Site:
    return make_site(redis_url)


@pytest.fixture
def make_proxy() -> Iterator[Callable[[str], Proxy]]:
    """Return a function that puts a proxy before the server of a URL."""
    with contextlib.ExitStack() as stack:

        def make(url: str) -> Proxy:
            proxy = Proxy(urlsplit(url).port or 0)
            stack.callback(proxy.close)
            return proxy

        yield make


@pytest.fixture
def proxy(request: pytest.FixtureRequest, make_proxy: Callable[[str], Proxy]) -> Proxy:
    """A proxy before the site's broker."""
    name = "site" if "site" in request.fixturenames else "redis_site"
    return make_proxy(request.getfixturevalue(name).url)
