"""Several relays on one outbox: each database has its own kind of claim, and none takes a row twice."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from dispatch.api import Call, send_many, send_task
from dispatch.models import OutboxMessage
from dispatch.relay.claims import claim
from tests.support.registry import ARGUMENTS, TASK, make_queue, make_task

pytestmark = pytest.mark.django_db(transaction=True)
ROWS = 400


@pytest.fixture(autouse=True)
def registry(transactional_db: None) -> None:
    make_task(queue=make_queue("default", is_default=True))


def test_four_relays_share_the_rows_without_taking_one_twice() -> None:
    send_many(Call(TASK, kwargs=ARGUMENTS) for _ in range(ROWS))
    claimed: list[object] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        empty = 0
        while empty < 3:
            try:
                rows = claim("default", 10, lease=60)
            except OperationalError:
                if connection.vendor != "mysql":
                    raise
                continue  # MariaDB may call a deadlock: the relay tries again
            claimed.extend(row.pk for row in rows)
            empty = 0 if rows else empty + 1
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(Counter(claimed).values()) == 1
    assert len(claimed) == ROWS
    assert not OutboxMessage.objects.filter(status="pending").exists()


def test_the_claim_is_of_the_kind_that_the_database_does_well() -> None:
    send_task(TASK, kwargs=ARGUMENTS)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert len(claim("default", 10, lease=60)) == 1
    statements = " ".join(query["sql"] for query in queries)
    skips_locked = connection.vendor in ("postgresql", "mysql")
    assert ("SKIP LOCKED" in statements) is skips_locked
    assert statements.count("UPDATE") - statements.count("FOR UPDATE") == 1


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="others have no such setting")
def test_a_claim_waits_for_no_disk_and_what_follows_it_does() -> None:
    def setting() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            return str(cursor.fetchone()[0])

    send_task(TASK, kwargs=ARGUMENTS)
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = on")
    with transaction.atomic():  # which keeps what the claim's own would take back
        assert len(claim("default", 10, lease=60)) == 1
        assert setting() == "off"
    assert setting() == "on"


def test_a_row_that_another_transaction_holds_is_skipped_not_waited_for() -> None:
    if not connection.features.has_select_for_update_skip_locked:
        # SQLite has one writer: the other relay's claim is over before this one begins
        send_task(TASK, kwargs=ARGUMENTS)
        assert [len(claim("default", 1, lease=60)), len(claim("default", 1, lease=60))] == [1, 0]
        return
    held, free = send_many([Call(TASK, kwargs=ARGUMENTS), Call(TASK, kwargs=ARGUMENTS)])
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            list(OutboxMessage.objects.select_for_update().filter(pk=held.pk))
            locked.set()
            done.wait(10)
        connections.close_all()

    thread = threading.Thread(target=hold)
    thread.start()
    assert locked.wait(10)
    rows = claim("default", 10, lease=60)
    done.set()
    thread.join()
    assert [row.pk for row in rows] == [free.pk]


def test_a_transaction_that_commits_late_is_not_passed_over() -> None:
    inserted, later_is_claimed = threading.Event(), threading.Event()
    ids: list[object] = []

    def commit_late() -> None:
        with transaction.atomic():
            ids.append(send_task(TASK, kwargs=ARGUMENTS).pk)
            inserted.set()
            later_is_claimed.wait(0.5 if connection.vendor == "sqlite" else 10)
        connections.close_all()

    thread = threading.Thread(target=commit_late)
    thread.start()
    assert inserted.wait(10)
    later = send_task(TASK, kwargs=ARGUMENTS)
    first = {row.pk for row in claim("default", 10, lease=60)}
    later_is_claimed.set()
    thread.join()
    assert later.pk in first
    assert first | {row.pk for row in claim("default", 10, lease=60)} == {later.pk, *ids}
