"""Old messages go while the relay works, and neither waits for the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction

from dispatch.api import send_task
from dispatch.models import OutboxMessage
from dispatch.outbox import requeue, retention
from dispatch.outbox.retention import Pruning
from dispatch.relay import Relay, loop, pruning
from dispatch.relay.claims import claim
from tests.support.databases import elsewhere
from tests.support.old_messages import left, message
from tests.support.registry import ARGUMENTS, TASK, make_registry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def registry(broker_settings: Callable[..., None], transactional_db: None) -> None:
    broker_settings("memory://")
    make_registry()


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


def prune() -> int:
    return sum(Pruning("default").steps())


def test_the_relay_prunes_in_passing_and_then_rests(relay: Relay) -> None:
    message("published", 8)
    kept = {send_task(TASK, kwargs=ARGUMENTS).pk, message("published", 6)}
    relay.drain()
    assert left() == kept
    later = message("published", 8)
    relay.drain()
    assert left() == {*kept, later}


def test_an_idle_relay_prunes_a_step_after_the_other(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SWEEP_EVERY", 3600.0)
    monkeypatch.setattr(retention, "STEP", 2)
    monkeypatch.setattr(pruning, "SHARE", 1.0)
    for _ in range(7):
        message("published", 8)
    while relay._has_work():
        relay._batch()
    assert left() == set()


def test_however_long_a_walk_took_the_next_one_begins_a_minute_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, pruner = 1_000.0, pruning.Pruner("default")
    step = Pruning.step

    def slowly(walk: Pruning) -> int:
        nonlocal now
        now += 30
        return step(walk)

    monkeypatch.setattr(Pruning, "step", slowly)
    monkeypatch.setattr(pruning, "time", SimpleNamespace(monotonic=lambda: now))
    pruner.go_on()
    while pruner._walk:
        now += 30 / pruning.SHARE
        pruner.go_on()
    gone = message("published", 8)
    now += pruning.REST
    pruner.go_on()
    assert gone not in left()


def test_what_cannot_be_pruned_stops_no_publishing(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: Pruning) -> int:
        raise OperationalError("deadlock detected")

    monkeypatch.setattr(pruning.Pruning, "step", refuse)
    send_task(TASK, kwargs=ARGUMENTS)
    assert relay.drain() == 1
    assert "Old messages were not pruned, trying again: deadlock detected" in caplog.messages


def test_while_the_broker_is_away_nothing_that_waits_is_pruned(
    relay: Relay, broker_settings: Callable[..., None]
) -> None:
    broker_settings("redis://127.0.0.1:1/0", BROKER_TIMEOUT=0.2)
    waits = {message("pending", 3_000, queue="llm"), message("claimed", 3_000)}
    message("published", 8)
    relay.step()
    assert left() == waits
    assert prune() == 0


def test_a_row_that_another_transaction_holds_is_left_and_not_waited_for() -> None:
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("SQLite has one writer, and no locks of rows")
    held = message("cancelled", 8)
    message("cancelled", 8)
    with transaction.atomic():
        list(OutboxMessage.objects.select_for_update().filter(pk=held))
        assert elsewhere(prune) == 1
    assert left() == {held}


def test_pruning_holds_no_claim_up() -> None:
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("SQLite has one writer, and no locks of rows")
    message("published", 8)
    waits = message("pending", 8)
    pruned, claimed = threading.Event(), threading.Event()

    def prune_slowly() -> None:
        with transaction.atomic():
            assert prune() == 1
            pruned.set()
            assert claimed.wait(10), "the claim waited for the pruning"
        connections.close_all()

    thread = threading.Thread(target=prune_slowly)
    thread.start()
    assert pruned.wait(10)
    assert [row.pk for row in claim("default", 10, 60)] == [waits]
    claimed.set()
    thread.join()


def test_what_is_requeued_between_the_look_and_the_deletion_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    back = message("cancelled", 8)
    delete = Pruning._delete

    def requeue_before(self: Pruning, ids: Any) -> int:
        elsewhere(lambda: requeue(OutboxMessage.objects.all()))
        return delete(self, ids)

    monkeypatch.setattr(Pruning, "_delete", requeue_before)
    assert prune() == 0
    assert left() == {back}


def test_a_sqlite_of_default_transactions_prunes_too(deferred: None) -> None:
    message("published", 8)
    assert prune() == 1


def test_several_prune_at_once() -> None:
    for _ in range(40):
        message("published", 8)
    counts: list[int] = []

    def work() -> None:
        counts.append(prune())
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(counts), left()) == (40, set())


def test_a_row_that_another_table_refers_to_stays_and_stops_no_other() -> None:
    table, key = map(connection.ops.quote_name, (OutboxMessage._meta.db_table, "id"))
    kind = OutboxMessage._meta.pk.db_type(connection)
    held, *_ = [message("published", 8 + at) for at in range(5)]
    adapted = OutboxMessage._meta.pk.get_db_prep_value(held, connection)
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE refers (message {kind}, FOREIGN KEY (message) REFERENCES {table} ({key}))"
        )
    try:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO refers VALUES (%s)", [adapted])
        assert prune() == 4
        assert left() == {held}
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE refers")
