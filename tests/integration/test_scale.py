"""A million messages that wait, and a hundred thousand that move: nobody else notices."""

from __future__ import annotations

import datetime as dt
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction

from dispatch import health, registry
from dispatch.api import Call, send_many, send_task
from dispatch.models import Binding, Exchange, OutboxMessage, Queue, Route, TaskDefinition
from dispatch.outbox.retention import Pruning, first_id
from dispatch.relay import Relay, loop
from dispatch.relay.backlog_rerouting import CHUNK, Walk
from dispatch.relay.claims import claim
from dispatch.triggers.recent_messages import MOST_COUNTED, recent
from tests.support.backlog import restamp
from tests.support.bulk import analyze, multiply
from tests.support.old_messages import DAY, message
from tests.support.registry import ARGUMENTS, TASK, make_queue, make_registry, make_task, waiting
from tests.support.routers import BY_LENGTH, ROUTERS
from tests.support.stacks import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
OTHER = "worker.tasks.other"
MILLION, MANY = 1_000_000, 100_000
TABLE = OutboxMessage._meta.db_table
LONG_TEXT = {"note_id": "1", "text": "long " * 400}


@pytest.fixture(autouse=True)
def task(broker_settings: Callable[..., None], transactional_db: None) -> TaskDefinition:
    broker_settings("memory://", ROUTERS=ROUTERS)
    make_task(OTHER)
    return make_registry()


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


# -- what is paused -------------------------------------------------------------------------------


def rows_read(work: Callable[[], object]) -> int:
    """Return about how many rows of the outbox the database reads for this."""
    count = {"postgresql": _read_by_postgresql, "mysql": _read_by_mariadb, "sqlite": _read_by_sqlite}
    return count[connection.vendor](work)


