"""Brokers and result backends that refuse or never answer: each is left in time, and nobody waits for another's.

``BROKER_TIMEOUT`` is longer here than any test may take, where none is to be waited for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery

from dispatch.api import send_task
from dispatch.client import publisher
from dispatch.client.queue_state import opened
from dispatch.client.result_backend import finished
from dispatch.conf import conf
from dispatch.exceptions import BrokerUnavailable
from dispatch.models import OutboxMessage, TaskDefinition
from dispatch.models.database import database_now
from dispatch.relay import Relay
from dispatch.results import Collector
from tests.support.brokers import task_ids
from tests.support.dead_servers import closed_port, silent_ports
from tests.support.registry import ARGUMENTS, TASK, make_queue, make_registry

pytestmark = pytest.mark.one_database

NEVER, SOON = 600.0, 0.3
SENTINELS = {
    "broker_transport_options": {"master_name": "m"},
    "result_backend_transport_options": {"master_name": "m"},
}


URLS = {
    "sentinel": "sentinel://:s3cret@127.0.0.1:{};sentinel://127.0.0.1:{};sentinel://127.0.0.1:{}",
    "redis": "redis://:s3cret@127.0.0.1:{}/0",
    "amqp": "amqp://user:s3cret@127.0.0.1:{}//",
    "mariadb": "db+mysql+pymysql://root:s3cret@127.0.0.1:{}/results",
    "postgresql": "db+postgresql+psycopg://postgres:s3cret@127.0.0.1:{}/results",
}
BROKERS = ["sentinel", "redis", "amqp"]
BACKENDS = ["sentinel", "redis", "mariadb", "postgresql"]


@pytest.fixture
def silent() -> Iterator[list[int]]:
    with silent_ports(3) as ports:
        yield ports


def url_of(kind: str, ports: list[int]) -> str:
    return URLS[kind].format(*ports)


@pytest.fixture
def point(
    broker_settings: Callable[..., None], redis_url: str, transactional_db: None
) -> Callable[..., None]:
    """Return a function that makes Redis the default broker and result backend, and adds a broker named "bad"."""

    def settings(timeout: float, **bad: Any) -> None:
        entry = {"URL": "memory://", "CONF": SENTINELS, **bad}
        broker_settings(redis_url, redis_url, brokers={"bad": entry}, BROKER_TIMEOUT=timeout, BACKOFF_BASE=60)
        make_registry(queue="good")
        make_queue("bad", broker="bad")
        TaskDefinition.objects.get_or_create(name=TASK)

    return settings


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


def good_ones_pass(relay: Relay, redis_url: str) -> None:
    """Let a message for the silent broker, and several for the other, be published in the same and in later claims."""
    waiting = send_task(TASK, kwargs=ARGUMENTS, queue="bad")
    for _ in range(3):
        passing = send_task(TASK, kwargs=ARGUMENTS)
        for _ in range(50):  # rounds of the relay, each of which ends when something is over
            if relay._batch():
                break
        assert task_ids(redis_url, "good") == [str(passing.pk)]
    waiting.refresh_from_db()
    assert waiting.status == "claimed"
    assert relay.batches.busy == {"bad"}


@pytest.mark.parametrize("kind", BROKERS)
def test_a_silent_broker_holds_up_no_message_of_another(
    kind: str, point: Callable[..., None], relay: Relay, redis_url: str
) -> None:
    with silent_ports(3) as ports:
        point(NEVER, URL=url_of(kind, ports))
        good_ones_pass(relay, redis_url)
    relay._rest()  # the connections were reset
    assert OutboxMessage.objects.get(broker="bad").status == "pending"


def test_a_broker_whose_driver_knows_no_timeout_holds_up_no_message_of_another(
    point: Callable[..., None], relay: Relay, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, connect = threading.Event(), publisher.connect

    def hang(broker: Any) -> Any:
        if broker.alias == "bad":
            gate.wait()
        return connect(broker)

    monkeypatch.setattr(publisher, "connect", hang)
    point(NEVER)
    good_ones_pass(relay, redis_url)
    gate.set()
    assert len(relay._rest()) == 1
    assert OutboxMessage.objects.get(queue="bad").status == "published"


@pytest.mark.parametrize("kind", BROKERS)
@pytest.mark.parametrize("fault", ["closed", "silent"])
def test_a_dead_broker_is_left_after_one_attempt_and_its_message_waits(
    kind: str, fault: str, point: Callable[..., None], relay: Relay, silent: list[int]
) -> None:
    point(SOON, URL=url_of(kind, silent if fault == "silent" else [closed_port() for _ in range(3)]))
    send_task(TASK, kwargs=ARGUMENTS, queue="bad")
    assert relay.drain() == 0
    row = OutboxMessage.objects.get()
    assert (row.status, row.attempts) == ("pending", 0)
    assert "Broker 'bad' cannot be reached: " in row.last_error
    assert "s3cret" not in row.last_error
    assert relay.breakers.open("broker") == {"bad"}


@pytest.mark.parametrize("kind", BROKERS)
def test_who_looks_at_the_queues_of_a_silent_broker_is_told_so(
    kind: str, point: Callable[..., None], silent: list[int]
) -> None:
    point(SOON, URL=url_of(kind, silent))
    with (
        pytest.raises(BrokerUnavailable, match="Broker 'bad' cannot be reached"),
        opened(conf.brokers["bad"]),
    ):
        pass


@pytest.mark.parametrize("kind", BROKERS)
def test_a_relay_that_is_told_to_stop_does_not_leave_the_rows_of_a_silent_broker_claimed(
    kind: str, point: Callable[..., None], relay: Relay, silent: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    point(SOON, URL=url_of(kind, silent))
    send_task(TASK, kwargs=ARGUMENTS, queue="bad")
    monkeypatch.setattr(relay.batches, "first", lambda timeout: relay.stop.set() or [])
    relay.run()
    assert OutboxMessage.objects.get().status == "pending"
    assert relay.batches.busy == set()


# -- results ------------------------------------------------------------------


def published(queue: str) -> str:
    message = send_task(TASK, kwargs=ARGUMENTS, queue=queue)
    OutboxMessage.objects.filter(pk=message.pk).update(status="published", published_at=database_now())
    return str(message.pk)


@pytest.fixture
def worker(redis_url: str) -> Iterator[Celery]:
    app = Celery("worker", backend=redis_url, set_as_current=False)
    yield app
    app.close()


@pytest.mark.parametrize("kind", BACKENDS)
def test_a_silent_result_backend_holds_up_no_result_of_another(
    kind: str, point: Callable[..., None], worker: Celery
) -> None:
    with silent_ports(3) as ports:
        point(NEVER, RESULT_BACKEND=url_of(kind, ports))
        published("bad")
        collector = Collector()
        for _ in range(3):
            worker.backend.store_result(published("good"), 1, "SUCCESS")
            assert any(collector.sweep(0.05) for _ in range(50))
        assert collector._asked.names == {"bad"}


@pytest.mark.parametrize("kind", BACKENDS)
@pytest.mark.parametrize("fault", ["closed", "silent"])
def test_a_dead_result_backend_is_left_after_one_attempt(
    kind: str,
    fault: str,
    point: Callable[..., None],
    worker: Celery,
    silent: list[int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    ports = silent if fault == "silent" else [closed_port() for _ in range(3)]
    point(SOON, RESULT_BACKEND=url_of(kind, ports))
    published("bad")
    worker.backend.store_result(published("good"), 1, "SUCCESS")
    collector = Collector()
    assert [collector.sweep(), collector.sweep()] == [1, 0]
    assert "The result backend of broker 'bad' cannot be" in caplog.text
    assert "s3cret" not in caplog.text
    assert collector.backends.failures == {"bad": 1}


def test_an_answer_that_comes_between_two_sweeps_is_handled_by_the_second(
    point: Callable[..., None], worker: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, asked = threading.Event(), []
    monkeypatch.setattr("dispatch.results.schedule.CHUNK", 1)

    def slowly(alias: str, task_ids: list[str]) -> Any:
        gate.wait()
        asked.append(task_ids)
        return finished(alias, task_ids)

    monkeypatch.setattr("dispatch.results.collector.finished", slowly)
    point(NEVER)
    for _ in range(3):
        worker.backend.store_result(published("good"), 1, "SUCCESS")
    collector = Collector()
    assert collector.sweep(0.05) == 0
    gate.set()
    assert collector.sweep() == 3
    assert len(asked) == 3
