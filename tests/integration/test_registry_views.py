"""Whose view of the registry counts, and what a look at it may cost the work around it."""

from __future__ import annotations

import sys
import threading
import time
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from dispatch import registry
from dispatch.models import RegistryVersion
from project.notes.models import Note
from tests.support.databases import elsewhere
from tests.support.registry import make_registry, make_task, make_trigger

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_ttl")]


def known_tasks() -> set[str]:
    return set(registry.current().tasks)


# -- SQLite's deferred transactions ---------------------------------------------------------------


@pytest.mark.parametrize("is_known", [True, False])
def test_a_deferred_transaction_takes_the_write_lock_before_it_looks_at_the_registry(
    deferred: None, is_known: bool
) -> None:
    make_registry()
    registry.current()
    if not is_known:
        registry.cache.clear()
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        Group.objects.create(name="A").delete()
    first = queries[0]["sql"]
    assert first.startswith('UPDATE "dispatch_registryversion"')
    assert first.endswith("WHERE 0")


def test_what_runs_outside_of_one_sees_the_change(deferred: None) -> None:
    task = make_registry()
    registry.current()
    elsewhere(lambda: make_trigger(task, "created"))
    Group.objects.create(name="A")
    assert len(registry.current().triggers) == 1


def test_writers_in_deferred_transactions_do_not_lock_each_other_out(deferred: None) -> None:
    make_registry()
    registry.current()
    errors: list[Exception] = []

    def write() -> None:
        for _ in range(25):
            try:
                with transaction.atomic():
                    Group.objects.create(name=uuid.uuid4().hex)
            except OperationalError as error:
                errors.append(error)
        connections.close_all()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


# -- threads --------------------------------------------------------------------------------------


def test_who_has_a_snapshot_does_not_wait_for_the_look_of_another_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_registry()
    known = registry.current()
    looking, go = threading.Event(), threading.Event()
    ask = RegistryVersion.current

    def ask_slowly(using: str) -> uuid.UUID | None:
        looking.set()
        go.wait(5)
        return ask(using)

    monkeypatch.setattr(RegistryVersion, "current", ask_slowly)
    thread = threading.Thread(target=lambda: elsewhere(registry.current))
    thread.start()
    assert looking.wait(5)
    try:
        assert registry.current() is known
    finally:
        go.set()
        thread.join()


def test_threads_without_a_snapshot_wait_for_the_first_one_and_load_none_themselves(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    make_registry()
    settings.DISPATCH = {**settings.DISPATCH, "REGISTRY_TTL": 60}
    registry.cache.clear()
    module = sys.modules["dispatch.registry.cache"]
    load, loads, found = module.load, [], []

    def load_slowly(using: str) -> registry.Snapshot:
        loads.append(using)
        time.sleep(0.3)
        return load(using)

    def look() -> None:
        found.append(registry.current())
        connections.close_all()

    monkeypatch.setattr(module, "load", load_slowly)
    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == ["default"]
    assert [snapshot is found[0] for snapshot in found] == [True] * 4


# -- repeatable read ------------------------------------------------------------------------------


@pytest.fixture
def repeatable_read() -> str:
    """The statement by which a session's next transactions keep the view they began with."""
    statements = {
        "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "mysql": "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    }
    if connection.vendor not in statements:
        pytest.skip("SQLite has no isolation levels")
    return statements[connection.vendor]


def test_an_old_view_is_its_own_transactions_alone(repeatable_read: str, settings: Any) -> None:
    make_registry()
    before = known_tasks()
    began, changed, looked, over = (threading.Event() for _ in range(4))
    seen: list[set[str]] = []

    def long_transaction() -> None:
        with connection.cursor() as cursor:
            cursor.execute(repeatable_read)
        with transaction.atomic():
            seen.append(known_tasks())
            began.set()
            changed.wait(10)
            seen.append(known_tasks())
            looked.set()
            over.wait(10)
            Note.objects.create(title="A")
        seen.append(known_tasks())
        connections.close_all()

    thread = threading.Thread(target=long_transaction)
    thread.start()
    assert began.wait(10)
    make_task("new")
    assert known_tasks() == before | {"new"}
    changed.set()
    assert looked.wait(10)
    settings.DISPATCH = {**settings.DISPATCH, "REGISTRY_TTL": 60}
    assert known_tasks() == before | {"new"}, "the old view was not shared"
    over.set()
    thread.join()
    assert seen == [before, before, before | {"new"}]
