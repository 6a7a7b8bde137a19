"""Redis tells which results were stored; whoever does not hear of it finds them in a sweep."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery

from dispatch.api import send_task, task_finished
from dispatch.client.result_notices import Notices
from dispatch.models import OutboxMessage
from dispatch.models.database import database_now
from dispatch.results import Collector
from tests.support.dead_servers import silent_ports
from tests.support.registry import ARGUMENTS, TASK, make_registry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]

OURS = "01890a5d-ac96-774b-bcce-b302099a8057"


def wait_for(condition: Callable[[], Any]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def notices() -> Iterator[Notices]:
    stop = threading.Event()
    notices = Notices(stop)
    yield notices
    stop.set()
    notices.close()


@pytest.fixture
def store(redis_url: str) -> Iterator[Callable[..., None]]:
    """Store results as a worker does."""
    apps: dict[str, Celery] = {}

    def store(prefix: str, *task_ids: str) -> None:
        if prefix not in apps:
            apps[prefix] = Celery("worker", backend=redis_url, set_as_current=False)
            options = {"global_keyprefix": prefix} if prefix else {}
            apps[prefix].conf.update(result_backend_transport_options=options)
        for task_id in task_ids:
            apps[prefix].backend.store_result(task_id, 1, "SUCCESS")

    yield store
    for app in apps.values():
        app.backend.client.close()
        app.close()


@pytest.mark.parametrize("prefix", ["", "ours", "a[1]*?"])
def test_ids_of_stored_results_are_heard(
    redis_url: str,
    broker_settings: Callable[..., None],
    store: Callable[..., None],
    notices: Notices,
    prefix: str,
) -> None:
    options = {"result_backend_transport_options": {"global_keyprefix": prefix} if prefix else {}}
    entry = {"URL": "memory://", "RESULT_BACKEND": redis_url, "CONF": options}
    broker_settings("", brokers={"default": entry})
    notices.listen()
    offered: list[str] = []
    heard: list[str] = []

    def hear() -> list[str]:
        offered.append(str(uuid.uuid4()))  # what is stored already is not published again
        store(prefix, "not-one-of-ours", offered[-1])
        if notices.heard.wait(0.1):
            heard.extend(map(str, notices.take("default")))
        return heard

    wait_for(hear)
    store("others", OURS)
    heard.clear()
    wait_for(hear)
    assert set(heard) <= set(offered)


def test_a_result_backend_that_is_silent_or_no_redis_is_not_listened_to(
    broker_settings: Callable[..., None], notices: Notices
) -> None:
    with silent_ports(1) as [port]:
        entries = {
            "default": f"redis://127.0.0.1:{port}/0",
            "closed": "redis://127.0.0.1:1/0",
            "db": "django-db",
        }
        brokers = {alias: {"URL": "memory://", "RESULT_BACKEND": url} for alias, url in entries.items()}
        broker_settings("", brokers=brokers, BROKER_TIMEOUT=0.1)
        notices.listen()
        assert not notices.heard.wait(0.3)
        assert [notices.take(alias) for alias in (*entries, "unknown")] == [[], [], [], []]


def test_a_collector_that_sleeps_wakes_up_for_a_notice(
    redis_url: str, broker_settings: Callable[..., None], store: Callable[..., None]
) -> None:
    broker_settings("memory://", redis_url, RESULTS_POLL_INTERVAL=3600)
    make_registry()
    message = send_task(TASK, kwargs=ARGUMENTS)
    OutboxMessage.objects.filter(pk=message.pk).update(status="published", published_at=database_now())
    collector = Collector()
    emergency = threading.Timer(20, collector.stop.set)

    def end() -> None:
        wait_for(lambda: "default" in collector._schedules and collector._schedules["default"]._due)
        while not collector.stop.wait(0.1):  # until the subscription stands
            store("", str(message.pk))

    def finish(**_: Any) -> None:
        collector.stop.set()

    task_finished.connect(finish, dispatch_uid="test")
    worker = threading.Thread(target=end)
    worker.start()
    emergency.start()
    try:
        collector.run()
    finally:
        emergency.cancel()
        worker.join()
        task_finished.disconnect(dispatch_uid="test")
    message.refresh_from_db()
    assert message.handled_at
