"""When a relay that has nothing to do looks again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from dispatch.api import send_task
from dispatch.relay import Relay, loop, pruning
from dispatch.relay.waking_up import SHORTEST, Pauses
from tests.support.registry import ARGUMENTS, TASK, make_registry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def memory_broker(broker_settings: Callable[..., None]) -> None:
    broker_settings("memory://")
    make_registry()


class Clock(threading.Event):
    """An event of which nobody waits, and which knows for how long one would have."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0)
        return True


def test_pauses_grow_up_to_the_interval_and_are_short_after_work(
    broker_settings: Callable[..., None],
) -> None:
    broker_settings("memory://", RELAY_POLL_INTERVAL=SHORTEST * 3)
    clock = Clock()
    pauses = Pauses("default", clock)
    for _ in range(4):
        pauses.wait()
    pauses.end()
    pauses.wait()
    assert clock.waits == [SHORTEST, SHORTEST * 2, SHORTEST * 3, SHORTEST * 3, SHORTEST]


def test_an_idle_relay_asks_once_and_finds_what_comes(settings: Any) -> None:
    relay = Relay()
    assert [relay.step(), relay.step()] == [0, 0]
    settings.DISPATCH = settings.DISPATCH | {"REGISTRY_TTL": 60}
    relay.step()
    queries = CaptureQueriesContext(connection)
    assert min(asked(relay, queries) for _ in range(3)) == 1  # in one of them a second may be over, or five
    send_task(TASK, kwargs=ARGUMENTS)
    assert relay.step() == 1
    relay.close()


def test_an_idle_relay_goes_a_round_for_a_message_and_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SWEEP_EVERY", 3600.0)
    monkeypatch.setattr(pruning, "SHARE", 1e-9)  # one step is all for now
    relay = Relay()
    assert relay._has_work(), "it has not looked yet"
    relay.step()
    with CaptureQueriesContext(connection) as queries:
        assert not relay._has_work()
    assert len(queries) == 1
    send_task(TASK, kwargs=ARGUMENTS)
    assert relay._has_work()
    assert relay.step() == 1
    relay.step()
    monkeypatch.setattr(loop, "SWEEP_EVERY", 0.0)
    assert relay._has_work()
    relay.close()


def asked(relay: Relay, queries: CaptureQueriesContext) -> int:
    """Return how many queries a step takes."""
    with queries:
        relay.step()
    return len(queries)


def test_a_connection_that_is_lost_within_a_pause_ends_the_pause_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lose(self: Pauses) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(Pauses, "wait", lose)
    Relay()._pause()


def test_nothing_is_told_unless_asked_for() -> None:
    with CaptureQueriesContext(connection) as queries:
        send_task(TASK, kwargs=ARGUMENTS)
    assert "NOTIFY" not in " ".join(query["sql"] for query in queries)


def test_on_postgresql_a_commit_ends_the_pause(broker_settings: Callable[..., None]) -> None:
    broker_settings("memory://", LISTEN=True, RELAY_POLL_INTERVAL=3600)
    if connection.vendor != "postgresql":
        send_task(TASK, kwargs=ARGUMENTS)  # the others know no notices, and no error is made of it
        Pauses("default", Clock()).wait()
        return
    listening = threading.Event()

    def wait() -> None:
        pauses = Pauses("default", threading.Event())
        pauses.wait()
        pauses._seconds = 3600
        listening.set()
        pauses.wait()
        connections.close_all()

    thread = threading.Thread(target=wait)
    thread.start()
    assert listening.wait(20)
    with transaction.atomic():
        send_task(TASK, kwargs=ARGUMENTS)
    thread.join(20)
    assert not thread.is_alive()
