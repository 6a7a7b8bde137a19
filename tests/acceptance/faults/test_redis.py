"""Rows 12 and 13 on Redis: a server of each test's own that crashes, is full, or evicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from dispatch.models import OutboxMessage
from tests.support.own_servers import OwnServer, own_redis
from tests.support.sites import Site, statuses
from tests.support.stacks import eventually

pytestmark = [pytest.mark.slow, pytest.mark.one_database]


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[Callable[..., OwnServer]]:
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(own_redis(tmp_path / "redis", *options))


# -- row 12 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("appendfsync", ["always", "everysec", "no"])
def test_a_redis_with_an_append_only_file_loses_nothing_when_its_process_is_killed(
    start_redis: Callable[..., OwnServer], make_site: Callable[..., Site], appendfsync: str
) -> None:
    server = start_redis("--appendonly", "yes", "--appendfsync", appendfsync)
    site = make_site(server.url)
    site.relay(RELAY_BATCH_SIZE=50)
    site.ledger.commit(500)
    eventually(lambda: statuses()["published"] > 0)
    server.crash()
    site.ledger.commit(100)
    site.ledger.roll_back(10)
    server.start()
    site.settled()
    site.ledger.audit(duplicates=1, affected=50)


def test_a_redis_without_one_loses_all_that_no_worker_has_taken_and_a_requeue_does_not_bring_it_back(
    start_redis: Callable[..., OwnServer], make_site: Callable[..., Site]
) -> None:
    """The limit of the guarantee, which `dispatch verify --live` tells beforehand."""
    server = start_redis("--appendonly", "no")
    site = make_site(server.url)
    site.relay()
    lost = site.ledger.commit(20)
    eventually(lambda: statuses()["published"] == 20)
    server.restart()
    site.ledger.commit(5)
    site.settled()
    site.ledger.audit(missing=lost)


# -- row 13 ---------------------------------------------------------------------------------------


def fill_up(client: redis.Redis) -> Callable[[], object]:
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 20_000)
    return lambda: client.config_set("maxmemory", "0")


def become_a_replica(client: redis.Redis) -> Callable[[], object]:
    client.replicaof("127.0.0.1", "1")
    return lambda: client.replicaof("NO", "ONE")


@pytest.mark.parametrize("refuse", [fill_up, become_a_replica])
def test_what_a_redis_refuses_is_tried_again_until_it_takes_it(
    start_redis: Callable[..., OwnServer],
    make_site: Callable[..., Site],
    refuse: Callable[[redis.Redis], Callable[[], object]],
) -> None:
    server = start_redis()
    site = make_site(server.url, MAX_ATTEMPTS=2)
    site.relay()
    with redis.Redis.from_url(server.url) as client:
        repair = refuse(client)
        site.ledger.commit(300)
        eventually(lambda: OutboxMessage.objects.filter(status="pending").exclude(last_error="").exists())
        repair()
    site.settled()
    site.ledger.audit(duplicates=0)
