"""One row per matching save, in every kind of transaction, and none where the save does not stand."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, IntegrityError, connection, connections, transaction
from django.db.models.signals import ModelSignal, post_delete, post_save, pre_save
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path

from dispatch import outbox
from dispatch.api import allow_triggers, message_enqueued, suppress_triggers, trigger
from dispatch.models import OutboxMessage, TaskDefinition
from dispatch.triggers import firing
from project.notes.models import Note, Tag
from tests.support.databases import elsewhere, savepoint_create
from tests.support.registry import TASK, make_registry, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)


class Undo(Exception):
    pass


@pytest.fixture(autouse=True)
def task(no_ttl: None) -> TaskDefinition:
    return make_registry()


@pytest.fixture
def created(task: TaskDefinition) -> None:
    make_trigger(task, "created", name="created")


@contextmanager
def receiving(signal: ModelSignal, receiver: Callable[..., Any], sender: Any = Note) -> Iterator[None]:
    signal.connect(receiver, sender=sender, dispatch_uid="test")
    try:
        yield
    finally:
        signal.disconnect(sender=sender, dispatch_uid="test")


def bodies() -> list[str]:
    return [
        json.loads(text)["text"]
        for text in OutboxMessage.objects.order_by("id").values_list("kwargs", flat=True)
    ]


def both() -> tuple[int, int]:
    return Note.objects.count(), OutboxMessage.objects.count()


# -- kinds of transactions ------------------------------------------------------------------------


@pytest.mark.usefixtures("created")
def test_of_nested_blocks_what_each_keeps_is_sent() -> None:
    with transaction.atomic():
        Note.objects.create(title="A", body="1")
        with suppress(Undo), transaction.atomic():
            Note.objects.create(title="B", body="2")
            with transaction.atomic():
                Note.objects.create(title="C", body="3")
            raise Undo
        with transaction.atomic(), transaction.atomic():
            Note.objects.create(title="D", body="4")
    assert bodies() == ["1", "4"]


@pytest.mark.usefixtures("created")
def test_a_savepoint_made_by_hand_counts_too() -> None:
    with transaction.atomic():
        savepoint = savepoint_create()
        Note.objects.create(title="A", body="undone")
        transaction.savepoint_rollback(savepoint)
        savepoint = savepoint_create()
        Note.objects.create(title="B", body="kept")
        transaction.savepoint_commit(savepoint)
    assert bodies() == ["kept"]


@pytest.mark.usefixtures("created")
def test_a_durable_block_is_the_commit_and_may_hold_any_number_of_saves() -> None:
    with transaction.atomic(durable=True):
        Note.objects.create(title="A", body="1")
        assert OutboxMessage.objects.count() == 1
    with suppress(Undo), transaction.atomic(durable=True):
        Note.objects.create(title="B", body="2")
        raise Undo
    assert bodies() == ["1"]


@pytest.mark.usefixtures("created")
def test_transactions_managed_by_hand_commit_both_or_none() -> None:
    transaction.set_autocommit(False)
    try:
        Note.objects.create(title="A", body="undone")
        transaction.rollback()
        Note.objects.create(title="B", body="kept")
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert (bodies(), Note.objects.get().title) == (["kept"], "B")


def save_and_answer(request: HttpRequest, status: int) -> HttpResponse:
    Note.objects.create(title="A", body=f"{status} {connection.in_atomic_block}")
    if status == 500:
        raise Undo
    return HttpResponse(status=status)


urlpatterns = [path("save/<int:status>/", save_and_answer)]


@pytest.mark.usefixtures("created")
@pytest.mark.urls(__name__)
def test_with_atomic_requests_a_view_that_fails_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    client = Client(raise_request_exception=False)
    assert [client.get(f"/save/{status}/").status_code for status in (200, 500)] == [200, 500]
    assert bodies() == ["200 True"]


@pytest.mark.usefixtures("created")
@pytest.mark.urls(__name__)
def test_without_atomic_requests_what_a_view_saved_before_it_failed_stands_and_is_sent() -> None:
    client = Client(raise_request_exception=False)
    client.get("/save/500/")
    assert bodies() == ["500 False"]


@pytest.mark.usefixtures("created")
def test_on_commit_runs_after_the_message_is_there_and_may_fail() -> None:
    seen: list[int] = []

    def look() -> None:
        seen.append(OutboxMessage.objects.count())

    def fail() -> None:
        look()
        raise Undo

    def receiver(**_: Any) -> None:
        transaction.on_commit(fail, robust=True)
        transaction.on_commit(look)

    with receiving(post_save, receiver):
        Note.objects.create(title="A")
    assert seen == [1, 1]
    with receiving(post_save, lambda **_: transaction.on_commit(fail)), pytest.raises(Undo):
        Note.objects.create(title="B")
    assert both() == (2, 2)


# -- ways to save ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ways", ["create", "get_or_create", "update_or_create", "save", "force_insert", "bulk_create"]
)
def test_whoever_creates_sends_once(task: TaskDefinition, ways: str) -> None:
    make_trigger(task, "created", model="notes.tag").arguments.filter(parameter="text").update(value="name")
    make = {
        "create": lambda: Tag.objects.create(name="x"),
        "get_or_create": lambda: [Tag.objects.get_or_create(name="x") for _ in range(2)],
        "update_or_create": lambda: [
            Tag.objects.update_or_create(name="x", defaults={"weight": n}) for n in range(2)
        ],
        "save": lambda: Tag(name="x").save(),
        "force_insert": lambda: Tag(name="x").save(force_insert=True),
        "bulk_create": lambda: Tag.objects.bulk_create([Tag(name="x")]),
    }
    make[ways]()
    assert bodies() == ["x"]


def test_update_or_create_tells_created_once_and_updated_after(task: TaskDefinition) -> None:
    row = make_trigger(task, "created", "updated", model="notes.tag")
    row.arguments.filter(parameter="text").update(source="event", value="")
    for weight in range(3):
        Tag.objects.update_or_create(name="x", defaults={"weight": weight})
    Tag.objects.get_or_create(name="x")
    assert bodies() == ["created", "updated", "updated"]


def test_threads_each_send_their_own(created: None) -> None:
    def work(number: int) -> None:
        try:
            with transaction.atomic():
                for _ in range(5):
                    Note.objects.create(title="A", body=str(number))
                transaction.set_rollback(number % 2 == 1)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(bodies()) == sorted(["0", "2", "4"] * 5)


# -- a save inside another ------------------------------------------------------------------------


def test_a_trigger_that_saves_another_object_sends_both(declared: object) -> None:
    @trigger(Note, on="created", task=TASK, when=lambda note: note.title == "outer")
    def outer(note: Note) -> dict[str, Any]:
        Note.objects.create(title="inner", body="inner")
        return {"note_id": str(note.pk), "text": note.body}

    @trigger(Note, on="created", task=TASK, when=lambda note: note.title == "inner")
    def inner(note: Note) -> dict[str, Any]:
        return {"note_id": str(note.pk), "text": note.body}

    Note.objects.create(title="outer", body="outer")
    assert sorted(bodies()) == ["inner", "outer"]


def test_a_receiver_that_saves_the_same_object_again_sends_an_update(task: TaskDefinition) -> None:
    row = make_trigger(task, "created", "updated", when=("body", "changed", ""))
    row.arguments.filter(parameter="text").update(source="event", value="")

    def save_again(*, instance: Note, created: bool, **_: Any) -> None:
        if created:
            instance.body = "changed"
            instance.save()

    with receiving(post_save, save_again):
        note = Note.objects.create(title="A", body="one")
    assert bodies() == ["created", "updated"]
    note.save()
    assert len(bodies()) == 2


def test_what_a_receiver_undoes_while_an_object_is_deleted_is_not_sent(task: TaskDefinition) -> None:
    make_trigger(task, "created", "deleted", name="both")
    row = make_trigger(task, "deleted", model="notes.tag", name="tags")
    row.arguments.filter(parameter="text").update(value="name")

    def undo_one_and_keep_one(**_: Any) -> None:
        with suppress(Undo), transaction.atomic():
            Note.objects.create(title="A", body="undone")
            raise Undo
        savepoint = savepoint_create()
        Note.objects.create(title="A", body="undone by hand")
        transaction.savepoint_rollback(savepoint)
        with transaction.atomic():
            Note.objects.create(title="A", body="kept")

    Tag.objects.create(name="x")
    with receiving(post_delete, undo_one_and_keep_one, Tag):
        Tag.objects.all().delete()
    assert sorted(bodies()) == ["kept", "x"]


# -- errors inside a save -------------------------------------------------------------------------


def fail(**_: Any) -> None:
    raise Undo


@pytest.mark.usefixtures("created")
@pytest.mark.parametrize(("signal", "stand"), [(pre_save, 0), (post_save, 1)], ids=["pre_save", "post_save"])
def test_a_receiver_that_raises_leaves_object_and_message_as_without_us_the_object_alone(
    signal: ModelSignal, stand: int
) -> None:
    with receiving(signal, fail), pytest.raises(Undo):
        Note.objects.create(title="A")
    assert both() == (stand, stand)
    with receiving(signal, fail), pytest.raises(Undo), transaction.atomic():
        Note.objects.create(title="A")
    assert both() == (stand, stand)


@pytest.mark.usefixtures("created")
def test_a_receiver_is_outside_of_the_transaction_that_holds_object_and_message() -> None:
    def durable(**_: Any) -> None:
        seen.append((connection.in_atomic_block, elsewhere(both)))
        with transaction.atomic(durable=True):
            Group.objects.get_or_create(name="A")

    seen: list[tuple[bool, tuple[int, int]]] = []
    with receiving(pre_save, durable), receiving(post_save, durable):
        Note.objects.create(title="A")
    assert seen == [(False, (0, 0)), (False, (1, 1))]


@pytest.mark.usefixtures("created")
def test_a_receiver_that_raises_and_whose_error_is_swallowed_inside_a_transaction_leaves_both() -> None:
    post_save.connect(fail, sender=Note, dispatch_uid="early")
    post_save.receivers.insert(1, post_save.receivers.pop())  # as if it had been connected long ago
    post_save.sender_receivers_cache.clear()
    try:
        with transaction.atomic():
            for _ in range(2):
                with suppress(Undo):
                    Note.objects.create(title="A")
    finally:
        post_save.disconnect(sender=Note, dispatch_uid="early")
    assert both() == (2, 2)


@pytest.mark.usefixtures("created")
def test_while_a_signal_is_muted_nothing_fires_and_afterwards_everything_does() -> None:
    receivers, post_save.receivers = post_save.receivers, []  # as factory_boy and others mute it
    try:
        Note.objects.create(title="A")
    finally:
        post_save.receivers = receivers
    assert both() == (1, 0)
    Note.objects.create(title="A")
    assert both() == (2, 1)


@pytest.mark.usefixtures("created")
def test_a_signal_without_a_save_fires_nothing() -> None:
    note = Note(title="A")
    post_save.send(sender=Note, instance=note, created=True, raw=False, using="default", update_fields=None)
    assert both() == (0, 0)


@pytest.mark.usefixtures("created")
def test_the_message_tells_what_was_saved_whatever_receivers_make_of_the_object_afterwards() -> None:
    def change(*, instance: Note, **_: Any) -> None:
        instance.body = "never saved"

    with receiving(post_save, change):
        Note.objects.create(title="A", body="saved")
    assert bodies() == ["saved"]


def test_a_database_error_of_the_save_leaves_neither(task: TaskDefinition) -> None:
    make_trigger(task, "created", model="notes.tag").arguments.filter(parameter="text").update(value="name")
    Tag.objects.create(name="x")
    for _ in range(2):
        with pytest.raises(IntegrityError):
            Tag.objects.create(name="x")
    with transaction.atomic():
        Tag.objects.create(name="y")
        with suppress(IntegrityError), transaction.atomic():
            Tag.objects.create(name="z")
            Tag.objects.create(name="x")
    assert bodies() == ["x", "y"]


@pytest.mark.usefixtures("created")
def test_a_database_error_of_the_message_is_not_swallowed_and_undoes_the_save(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "insert", lambda drafts, using: broken_statement())
    with pytest.raises(DatabaseError):
        Note.objects.create(title="A")
    assert both() == (0, 0)
    with transaction.atomic(), suppress(DatabaseError):
        Note.objects.create(title="B")  # whoever swallows the error cannot commit the transaction any more
    assert both() == (0, 0)


def broken_statement() -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO dispatch_outboxmessage (nonsense) VALUES (1)")


def test_a_trigger_that_raises_undoes_the_save_for_who_swallows_it_too(created: None, settings: Any) -> None:
    settings.DISPATCH = {**settings.DISPATCH, "TRIGGER_ERRORS": "raise"}
    TaskDefinition.objects.update(enabled=False)
    with transaction.atomic(), suppress(ValueError):
        Note.objects.create(title="A")
    assert both() == (0, 0)
    with transaction.atomic():
        with suppress(ValueError), transaction.atomic():
            Note.objects.create(title="A")
        OutboxMessage.objects.count()  # its own savepoint was undone, and the rest goes on
    assert both() == (0, 0)


# -- listeners of message_enqueued ----------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[list[str]]:
    """Someone who counts messages, and whose query is wrong."""
    heard: list[str] = []

    def count(*, message: OutboxMessage, **_: Any) -> None:
        heard.append(message.object_pk)
        for _ in range(2):
            Group.objects.create(name="same")

    message_enqueued.connect(count, dispatch_uid="test")
    yield heard
    message_enqueued.disconnect(dispatch_uid="test")


@pytest.mark.usefixtures("created")
def test_a_listener_that_fails_with_a_database_error_breaks_no_save_and_no_transaction(
    listener: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    Note.objects.create(title="A")
    with transaction.atomic():
        Note.objects.create(title="B")
        Note.objects.create(title="C")
    assert both() == (3, 3)
    assert len(listener) == 3
    assert Group.objects.count() == 0
    assert "what listeners wrote on 'default' was undone. The messages stand." in caplog.text
    assert "count" in caplog.text, "Django's own log names the listener"


@pytest.mark.usefixtures("created")
def test_without_a_listener_no_savepoint_is_made() -> None:
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        Note.objects.create(title="A")
    assert [query["sql"] for query in queries if "SAVEPOINT" in query["sql"]] == []


# -- suppression ----------------------------------------------------------------------------------


def test_one_trigger_is_suppressed_by_its_name_or_by_its_function(
    task: TaskDefinition, declared: object
) -> None:
    make_trigger(task, "created", name="in the admin")

    @trigger(Note, on="created", task=TASK)
    def in_code(note: Note) -> dict[str, Any]:
        return {"note_id": str(note.pk), "text": "in code"}

    with suppress_triggers("in the admin"):
        Note.objects.create(title="A", body="A")
        with suppress_triggers(in_code):
            Note.objects.create(title="B", body="B")
            with allow_triggers():
                Note.objects.create(title="C", body="C")
            Note.objects.create(title="D", body="D")
    assert sorted(bodies()) == ["C", "in code", "in code"]


@pytest.mark.usefixtures("created")
def test_a_name_that_no_trigger_has_is_warned_of_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firing, "_named", set())
    with suppress_triggers("creatd"):
        Note.objects.create(title="A")
        Note.objects.create(title="B")
    assert both() == (2, 2)
    [warning] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.startswith(
        "suppress_triggers('creatd') suppresses nothing: no enabled trigger has this name"
    )
    assert "did you mean 'created'?" in warning


@pytest.mark.usefixtures("created")
def test_what_is_suppressed_for_a_reason_is_logged_with_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dispatch.triggers")
    with suppress_triggers(reason="during the import"):
        note = Note.objects.create(title="A")
    assert (
        f"Trigger 'created' is suppressed during the import: notes.note {note.pk} was created." in caplog.text
    )
