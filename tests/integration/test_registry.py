"""The snapshot: few queries, the right view for each connection, one look per TTL."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dispatch import registry
from dispatch.api import send_task
from dispatch.exceptions import TaskDisabled, UnknownTask
from dispatch.models import Binding, Exchange, Manifest, Queue, RegistryVersion, Route, TaskDefinition
from dispatch.registry.cache import Cache, cache
from dispatch.registry.snapshot_loader import load
from tests.support.databases import elsewhere
from tests.support.registry import (
    ARGUMENTS,
    ODD_DEFINITIONS,
    TASK,
    make_queue,
    make_registry,
    make_task,
    make_trigger,
    write_past_the_form,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def ttl(settings: Any) -> Callable[[float], None]:
    def set_ttl(seconds: float) -> None:
        settings.DISPATCH = {**settings.DISPATCH, "REGISTRY_TTL": seconds}

    set_ttl(0)
    return set_ttl


def known_tasks() -> set[str]:
    return set(registry.current().tasks)


def test_loading_takes_the_same_number_of_queries_whatever_the_size() -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            load("default")
        return len(queries)

    task = make_registry()
    make_trigger(task, "created", name="first", when=("kind", "equals", "text"))
    Binding.objects.create(
        queue=Queue.objects.first(), exchange=Exchange.objects.create(name="x"), routing_key="a"
    )
    small = count()
    for number in range(30):
        make_trigger(task, "created", name=f"trigger {number}", when=("kind", "equals", "text"))
        queue = make_queue(f"queue {number}")
        Binding.objects.create(
            queue=queue, exchange=Exchange.objects.create(name=f"x {number}"), routing_key="a"
        )
        Route.objects.create(pattern=f"task{number}.*", queue=queue)
        make_task(f"task{number}.do", queue=queue)
    assert count() == small <= 10


def test_loading_reads_no_list_of_a_manifest_and_no_schema() -> None:
    """A manifest holds the names of all its tasks: read with each of them, 9,000 ended the process."""
    imported = Manifest.objects.create(worker="w", checksum="x", offers=["a", "b"], queues=[])
    for name in imported.offers:
        make_task(
            name, manifest=imported, retired_at=timezone.now(), description="d", returns={"type": "null"}
        )
    with CaptureQueriesContext(connection) as queries:
        tasks = load("default").tasks
        assert "when w no longer offered it" in tasks["a"].retired
    [query] = [each["sql"] for each in queries if "dispatch_manifest" in each["sql"]]
    assert not re.search("offers|queues|description|returns|worker_options", query)
    assert [name for name, task in tasks.items() if "_read" in vars(task.parameters)] == []
    tasks["a"].check((), ARGUMENTS)
    assert [name for name, task in tasks.items() if "_read" in vars(task.parameters)] == ["a"]


@pytest.mark.parametrize(("column", "text"), ODD_DEFINITIONS)
def test_a_definition_written_past_its_form_is_told_of_and_stops_no_other(column: str, text: str) -> None:
    make_registry()
    make_task("odd")
    write_past_the_form(TaskDefinition, column, text, name="odd")
    send_task(TASK, kwargs=ARGUMENTS)
    task = registry.current().tasks["odd"]
    if column in ("parameters", "sensitive_parameters"):
        with pytest.raises(TaskDisabled, match=r"'odd' cannot be sent. Its definition cannot be used: "):
            send_task("odd", kwargs=ARGUMENTS)
    if column == "sensitive_parameters":
        assert task.mask([1], {"token": 1}) == (["***"], {"token": "***"})


def test_within_the_ttl_nothing_is_asked(ttl: Callable[[float], None]) -> None:
    make_registry()
    ttl(60)
    registry.current()
    with CaptureQueriesContext(connection) as queries:
        for _ in range(10):
            registry.current()
    assert len(queries) == 0


def test_a_change_of_this_process_is_seen_whatever_the_ttl(ttl: Callable[[float], None]) -> None:
    ttl(31_536_000)  # longer than any machine has been up
    make_registry()
    registry.current()
    make_task("another")
    assert "another" in known_tasks()


def test_a_change_that_is_committed_while_another_thread_looks_is_seen_at_once(
    ttl: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*asked: Any) -> Any:
        found = Cache._read(cache, *asked)
        if not found.tasks:
            elsewhere(lambda: make_task("meanwhile"))
        return found

    ttl(3600)
    monkeypatch.setattr(cache, "_read", read)
    assert known_tasks() == set()
    assert known_tasks() == {"meanwhile"}


def test_a_look_that_was_in_vain_or_in_a_transaction_counts_for_nobody_else(
    ttl: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*asked: Any) -> Any:
        raise SynchronousOnlyOperation

    make_registry()
    registry.current()
    ttl(3600)
    cache._looked.clear()
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_read", refuse)
        registry.current()
    assert not cache._looked
    RegistryVersion.objects.update(token=uuid.uuid4())  # as another process does
    with transaction.atomic():
        registry.current()
        assert not cache._looked


def test_after_the_ttl_only_the_version_is_asked() -> None:
    make_registry()
    registry.current()
    with CaptureQueriesContext(connection) as queries:
        assert registry.current() is registry.current()
    assert len(queries) == 2


def test_a_connection_sees_its_own_uncommitted_change_and_others_do_not() -> None:
    make_registry()
    before = known_tasks()
    with transaction.atomic():
        make_task("mine")
        assert known_tasks() == before | {"mine"}
        if connection.vendor != "sqlite" or connection.features.test_db_allows_multiple_connections:
            assert elsewhere(known_tasks) == before
    assert elsewhere(known_tasks) == known_tasks() == before | {"mine"}


def test_a_rolled_back_change_is_forgotten() -> None:
    make_registry()
    before = known_tasks()
    with transaction.atomic():
        make_task("undone")
        assert "undone" in known_tasks()
        transaction.set_rollback(True)
    assert known_tasks() == before


def test_a_rolled_back_savepoint_is_forgotten_inside_the_transaction() -> None:
    make_registry()
    before = known_tasks()
    with transaction.atomic():
        try:
            with transaction.atomic():
                make_task("undone")
                assert "undone" in known_tasks()
                raise KeyError
        except KeyError:
            pass
        assert known_tasks() == before


def test_bulk_changes_are_noticed_too() -> None:
    make_registry()
    registry.current()
    TaskDefinition.objects.bulk_create([TaskDefinition(name="bulk")])
    assert "bulk" in known_tasks()
    TaskDefinition.objects.filter(name="bulk").update(name="renamed")
    assert "renamed" in known_tasks()
    TaskDefinition.objects.filter(name="renamed").delete()
    assert "renamed" not in known_tasks()


def test_another_process_sees_a_change_at_its_next_look(ttl: Callable[[float], None]) -> None:
    make_registry()
    assert "late" not in known_tasks()
    elsewhere(lambda: make_task("late"))
    assert "late" in known_tasks()


def test_routes_are_resolved_when_the_snapshot_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_registry()
    snapshot = registry.current()

    def refuse(name: str) -> None:
        raise AssertionError("a pattern was tried at a send")

    monkeypatch.setattr(snapshot.table, "candidates", refuse)
    assert snapshot.destination(task.name).queue == "llm"


def test_an_unknown_name_is_told_with_its_close_match() -> None:
    make_registry()
    with pytest.raises(UnknownTask, match=r"did you mean 'worker\.tasks\.llm\.summarize_note'"):
        registry.current().task("worker.tasks.llm.sumarize_note")


def test_a_broken_route_is_left_out_and_the_others_work(caplog: pytest.LogCaptureFixture) -> None:
    task = make_registry()
    Route.objects.bulk_create(
        [Route(position=0, pattern="(", kind="regex", queue=Queue.objects.get(name="default"))]
    )
    assert registry.current().destination(task.name).queue == "llm"
    assert "'(' is left out" in caplog.text


def test_a_route_that_takes_too_long_is_given_up_for_every_task_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = make_registry()
    for name in ("a", "a" * 200 + "!", "a" * 250 + "!"):
        make_task(name)
    Route.objects.bulk_create(
        [Route(position=0, pattern="(a|aa)+$", kind="regex", queue=Queue.objects.get(name="llm"))]
    )
    assert {name: registry.current().destination(name).queue for name in registry.current().tasks} == {
        task.name: "llm",
        "a": "default",
        "a" * 200 + "!": "default",
        "a" * 250 + "!": "default",
    }
    assert caplog.text.count("'(a|aa)+$' is given up") == 1


def test_a_process_that_lives_in_transactions_loads_a_change_once_and_then_looks_once_per_ttl(
    ttl: Callable[[float], None],
) -> None:
    make_registry()
    registry.current()
    elsewhere(lambda: make_task("new"))
    with transaction.atomic():
        assert "new" in known_tasks()
    ttl(3600)
    with CaptureQueriesContext(connection) as queries:
        for _ in range(3):
            with transaction.atomic():
                assert "new" in known_tasks()
    assert [query["sql"] for query in queries if "dispatch_" in query["sql"]] == []


def test_after_its_own_change_was_committed_a_connection_looks_once_per_ttl_again(
    ttl: Callable[[float], None],
) -> None:
    make_registry()
    ttl(3600)
    registry.current()
    with transaction.atomic():
        make_task("new")
        assert "new" in known_tasks()
    with transaction.atomic():
        assert "new" in known_tasks()
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        assert "new" in known_tasks()
    assert [query["sql"] for query in queries if "dispatch_" in query["sql"]] == []