def _one(statement: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return int(sum(int(row[-1]) for row in cursor.fetchall()))


def _read_by_postgresql(work: Callable[[], object]) -> int:
    statement = (
        "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables "  # of this transaction alone
        f"WHERE relname = '{TABLE}'"
    )
    with transaction.atomic():
        before = _one(statement)
        work()
        return _one(statement) - before


def _read_by_mariadb(work: Callable[[], object]) -> int:
    before = _one("SHOW SESSION STATUS LIKE 'Handler_read%'")
    work()
    return _one("SHOW SESSION STATUS LIKE 'Handler_read%'") - before


def _read_by_sqlite(work: Callable[[], object]) -> int:
    """A row takes ten instructions of SQLite's machine at least."""
    ticks = []
    connection.ensure_connection()
    connection.connection.set_progress_handler(lambda: ticks.append(1), 10)
    try:
        work()
    finally:
        connection.connection.set_progress_handler(None, 0)
    return len(ticks)


def pause(kind: str) -> dict[str, Any]:
    """Pause something, and return how to send a message that it holds back."""
    if kind == "task":
        TaskDefinition.objects.filter(name=TASK).update(paused=True)
        return {}
    Queue.objects.filter(name="llm").update(paused=True)
    if kind == "queue":
        return {}
    exchange = Exchange.objects.create(name="topic", type="topic")
    for name in ("default", "llm"):
        Binding.objects.create(queue=Queue.objects.get(name=name), exchange=exchange, routing_key="#")
    return {"exchange": "topic", "routing_key": "any"}


@pytest.mark.parametrize("kind", ["queue", "task", "exchange"])
def test_a_claim_reads_nothing_of_a_million_paused_messages(relay: Relay, kind: str) -> None:
    held = send_task(TASK, kwargs=ARGUMENTS, **pause(kind))
    OutboxMessage.objects.update(available_at="2025-01-01 00:00Z")
    multiply(held, MILLION)
    names = ["default", *("llm",) * (kind == "task"), *(make_queue(f"open {n}").name for n in range(3))]
    passing = send_many(Call(OTHER, kwargs=ARGUMENTS, queue=name) for name in names for _ in range(5))
    without = relay.batches.left_alone(registry.current())
    claimed: list[OutboxMessage] = []
    read = rows_read(lambda: claimed.extend(claim("default", 200, 60, without=without)))
    assert {row.pk for row in claimed} == {row.pk for row in passing}
    assert read < 5_000

    OutboxMessage.objects.filter(pk__in=[row.pk for row in claimed]).update(
        status="pending", lease_token=None, lease_expires_at=None
    )
    assert relay.step() == len(passing)
    assert OutboxMessage.objects.filter(status="pending").count() == MILLION + 1, "nothing is lost"


def test_a_claim_reads_no_more_of_a_million_messages_that_are_due_than_of_a_thousand() -> None:
    first = send_task(TASK, kwargs=ARGUMENTS)
    OutboxMessage.objects.update(available_at="2025-01-01 00:00Z")
    read = []
    for number, count in enumerate((1_000, MILLION)):
        multiply(first, count, prefix=f"000{number}")
        claimed: list[OutboxMessage] = []
        read.append(rows_read(lambda: claimed.extend(claim("default", 200, 60))))  # noqa: B023
        assert len(claimed) == 200
        OutboxMessage.objects.update(status="pending", lease_token=None, lease_expires_at=None)
    assert OutboxMessage.objects.filter(status="pending").count() == MILLION + 1_001
    assert read[1] < 2 * read[0]


def test_messages_that_waited_before_their_task_was_paused_are_soon_out_of_the_way(relay: Relay) -> None:
    multiply(send_task(TASK, kwargs=ARGUMENTS), MANY)
    passing = send_task(OTHER, kwargs=ARGUMENTS, queue="llm")
    pause("task")
    assert restamp("default", registry.current()) == MANY + 1
    without = relay.batches.left_alone(registry.current())

    def reads_little() -> bool:
        analyze()
        with transaction.atomic():
            claimed: list[OutboxMessage] = []
            read = rows_read(lambda: claimed.extend(claim("default", 200, 60, without=without)))
            transaction.set_rollback(True)
        assert [row.pk for row in claimed] == [passing.pk]
        return read < 5_000

    eventually(reads_little)  # MariaDB cleans its indexes up a while after
    TaskDefinition.objects.update(paused=False)
    assert restamp("default", registry.current()) == MANY + 1
    assert OutboxMessage.objects.filter(queue="llm").count() == MANY + 2


# -- what moves -----------------------------------------------------------------------------------


def backlog(arguments: dict[str, str]) -> None:
    multiply(send_task(TASK, kwargs=arguments), MANY - 1)


def move_route() -> None:
    Route.objects.filter(kind="glob").update(queue=make_queue("moved"))


def route_by_arguments() -> None:
    Route.objects.update(position=10)
    make_queue("long")
    Route.objects.create(pattern=BY_LENGTH, kind="callable", position=1)


@pytest.mark.parametrize(
    ("change", "target"), [(move_route, "moved"), (route_by_arguments, "long")], ids=["names", "arguments"]
)
def test_a_hundred_thousand_messages_move_in_short_steps_and_little_memory(
    change: Callable[[], None], target: str
) -> None:
    backlog(LONG_TEXT)
    change()
    walk, steps = Walk("default", registry.current()), 0
    tracemalloc.start()
    while not walk.done:
        before = walk.moved
        walk.go_on(0)
        assert walk.moved - before <= CHUNK
        steps += 1
        if steps == 20:  # watching memory is slow
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    assert peak < 20 * 2**20
    assert steps > MANY // CHUNK
    assert (walk.moved, OutboxMessage.objects.filter(queue=target).count()) == (MANY, MANY)
    assert restamp("default", registry.current()) == 0


def test_the_relay_goes_on_publishing_while_the_backlog_moves(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "RESTAMP_SLICE", 0.0)
    backlog(ARGUMENTS)
    move_route()
    assert relay.step() == loop.FIRST
    moved = OutboxMessage.objects.filter(status="pending", queue="moved").count()
    assert 0 < moved <= MANY // 2, "it does not wait for all of them"
    published = OutboxMessage.objects.filter(status="published")
    assert {row["queue"] for row in published.values_list("published_to", flat=True)} == {"moved"}


def test_what_a_killed_relay_left_half_way_is_moved_by_the_next(relay: Relay) -> None:
    backlog(ARGUMENTS)
    move_route()
    Walk("default", registry.current()).go_on(0)  # and is killed
    assert OutboxMessage.objects.filter(queue="moved").count() == CHUNK
    pausing = Queue.objects.filter(name="moved")
    pausing.update(paused=True)
    while relay.step() or relay._is_walking:
        pass
    assert OutboxMessage.objects.filter(queue="moved", status="pending").count() == MANY


def test_moving_is_safe_beside_claims_and_sends() -> None:
    backlog(ARGUMENTS)
    Queue.objects.filter(name="llm").update(paused=False)
    move_route()
    snapshot, over = registry.current(), threading.Event()
    claimed: list[Any] = []
    sent: list[Any] = []
    errors: list[BaseException] = []

    def repeatedly(work: Callable[[], None]) -> None:
        try:
            while not over.is_set():
                try:
                    work()
                except OperationalError:
                    if connection.vendor != "mysql":
                        raise  # MariaDB may call a deadlock: the relay tries again
        except BaseException as error:  # noqa: BLE001 - it is told in the end
            errors.append(error)
        finally:
            connections.close_all()

    def take() -> None:
        claimed.extend(row.pk for row in claim("default", 100, 600))

    def send() -> None:
        sent.append(send_task(TASK, kwargs=ARGUMENTS).pk)

    walks = [Walk("default", snapshot) for _ in range(2)]
    workers = [threading.Thread(target=repeatedly, args=(work,)) for work in (take, send)]
    second = threading.Thread(target=repeatedly, args=(lambda: walks[1].go_on(0.1),))
    for thread in (*workers, second):
        thread.start()
    repeat_until_done(walks[0])
    over.set()
    for thread in (*workers, second):
        thread.join()
    assert errors == []
    assert claimed
    assert sent
    assert len(claimed) == len(set(claimed))
    assert OutboxMessage.objects.filter(status="claimed").count() == len(claimed)
    assert OutboxMessage.objects.count() == MANY + len(sent)
    assert not OutboxMessage.objects.filter(status="pending").exclude(queue="moved").exists()


def repeat_until_done(walk: Walk) -> None:
    while not walk.done:
        try:
            walk.go_on(0.1)
        except OperationalError:
            if connection.vendor != "mysql":
                raise


# -- who looks ------------------------------------------------------------------------------------


def test_a_look_at_the_health_reads_little_of_a_full_outbox(broker_settings: Callable[..., None]) -> None:
    broker_settings("memory://", "redis://127.0.0.1:1/0")
    for prefix, status in {"0000": "pending", "0001": "published", "0002": "dead"}.items():
        multiply(waiting("llm", seconds=7_200, status=status), MANY, prefix)
    seen: list[health.Health] = []
    read = rows_read(lambda: seen.append(health.look("default")))
    [found] = seen
    assert (found.dead, found.awaited) == (health.MOST_COUNTED, health.MOST_COUNTED)
    assert [(line.queue, line.pending) for line in found.queues] == [("default", 0), ("llm", 1_000)]
    assert read < 20_000


def test_what_triggers_sent_lately_is_read_off_the_ends_of_a_full_outbox() -> None:
    for prefix, status in {"0000": "published", "0001": "dead"}.items():
        row = waiting("llm", status=status, origin="trigger", origin_name="On save")
        multiply(row, MANY, prefix)
    found: list[Any] = []
    read = rows_read(lambda: found.append(recent("default")))
    assert list(found[0]) == ["On save"]
    assert found[0]["On save"].sent == MOST_COUNTED
    assert found[0]["On save"].dead is not None
    assert read < 4 * MOST_COUNTED


# -- what is old ----------------------------------------------------------------------------------


def test_pruning_reads_nothing_of_a_million_messages_that_are_kept() -> None:
    now = dt.datetime.now(dt.UTC)
    young = OutboxMessage.objects.get(pk=message("published", 1))
    multiply(young, MILLION, prefix=f"{first_id(now).int >> 112:04x}")  # of the last 50 days
    message("published", 200)
    pruned: list[int] = []
    read = rows_read(lambda: pruned.extend(Pruning("default", {"published": 100 * DAY}).steps()))
    assert sum(pruned) == 1
    assert read < 5_000
