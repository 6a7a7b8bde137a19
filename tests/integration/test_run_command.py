"""``dispatch run``: what relay and collector do, in one process."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.core.management import CommandError, call_command
from django.db import connections

from dispatch.api import send_task
from dispatch.exceptions import ConfigurationError
from dispatch.models import OutboxMessage
from dispatch.relay import Relay
from dispatch.results import Collector
from tests.support.registry import ARGUMENTS, TASK, make_registry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def results(broker_settings: Callable[..., None], tmp_path: Path) -> str:
    url = f"file://{tmp_path}"
    broker_settings("memory://", url)
    make_registry()
    return url


def seen(found: Callable[[], bool]) -> bool:
    return any(found() or time.sleep(0.01) for _ in range(1_000))


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_messages_are_published_and_results_handled_until_a_signal(results: str, end: int) -> None:
    message = send_task(TASK, kwargs=ARGUMENTS)
    done: list[bool] = []

    def work() -> None:
        rows = OutboxMessage.objects.filter(pk=message.pk)
        try:
            done.append(seen(rows.filter(status="published").exists))
            Celery(backend=results, set_as_current=False).backend.store_result(str(message.pk), 1, "SUCCESS")
            done.append(seen(rows.filter(handled_at__isnull=False).exists))
        finally:
            connections.close_all()
            os.kill(os.getpid(), end)

    worker, out = threading.Thread(target=work), io.StringIO()
    worker.start()
    call_command("dispatch", "run", stdout=out)
    assert done == [True, True]
    assert out.getvalue().splitlines() == [
        "Relaying the outbox of database 'default' and collecting its results. Stop with Ctrl-C or SIGTERM.",
        "Relay and collector stopped; what was claimed is published or released.",
    ]


def test_once_does_what_there_is_to_do(results: str) -> None:
    message = send_task(TASK, kwargs=ARGUMENTS)
    Celery(backend=results, set_as_current=False).backend.store_result(str(message.pk), 1, "SUCCESS")
    out = io.StringIO()
    call_command("dispatch", "run", "--once", stdout=out)
    assert out.getvalue() == "1 messages published.\n1 results handled.\n"


@pytest.mark.parametrize("victim", [Relay, Collector], ids=["relay", "results"])
@pytest.mark.parametrize(
    ("error", "told"),
    [(RuntimeError, RuntimeError), (ConfigurationError, CommandError)],
    ids=["odd", "known"],
)
def test_one_that_fails_ends_the_other_and_the_command(
    results: str,
    victim: Any,
    error: type[Exception],
    told: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(self: Any, *_: Any) -> None:
        raise error("It broke.")

    monkeypatch.setattr(victim, "run", fail)
    with pytest.raises(told, match="It broke"):
        call_command("dispatch", "run", stdout=io.StringIO())
