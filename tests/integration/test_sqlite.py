"""On a SQLite as Django opens it: what is ours takes the write lock before it reads, and what is idle takes none.

There a transaction that has read cannot write while another connection does, or is about to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dispatch.api import send_task
from dispatch.configuration import document
from dispatch.configuration.apply import apply, preview
from dispatch.contract.manifest_sync import sync
from dispatch.core import manifest
from dispatch.models import OutboxMessage, Queue, Route, TaskDefinition
from dispatch.models.database import database_now
from dispatch.relay import Relay
from dispatch.relay.claims import claim, release_expired
from dispatch.results import Collector
from project.notes.models import Note, Tag
from tests.support.registry import ARGUMENTS, TASK, make_registry, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)
WRITES = ("INSERT", "UPDATE", "DELETE")
READS = ("SELECT", "WITH")


@pytest.fixture
def task(broker_settings: Callable[..., None], redis_url: str, transactional_db: None) -> TaskDefinition:
    broker_settings("memory://", redis_url)
    return make_registry()


@pytest.fixture
def worker(task: TaskDefinition, redis_url: str) -> Iterator[Celery]:
    """Stores results as a worker does, with Celery's own code."""
    app = Celery("worker", backend=redis_url, set_as_current=False)
    yield app
    app.close()


def transactions(work: Callable[[], object]) -> list[list[str]]:
    """Return the statements of some work, each list a transaction, or a single statement outside of one."""
    with CaptureQueriesContext(connection) as queries:
        work()
    found: list[list[str]] = []
    inside = False
    for query in queries:
        if inside:
            found[-1].append(query["sql"])
        else:
            found.append([query["sql"]])
        inside = found[-1][0].startswith("BEGIN") and not query["sql"].startswith(("COMMIT", "ROLLBACK"))
    return found


def writing(work: Callable[[], object]) -> list[list[str]]:
    """Return those that write."""
    return [each for each in transactions(work) if any(sql.startswith(WRITES) for sql in each)]


def first(statements: list[str]) -> str:
    return next(sql for sql in statements if sql.startswith((*WRITES, *READS)))


def test_a_relay_and_a_collector_without_work_write_nothing(task: TaskDefinition) -> None:
    relay, collector = Relay(), Collector()
    relay.step()
    collector.sweep()

    def idle() -> None:
        relay._swept = 0
        relay.step()
        collector.sweep()

    assert writing(idle) == [], "between two heartbeats"


def test_each_write_of_relay_and_collector_takes_all_locks_at_once(deferred: None, worker: Celery) -> None:
    message = send_task(TASK, kwargs=ARGUMENTS)
    relay = Relay()
    published = writing(relay.drain)
    assert len(published) == 4, "the first heartbeat, claim, settle, the last heartbeat"
    worker.backend.store_result(str(message.pk), 1, "SUCCESS")
    handled = writing(lambda: Collector().sweep())
    assert len(handled) == 2, "a heartbeat and the result"
    assert {statements[0] for statements in published + handled} == {"BEGIN EXCLUSIVE"}


def test_so_does_each_write_that_is_rare(deferred: None, task: TaskDefinition) -> None:
    trigger = make_trigger(task, "created", "updated", coalesce=60)
    note = Note.objects.create(title="1", body="Words.")
    note.save()
    rows = OutboxMessage.objects.filter(origin_name=trigger.name)
    rows.update(available_at=database_now())
    relay = Relay()
    superseded = writing(relay.drain)
    assert rows.filter(status="superseded").count() == 1
    Note.objects.create(title="2", body="Words.")
    rows.update(available_at=database_now())
    claim("default", 10, lease=-1)
    released = writing(lambda: release_expired("default"))
    Route.objects.update(queue=Queue.objects.get(name="default"))
    moved = writing(relay.drain)
    assert rows.filter(queue="default").exists()
    assert (len(released), len(moved)) == (1, 5), "moved, claimed and settled, and two heartbeats"
    assert {statements[0] for statements in superseded + released + moved} == {"BEGIN EXCLUSIVE"}


def test_the_admins_forms_read_and_write_in_a_transaction_that_has_the_lock(
    deferred: None, task: TaskDefinition
) -> None:
    queue, client, message = Queue.objects.create(name="more"), Client(), send_task(TASK, kwargs=ARGUMENTS)
    client.force_login(User.objects.create_superuser("boss"))
    form = {"name": "other", "broker": "default", "queue_type": "classic", "arguments": "{}"}
    form |= {"bindings-TOTAL_FORMS": "0", "bindings-INITIAL_FORMS": "0"}
    change, delete = (
        reverse(f"admin:dispatch_queue_{what}", args=[queue.pk]) for what in ("change", "delete")
    )

    def look() -> None:
        client.get(change)

    def save() -> None:
        assert client.post(change, form).status_code == 302
        assert client.post(delete, {"post": "yes"}).status_code == 302

    def act() -> None:
        selected = {"action": "pause", "_selected_action": [Queue.objects.get(name="llm").pk]}
        client.post(reverse("admin:dispatch_queue_changelist"), selected)
        client.post(reverse("admin:dispatch_outboxmessage_bulk_cancel"), {"ids": message.pk.hex})

    assert writing(look) == []
    done = writing(save) + writing(act)
    message.refresh_from_db()
    assert message.status == "cancelled"
    assert not Queue.objects.filter(pk=queue.pk).exists()
    assert Queue.objects.get(name="llm").paused
    ours = [each for each in done if "dispatch_queue" in "".join(each) or "dispatch_outbox" in "".join(each)]
    assert [each[0] for each in ours] == ["BEGIN EXCLUSIVE"] * 4


def test_so_do_imports(deferred: None, task: TaskDefinition) -> None:
    found = document.read('{"configuration": 1, "queues": [{"name": "more"}]}')
    tasks = [{"name": "a.task", "parameters": {}}]
    offered = manifest.sealed({"manifest": 1, "worker": "w", "tasks": tasks, "queues": []})
    tried = writing(lambda: preview(found, "default"))
    done = writing(lambda: apply(found, "default"))
    synced = writing(lambda: sync(manifest.read(offered)))
    assert [each[0] for each in tried + done + synced] == ["BEGIN EXCLUSIVE"] * 3


def test_a_hooked_save_that_compares_locks_before_it_reads(deferred: None, task: TaskDefinition) -> None:
    make_trigger(task, "updated", watched=["title"])
    note = Note.objects.create(title="1", body="Words.")
    note.title = "2"
    [statements] = writing(note.save)
    assert any(sql.startswith("SELECT") for sql in statements)
    assert first(statements).startswith("UPDATE")


@pytest.mark.parametrize("how", ["update", "bulk_create"])
def test_so_do_hooked_querysets(deferred: None, task: TaskDefinition, how: str) -> None:
    trigger = make_trigger(task, "updated", model="notes.tag", watched=["name"])
    trigger.arguments.filter(value="body").update(value="name")
    tag = Tag.objects.create(name="1")
    work: dict[str, Callable[[], Any]] = {
        "update": lambda: Tag.objects.update(name="2"),
        "bulk_create": lambda: Tag.objects.bulk_create(
            [Tag(pk=tag.pk, name="2")], update_conflicts=True, unique_fields=["pk"], update_fields=["name"]
        ),
    }
    [statements] = writing(work[how])
    assert any(sql.startswith("SELECT") for sql in statements)
    assert first(statements).startswith("UPDATE")
