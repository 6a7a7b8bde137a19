"""More than one database: what happens in one does not disturb the other, and rows go where the outbox is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.contrib.sessions.models import Session
from django.db import DatabaseError, IntegrityError, OperationalError, connection, connections, transaction
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from dispatch import registry
from dispatch.api import message_enqueued, send_task
from dispatch.models import OutboxMessage, Queue, TaskDefinition
from dispatch.relay import Relay
from dispatch.results import Collector
from project.notes.models import Note, Tag
from tests.support.databases import elsewhere, further_alias
from tests.support.registry import ARGUMENTS, TASK, make_queue, make_registry, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def task(no_ttl: None) -> TaskDefinition:
    return make_registry()


@pytest.fixture
def small(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """A database of the project's own that holds sessions and notes, and no table of dispatch."""
    sqlite = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(tmp_path / "small.sqlite3"),
        "OPTIONS": {},
    }
    with django_db_blocker.unblock(), further_alias("small", **sqlite) as alias:
        with connections[alias].schema_editor() as editor:
            editor.create_model(Session)
            editor.create_model(Tag)
            editor.create_model(Note)
        yield alias


@pytest.fixture
def twin(django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """A second alias, and so a second connection, of the same database."""
    with django_db_blocker.unblock(), further_alias("twin") as alias:
        yield alias


# -- an unhooked save elsewhere -------------------------------------------------------------------


def refuse_a_row() -> None:
    with suppress(IntegrityError):
        Queue(name="llm").save(force_insert=True)


def refuse_a_statement() -> None:
    with suppress(DatabaseError):
        connection.cursor().execute("SELECT nonsense")


@pytest.mark.parametrize("go_wrong", [refuse_a_row, refuse_a_statement])
def test_a_save_elsewhere_works_while_the_registrys_transaction_is_broken(
    small: str, go_wrong: Callable[[], None]
) -> None:
    registry.current()
    with transaction.atomic():
        go_wrong()
        Session.objects.using(small).create(pk="audit", expire_date=timezone.now())
        Session.objects.using(small).get(pk="audit").delete()
        Session.objects.using(small).create(pk="audit", expire_date=timezone.now())
        transaction.set_rollback(True)
    assert Session.objects.using(small).count() == 1


def test_a_save_elsewhere_works_while_the_registrys_database_is_away(
    small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OperationalError("connection refused")

    registry.current()
    connection.close()
    with monkeypatch.context() as away:
        away.setattr(connections["default"], "connect", refuse)
        Session.objects.using(small).create(pk="audit", expire_date=timezone.now())
        Session.objects.using(small).all().delete()
        Session.objects.using(small).create(pk="audit", expire_date=timezone.now())
    assert Session.objects.using(small).count() == 1


# -- where the row goes ---------------------------------------------------------------------------


def test_a_hooked_save_where_the_outbox_is_not_puts_its_row_into_the_outboxs_own_database(
    task: TaskDefinition, small: str
) -> None:
    make_trigger(task, "created", "deleted")
    note = Note.objects.using(small).create(title="A", body="Hello")
    assert Note.objects.using(small).count() == 1
    note.delete()
    assert OutboxMessage.objects.filter(status="pending", object_model="notes.note").count() == 2


def test_objects_of_two_databases_that_share_a_key_are_not_coalesced(
    task: TaskDefinition, small: str
) -> None:
    make_trigger(task, "created", coalesce=60)
    here = Note.objects.create(title="A")
    Note.objects.using(small).create(pk=here.pk, title="B")
    keys = OutboxMessage.objects.values_list("coalesce_key", flat=True)
    assert len(set(keys)) == len(keys) == 2


def test_what_could_not_be_enqueued_goes_there_too(task: TaskDefinition, small: str) -> None:
    make_trigger(task, "created")
    TaskDefinition.objects.update(enabled=False)
    Note.objects.using(small).create(title="A")
    assert Note.objects.using(small).count() == 1
    assert OutboxMessage.objects.get().status == "dead"


def test_a_hooked_save_where_the_outbox_is_puts_its_row_beside_the_object(
    task: TaskDefinition, twin: str
) -> None:
    make_trigger(task, "created")
    seen: list[str] = []

    def look(*, using: str, **_: Any) -> None:
        seen.append(using)

    message_enqueued.connect(look, dispatch_uid="test")
    try:
        with transaction.atomic(using=twin):
            Note.objects.using(twin).create(title="A")
            transaction.set_rollback(True, using=twin)
    finally:
        message_enqueued.disconnect(dispatch_uid="test")
    assert seen == [twin]
    assert not OutboxMessage.objects.exists()


# -- connections that die -------------------------------------------------------------------------


@pytest.fixture
def kill() -> Iterator[Callable[[str], None]]:
    """Return a function that ends the server's side of an alias's connection."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no server that could end a connection")

    def end(alias: str) -> None:
        connections[alias].ensure_connection()
        with connections[alias].cursor() as cursor:
            postgresql = connection.vendor == "postgresql"
            cursor.execute("SELECT pg_backend_pid()" if postgresql else "SELECT CONNECTION_ID()")
            [number] = cursor.fetchone()
        statement = f"SELECT pg_terminate_backend({number})" if postgresql else f"KILL {number}"
        elsewhere(lambda: connection.cursor().execute(statement))

    yield end
    connections.close_all()


def run_until(loop: Relay | Collector, done: Callable[[], bool]) -> None:
    """Run a relay or a collector here until ``done``, asked on another connection, or for ten seconds."""
    over = threading.Event()

    def watch() -> None:
        for _ in range(100):
            if over.wait(0.1) or elsewhere(done):
                break
        loop.stop.set()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        loop.run()
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("victims", [["default"], ["twin"], ["default", "twin"]], ids=" and ".join)
def test_a_relay_recovers_when_connections_of_any_alias_die(
    twin: str, kill: Callable[[str], None], victims: list[str], broker_settings: Callable[..., None]
) -> None:
    broker_settings("memory://")
    relay = Relay(twin)
    send_task(TASK, kwargs=ARGUMENTS)
    assert relay.step() == 1
    for alias in victims:
        kill(alias)

    def operate() -> None:
        Queue.objects.filter(name="llm").update(paused=True)
        send_task(TASK, kwargs=ARGUMENTS, queue=make_queue("new").name)

    elsewhere(operate)
    run_until(relay, lambda: OutboxMessage.objects.filter(status="published").count() == 2)
    assert OutboxMessage.objects.filter(status="published", queue="new").count() == 1
    send_task(TASK, kwargs=ARGUMENTS)
    assert relay.step() == 0, "the registry is read again, not only remembered: the queue is paused now"


@pytest.mark.parametrize("victims", [["default"], ["twin"]], ids=" and ".join)
def test_a_collector_recovers_when_connections_of_any_alias_die(
    twin: str,
    kill: Callable[[str], None],
    victims: list[str],
    broker_settings: Callable[..., None],
    redis_url: str,
) -> None:
    broker_settings("memory://", redis_url)
    message = send_task(TASK, kwargs=ARGUMENTS)
    collector = Collector(twin)
    assert collector.sweep() == 0
    app = Celery("worker", backend=redis_url, set_as_current=False)
    app.backend.store_result(str(message.pk), 1, "SUCCESS")
    app.close()
    OutboxMessage.objects.update(status="published", published_at=timezone.now())
    for alias in victims:
        kill(alias)
    run_until(collector, lambda: OutboxMessage.objects.filter(handled_at__isnull=False).exists())
    connections.close_all()
    assert OutboxMessage.objects.get().handled_at
