"""Rows 2 to 5 and 18: answers that are lost, relays that are killed, stopped, many, or told to stop."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from dispatch.models import OutboxMessage
from project.stack import Process
from tests.support.proxy import Proxy
from tests.support.registry import TASK
from tests.support.sites import Site, length, statuses
from tests.support.stacks import eventually

pytestmark = pytest.mark.slow


def is_stopped(process: Process) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def at_work(site: Site, **options: object) -> Process:
    """Return a relay that has published one message already: its connections are open."""
    relay = site.relay(**options)
    site.ledger.commit()
    site.settled()
    return relay


# -- row 2 ----------------------------------------------------------------------------------------


@pytest.mark.one_database
def test_a_reply_that_is_lost_costs_one_copy_for_each_attempt(site: Site, proxy: Proxy) -> None:
    at_work(site, through=proxy)
    proxy.when_asked(TASK.encode(), proxy.swallow_replies)
    site.ledger.commit(20)
    eventually(lambda: length(site) == 20)
    proxy.cut()
    site.ledger.roll_back(5)
    proxy.open()
    site.settled()
    attempts = max(OutboxMessage.objects.values_list("attempts", flat=True))
    assert attempts == 2, "the one that was lost, and the one that settled it"
    site.ledger.audit(duplicates=attempts - 1)


@pytest.mark.one_database
def test_a_redis_that_is_gone_right_after_its_sign_of_life_costs_a_relay_neither_life_nor_message(
    redis_site: Site, proxy: Proxy
) -> None:
    site = redis_site
    relay = at_work(site, through=proxy)
    proxy.limit(len("+PONG\r\n"), proxy.cut, replies=True)
    site.ledger.commit(20)
    eventually(lambda: OutboxMessage.objects.exclude(last_error="").exists() or relay.died)
    relay.check()
    proxy.open()
    site.settled()
    site.ledger.audit(duplicates=1)


# -- row 3 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failpoint", "copies"),
    [("after(is_claim, kill)", 0), ("before(is_settle, kill)", 1), ("after(is_settle, kill)", 1)],
    ids=["after its claim", "before its settle", "before its settle is committed"],
)
def test_what_a_killed_relay_held_is_published_by_the_next_when_the_lease_is_over(
    redis_site: Site, failpoint: str, copies: int
) -> None:
    site = redis_site
    site.ledger.commit(30)
    site.ledger.roll_back(3)
    assert site.relay(failpoint=failpoint).wait() == -signal.SIGKILL
    assert length(site) == 30 * copies
    site.relay()
    site.settled()
    site.ledger.audit(duplicates=copies)


@pytest.mark.one_database
@pytest.mark.parametrize("requests", [600, 6_000, 16_000])
def test_a_relay_that_is_killed_in_the_middle_of_a_batch_repeats_only_what_it_had_handed_over(
    site: Site, proxy: Proxy, requests: int
) -> None:
    relay = at_work(site, through=proxy)

    def end() -> None:
        relay.kill()
        proxy.cut()

    proxy.limit(requests, end, replies=False)
    site.ledger.commit(60)
    relay.wait()
    handed_over = length(site)
    assert handed_over < 60
    site.relay()
    site.settled()
    site.ledger.audit(duplicates=1, affected=handed_over)


# -- row 4 ----------------------------------------------------------------------------------------


def test_a_relay_that_sleeps_past_its_lease_does_not_settle_what_another_took_over(
    redis_site: Site, proxy: Proxy
) -> None:
    site = redis_site
    sleeper = at_work(site, through=proxy, RELAY_LEASE=1)
    proxy.when_asked(TASK.encode(), proxy.hold_replies)
    site.ledger.commit(20)
    eventually(lambda: length(site) == 20)
    sleeper.signal(signal.SIGSTOP)
    eventually(lambda: is_stopped(sleeper))
    site.relay()
    site.settled()
    by_the_other = dict(OutboxMessage.objects.values_list("pk", "published_at"))
    proxy.open()
    sleeper.signal(signal.SIGCONT)
    site.running[-1].stop()
    site.ledger.commit()
    site.settled()  # by the sleeper, who has had his say by now
    now = dict(OutboxMessage.objects.filter(pk__in=by_the_other).values_list("pk", "published_at"))
    assert now == by_the_other
    site.ledger.audit(duplicates=1, affected=20)


# -- row 5 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("relays", [2, 4])
def test_several_relays_share_the_rows_and_send_none_twice(redis_site: Site, relays: int) -> None:
    site = redis_site
    site.ledger.commit(300)
    for _ in range(relays):
        site.relay(RELAY_BATCH_SIZE=10, RELAY_LEASE=60)
    for _ in range(10):
        site.ledger.commit(30)
        site.ledger.roll_back(3)
    site.settled(60)
    site.ledger.audit(duplicates=0)


# -- row 18 ---------------------------------------------------------------------------------------


def test_sigterm_during_a_batch_ends_the_relay_in_time_and_releases_what_was_not_sent(
    redis_site: Site, proxy: Proxy
) -> None:
    site = redis_site
    relay = at_work(site, through=proxy, RELAY_BATCH_SIZE=2_000, RELAY_LEASE=60, BROKER_TIMEOUT=10)
    proxy.when_asked(TASK.encode(), proxy.hold_replies)
    site.ledger.commit(2_000)
    eventually(lambda: length(site) > 0)
    relay.signal(signal.SIGTERM)
    proxy.open()
    assert relay.wait(20) == 0, relay.tail()
    found = statuses()
    assert found["claimed"] == 0
    assert 0 < found["pending"] < 2_000
    site.relay()
    site.settled()
    site.ledger.audit(duplicates=0)


@pytest.mark.one_database
@pytest.mark.parametrize("fault", ["stall", "cut", "freeze"])
def test_sigterm_ends_a_relay_whose_broker_is_away(site: Site, proxy: Proxy, fault: str) -> None:
    relay = at_work(site, through=proxy)
    getattr(proxy, fault)()
    site.ledger.commit(20)
    eventually(lambda: OutboxMessage.objects.exclude(last_error="").exists() or statuses()["claimed"])
    relay.signal(signal.SIGTERM)
    assert relay.wait(20) == 0, relay.tail()
    assert statuses()["claimed"] == 0
    proxy.open()
    site.relay()
    site.settled()
    site.ledger.audit(duplicates=1)
