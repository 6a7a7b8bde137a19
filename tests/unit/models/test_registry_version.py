"""Every way to change the registry gives it a new version; nothing else does."""

from __future__ import annotations

import pytest
from django.db import transaction

from dispatch.models import (
    Binding,
    Exchange,
    Manifest,
    OutboxMessage,
    Queue,
    RegistryVersion,
    Route,
    TaskDefinition,
    Trigger,
    TriggerArgument,
    TriggerCondition,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def rows():
    """One row of each kind that the snapshot is built from."""
    queue, exchange = Queue.objects.create(name="llm"), Exchange.objects.create(name="media")
    task = TaskDefinition.objects.create(name="tasks.a")
    trigger = Trigger.objects.create(name="t", model="notes.note", events=["created"], task=task)
    return {
        "queue": queue,
        "exchange": exchange,
        "binding": Binding.objects.create(queue=queue, exchange=exchange),
        "route": Route.objects.create(pattern="a", priority=1),
        "task": task,
        "trigger": trigger,
        "condition": TriggerCondition.objects.create(trigger=trigger, field="title", value="x"),
        "argument": TriggerArgument.objects.create(trigger=trigger, parameter="p", value="pk"),
    }


KINDS = ("queue", "exchange", "binding", "route", "task", "trigger", "condition", "argument")
WAYS = {
    "create": lambda: Queue.objects.create(name="new"),
    "update_or_create": lambda: Queue.objects.update_or_create(name="llm", defaults={"paused": True}),
    "update": lambda: Queue.objects.update(paused=True),
    "update of a filter": lambda: Queue.objects.filter(name="llm").update(paused=True),
    "bulk_create": lambda: Queue.objects.bulk_create([Queue(name="x"), Queue(name="y")]),
    "bulk_update": lambda: Queue.objects.bulk_update([Queue.objects.get(name="llm")], ["paused"]),
    "delete of a queryset": lambda: Route.objects.all().delete(),
    "delete by cascade": lambda: Queue.objects.all().delete(),
    "update of related rows": lambda: Queue.objects.get(name="llm").bindings.update(routing_key="x"),
}


def version():
    return RegistryVersion.current("default")


def test_there_is_no_version_before_the_first_change():
    assert version() is None


@pytest.mark.parametrize("kind", KINDS)
def test_saving_any_row_gives_a_new_version(kind, rows):
    before = version()
    rows[kind].save()
    assert version() not in (None, before)


@pytest.mark.parametrize("kind", KINDS)
def test_deleting_any_row_gives_a_new_version(kind, rows):
    if kind == "task":
        rows["trigger"].delete()
    before = version()
    rows[kind].delete()
    assert version() not in (None, before)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_change_rows_gives_a_new_version(way, rows):
    before = version()
    WAYS[way]()
    assert version() not in (None, before)


def test_a_row_that_is_deleted_by_cascade_gives_a_new_version_of_its_own(rows, monkeypatch):
    seen = []
    monkeypatch.setattr(RegistryVersion, "bump", seen.append)
    rows["queue"].delete()
    assert seen == ["default", "default"]


def test_a_change_that_is_rolled_back_leaves_no_version(rows):
    before = version()
    with transaction.atomic():
        rows["queue"].save()
        during = version()
        transaction.set_rollback(True)
    assert during != before
    assert version() == before


def test_a_change_after_a_rollback_has_another_version_than_the_one_rolled_back(rows):
    seen = set()
    for _ in range(2):
        with transaction.atomic():
            rows["queue"].save()
            seen.add(version())
            transaction.set_rollback(True)
    assert len(seen) == 2


def test_messages_and_manifests_are_no_part_of_the_registry(rows):
    before = version()
    OutboxMessage.objects.create(task_name="tasks.a")
    Manifest.objects.create(worker="w", checksum="c")
    assert version() == before


def test_reading_changes_nothing(rows):
    before = version()
    list(Queue.objects.prefetch_related("bindings"))
    assert version() == before


def test_there_is_never_more_than_one_version_row(rows):
    assert RegistryVersion.objects.count() == 1
