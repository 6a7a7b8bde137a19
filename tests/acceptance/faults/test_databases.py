"""Rows 6, 10, 11, 14 and 20: late commits, connections and servers that end, settles that fail, clocks, and size."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core.management import call_command
from django.db import connection, connections, transaction

from dispatch.models import OutboxMessage
from dispatch.models.database import database_now
from dispatch.relay import Relay
from project.notes.models import Note
from tests.support.failpoints import REACHED
from tests.support.own_servers import OwnServer, own_postgresql
from tests.support.proxy import Proxy
from tests.support.registry import TASK
from tests.support.sites import Site, length, statuses
from tests.support.stacks import eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def servers_only(transactional_db: None) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no server, and one writer at a time")


# -- row 6 ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("servers_only")
def test_a_low_id_that_is_committed_after_a_hundred_later_ones_is_sent_within_two_polls(
    redis_site: Site,
) -> None:
    ledger = redis_site.ledger
    inserted, commit = threading.Event(), threading.Event()
    late: dict[str, str] = {}

    def commit_late() -> None:
        with transaction.atomic():
            late.update(ledger.send())
            inserted.set()
            commit.wait(30)
        connections.close_all()

    thread = threading.Thread(target=commit_late)
    thread.start()
    assert inserted.wait(30)
    ledger.committed |= late
    relay = Relay()
    for _ in range(10):
        ledger.commit(10)
        relay.step()
    assert statuses() == {"published": 100}
    commit.set()
    thread.join()
    relay.step()
    relay.step()
    relay.close()
    assert statuses() == {"published": 101}
    redis_site.take()
    ledger.audit()
    assert min(ledger.committed) in late


# -- row 10 ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("servers_only")
@pytest.mark.parametrize(
    "failpoint",
    [
        "before(is_claim, end_connection)",
        "after(is_claim, end_connection)",
        "before(is_settle, end_connection)",
        "after(is_settle, end_connection)",
    ],
)
def test_a_relay_whose_connection_the_server_ends_goes_on_over_another(
    redis_site: Site, failpoint: str
) -> None:
    relay = redis_site.relay(failpoint=failpoint, RELAY_LEASE=60)
    redis_site.ledger.commit(30)
    redis_site.ledger.roll_back(3)
    eventually(lambda: REACHED in relay.output())
    redis_site.settled(10)
    redis_site.ledger.audit(duplicates=0)
    relay.check()


@pytest.fixture
def cluster(tmp_path: Path, transactional_db: None) -> Iterator[OwnServer]:
    """A PostgreSQL that is the test's default database, and may be restarted."""
    if connection.vendor != "postgresql":
        pytest.skip("the suite on PostgreSQL starts a cluster of its own for this")
    shared = connections["default"]
    with own_postgresql(tmp_path) as server:
        connections["default"] = shared.copy()
        address = urlsplit(server.url)
        connection.settings_dict.update(HOST=address.hostname, PORT=address.port, NAME="postgres")
        try:
            call_command("migrate", verbosity=0)
            yield server
        finally:
            connection.close()
            connections["default"] = shared


def test_a_database_that_crashes_and_restarts_is_waited_for(
    cluster: OwnServer, redis_url: str, make_site: Callable[..., Site]
) -> None:
    site = make_site(redis_url, RELAY_LEASE=60)
    relay = site.relay(RELAY_BATCH_SIZE=20)
    site.ledger.commit(1_000)
    eventually(lambda: statuses()["published"] > 0)
    cluster.crash()
    connection.close()
    cluster.start()
    site.ledger.commit(10)
    site.settled(20)
    site.ledger.audit(duplicates=1, affected=20)
    relay.check()


# -- row 11 ---------------------------------------------------------------------------------------

FULL = "'could not extend file: No space left on device'"
ERRORS = {
    "a deadlock": f"OperationalError(1213, {'Deadlock found when trying to get lock'!r})",
    "a serialization failure": f"OperationalError({'could not serialize access due to concurrent update'!r})",
    "a full disk": f"OperationalError({FULL})",
    "a conflict of constraints": f"IntegrityError({'somebody changed the table'!r})",
}


