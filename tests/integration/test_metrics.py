"""Metrics of a real relay and collector over a real Redis, read as Prometheus reads them."""

from __future__ import annotations

import io
import os
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.backends.signals import connection_created
from prometheus_client.parser import text_string_to_metric_families

from dispatch import metrics
from dispatch.api import send_task
from dispatch.models import OutboxMessage
from dispatch.signals import messages_counted, messages_inserted
from tests.support.dead_servers import closed_port
from tests.support.registry import ARGUMENTS, TASK, make_registry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def registry(broker_settings: Callable[..., None], redis_url: str, transactional_db: None) -> Any:
    broker_settings(redis_url, redis_url)
    make_registry()
    yield
    messages_inserted.disconnect(dispatch_uid="dispatch.metrics")
    messages_counted.disconnect(dispatch_uid="dispatch.metrics")
    for metric in metrics._COUNTED:
        metric.clear()


def scraped(port: int) -> dict[tuple[str, ...], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def seen(found: Callable[[], bool]) -> bool:
    return any(found() or time.sleep(0.01) for _ in range(1_000))


def runs(*command: str, meanwhile: Callable[[], Any]) -> Any:
    """Run a subcommand until what is done meanwhile has returned, and return that."""
    answers: list[Any] = []

    def work() -> None:
        try:
            answers.append(meanwhile())
        finally:
            connections.close_all()
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=work)
    thread.start()
    call_command("dispatch", *command, stdout=io.StringIO())
    thread.join()
    return answers[0]


def test_relay_and_collector_tell_what_they_do_while_they_do_it(redis_url: str) -> None:
    port = closed_port()
    message = send_task(TASK, kwargs=ARGUMENTS)
    rows = OutboxMessage.objects.filter(pk=message.pk)

    def meanwhile() -> dict[tuple[str, ...], float]:
        assert seen(rows.filter(status="published").exists)
        Celery(backend=redis_url, set_as_current=False).backend.store_result(str(message.pk), 1, "SUCCESS")
        assert seen(rows.filter(handled_at__isnull=False).exists)
        assert seen(lambda: ("dispatch_tasks_succeeded_total", "llm", TASK) in scraped(port))
        return scraped(port)

    told = runs("run", "--metrics", str(port), meanwhile=meanwhile)
    for name in (
        "dispatch_messages_published_total",
        "dispatch_enqueue_to_publish_seconds_count",
        "dispatch_tasks_succeeded_total",
        "dispatch_enqueue_to_result_seconds_count",
    ):
        assert told[name, "llm", TASK] == 1
    assert told["dispatch_database_up",] == 1
    assert told["dispatch_pending_messages", "llm"] == 0
    host = socket.gethostname()
    assert {key for key in told if key[0] == "dispatch_heartbeat_age_seconds"} == {
        ("dispatch_heartbeat_age_seconds", host, kind, str(os.getpid())) for kind in ("relay", "collector")
    }
    assert told["process_cpu_seconds_total",] > 0


@pytest.mark.parametrize("subcommand", ["relay", "results"])
def test_each_process_serves_its_own_and_stops_doing_so_with_it(subcommand: str) -> None:
    port = closed_port()

    def meanwhile() -> bool:
        def is_served() -> bool:
            try:
                return bool(scraped(port)["dispatch_database_up",])
            except OSError:
                return False

        return seen(is_served)

    assert runs(subcommand, "--metrics", f"127.0.0.1:{port}", meanwhile=meanwhile)
    with pytest.raises(OSError, match="refused"):
        scraped(port)


def test_no_scrape_leaves_a_connection_to_the_database_behind() -> None:
    opened: list[Any] = []

    def note(connection: Any, **_: Any) -> None:
        opened.append(connection)

    port = closed_port()
    connection_created.connect(note)
    try:
        with metrics.serve("127.0.0.1", port, "default"):
            assert [scraped(port)["dispatch_database_up",] for _ in range(2)] == [1, 1]
    finally:
        connection_created.disconnect(note)
    assert {each.connection for each in opened} == {None}


def test_failed_attempts_and_dead_messages_are_counted(settings: Any) -> None:
    settings.DISPATCH = {**settings.DISPATCH, "MAX_ATTEMPTS": 1, "SERIALIZERS": ["json", "yaml"]}
    metrics.connect()
    send_task(TASK, kwargs=ARGUMENTS, serializer="yaml")
    settings.DISPATCH = {**settings.DISPATCH, "SERIALIZERS": ["json"]}
    call_command("dispatch", "relay", "--once", stdout=io.StringIO())
    [dead] = metrics.COUNTERS["dead"].collect()
    assert {sample.value for sample in dead.samples if sample.name.endswith("_total")} == {1}


def test_what_is_delivered_at_the_commit_is_counted_by_the_process_that_does(settings: Any) -> None:
    settings.DISPATCH = {**settings.DISPATCH, "DELIVERY": "on_commit"}
    metrics.connect()
    send_task(TASK, kwargs=ARGUMENTS)
    for counter in (metrics.ENQUEUED, metrics.COUNTERS["published"]):
        assert counter.labels("llm", TASK)._value.get() == 1


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=f"Metrics cannot be served at 127.0.0.1:{port}: .*in use"):
            call_command("dispatch", "relay", "--once", "--metrics", str(port))