@pytest.mark.one_database
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_a_settle_that_fails_once_is_tried_again_and_publishes_nothing_twice(
    redis_site: Site, error: str
) -> None:
    failpoint = f"from django.db import IntegrityError, OperationalError; before(is_settle, fail({error}))"
    relay = redis_site.relay(failpoint=failpoint, RELAY_LEASE=60)
    redis_site.ledger.commit(30)
    eventually(lambda: REACHED in relay.output())
    redis_site.settled(10)
    redis_site.ledger.audit(duplicates=0)


@pytest.mark.one_database
def test_what_cannot_be_settled_for_long_is_not_claimed_past_its_lease(redis_site: Site) -> None:
    fails = f"for n in range(1, 100): before(is_settle, fail(OperationalError({FULL})), nth=n)"
    relay = redis_site.relay(failpoint=f"from django.db import OperationalError\n{fails}", RELAY_LEASE=1)
    redis_site.ledger.commit(5)
    eventually(lambda: length(redis_site) >= 5)
    relay.kill()
    redis_site.relay()
    redis_site.settled()
    redis_site.ledger.audit(duplicates=20)


@pytest.mark.usefixtures("servers_only")
def test_the_victim_of_a_deadlock_settles_once_more(
    redis_site: Site, make_proxy: Callable[[str], Proxy]
) -> None:
    site, proxy = redis_site, make_proxy(redis_site.url)
    site.relay(through=proxy, RELAY_LEASE=60, BROKER_TIMEOUT=10)
    site.ledger.commit()
    site.settled()
    proxy.when_asked(TASK.encode(), proxy.hold_replies)
    ids = sorted(site.ledger.commit(20))
    eventually(lambda: length(site) == 20)
    with transaction.atomic():
        Note.objects.bulk_create(Note(title="more") for _ in range(100))  # MariaDB ends who has written less
        rows = OutboxMessage.objects.select_for_update()
        list(rows.filter(pk=ids[-1]))
        proxy.open()
        eventually(somebody_waits_for_a_lock)
        list(rows.filter(pk__in=ids[:-1]))  # which the relay holds
    site.settled(20)
    site.ledger.audit(duplicates=0)


def somebody_waits_for_a_lock() -> bool:
    waiting = {
        "postgresql": "pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()",
        "mysql": "information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
    }
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT 1 FROM {waiting[connection.vendor]}")
        return bool(cursor.fetchall())


# -- row 14 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-1, 1])
def test_leases_are_the_databases_whatever_the_clock_of_a_relay_says(redis_site: Site, hours: int) -> None:
    site = redis_site
    site.ledger.commit(5)
    off = f"shift_clock(hours={hours})"
    site.relay(failpoint=f"{off}; before(is_settle, kill)", RELAY_LEASE=30).wait()
    leased = OutboxMessage.objects.filter(
        status="claimed",
        lease_expires_at__gt=database_now(),
        lease_expires_at__lte=database_now() + dt.timedelta(seconds=30),
    )
    assert leased.count() == 5
    site.relay(failpoint=off)
    site.ledger.commit()
    eventually(lambda: statuses()["published"] == 1)
    assert leased.count() == 5, "a lease that holds is respected by all clocks"
    OutboxMessage.objects.filter(status="claimed").update(lease_expires_at=database_now())
    site.settled()
    site.ledger.audit(duplicates=1, affected=5)


# -- row 20 ---------------------------------------------------------------------------------------


def peak(process_id: int | str = "self") -> int:
    """The most memory that a process has had, in MiB."""
    [line] = [
        line
        for line in Path(f"/proc/{process_id}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    ]
    return int(line.split()[1]) // 1024


def test_a_transaction_of_ten_thousand_messages_arrives_and_takes_a_relay_no_memory(redis_site: Site) -> None:
    site = redis_site
    relay = site.relay()
    site.ledger.commit(500)
    site.settled()
    before = peak(relay.pid)
    site.ledger.commit(10_000)
    site.ledger.roll_back(1_000)
    site.settled(100)
    assert peak(relay.pid) - before < 30
    site.ledger.audit()
