"""From a model save to an outbox row: one commit, one row, and none where nothing was committed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.core import serializers
from django.db import connection, connections, transaction
from django.db.models.signals import post_save, pre_save
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dispatch.api import message_enqueued, suppress_triggers
from dispatch.models import OutboxMessage, TaskDefinition, Trigger, TriggerArgument
from project.notes.models import Note
from tests.support.databases import elsewhere
from tests.support.registry import TASK, make_registry, make_task, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)


class Undo(Exception):
    pass


@pytest.fixture(autouse=True)
def task(settings: Any, transactional_db: None) -> TaskDefinition:
    settings.DISPATCH = {**settings.DISPATCH, "REGISTRY_TTL": 0}
    return make_registry()


def sent() -> list[dict[str, Any]]:
    return [json.loads(row.kwargs) for row in OutboxMessage.objects.order_by("id")]


def test_a_created_object_sends_its_task_with_the_mapped_arguments(task: TaskDefinition) -> None:
    make_trigger(task, "created")
    note = Note.objects.create(title="A", body="Hello")
    row = OutboxMessage.objects.get()
    assert json.loads(row.kwargs) == {"note_id": str(note.pk), "text": "Hello"}
    assert (row.task_name, row.queue, row.status) == (TASK, "llm", "pending")
    assert (row.object_model, row.object_pk, row.origin) == ("notes.note", str(note.pk), "trigger")


def test_each_event_has_its_own_trigger(task: TaskDefinition) -> None:
    make_trigger(task, "updated", "deleted")
    note = Note.objects.create(title="A", body="one")
    assert sent() == []
    note.body = "two"
    note.save()
    pk = str(note.pk)
    note.delete()
    assert sent() == [{"note_id": pk, "text": "two"}, {"note_id": pk, "text": "two"}]


def test_a_rolled_back_save_sends_nothing(task: TaskDefinition) -> None:
    make_trigger(task, "created")
    with transaction.atomic():
        Note.objects.create(title="A")
        transaction.set_rollback(True)
    assert sent() == []


def test_a_rolled_back_savepoint_sends_nothing_and_the_rest_is_sent(task: TaskDefinition) -> None:
    make_trigger(task, "created")
    with transaction.atomic():
        Note.objects.create(title="A", body="kept")
        with transaction.atomic():
            Note.objects.create(title="B", body="undone")
            transaction.set_rollback(True)
    assert [each["text"] for each in sent()] == ["kept"]


def test_fixtures_send_nothing(task: TaskDefinition) -> None:
    make_trigger(task, "created", "updated")
    document = serializers.serialize("json", [Note(title="A", created_at=timezone.now())])
    for loaded in serializers.deserialize("json", document):
        loaded.save()
    assert Note.objects.count() == 1
    assert sent() == []


def test_historical_models_of_migrations_send_nothing(task: TaskDefinition) -> None:
    from django.db.migrations.loader import MigrationLoader

    make_trigger(task, "created")
    historical = MigrationLoader(connection).project_state().apps.get_model("notes", "Note")
    historical.objects.create(title="A")
    assert sent() == []


def test_suppressed_saves_send_nothing(task: TaskDefinition) -> None:
    make_trigger(task, "created", "deleted")
    with suppress_triggers():
        Note.objects.create(title="A").delete()
    assert sent() == []


def test_a_disabled_trigger_sends_nothing(task: TaskDefinition) -> None:
    make_trigger(task, "created", enabled=False)
    Note.objects.create(title="A")
    assert sent() == []


def test_a_trigger_on_a_model_of_others_works_without_changing_it(task: TaskDefinition) -> None:
    row = Trigger.objects.create(name="users", model="auth.user", events=["created", "deleted"], task=task)
    for parameter, source, value in (("note_id", "constant", '"x"'), ("text", "field", "username")):
        TriggerArgument.objects.create(trigger=row, parameter=parameter, source=source, value=value)
    get_user_model().objects.create_user("ada").delete()
    assert [each["text"] for each in sent()] == ["ada", "ada"]


def test_a_trigger_made_in_another_process_works_in_this_one(task: TaskDefinition) -> None:
    Note.objects.create(title="A")  # this process has its snapshot, and no trigger

    def operator() -> None:
        make_trigger(task, "created", "deleted")
        connections.close_all()

    thread = threading.Thread(target=operator)
    thread.start()
    thread.join()
    Note.objects.create(title="B").delete()
    assert len(sent()) == 2


def test_object_and_message_are_one_commit_in_autocommit(task: TaskDefinition) -> None:
    make_trigger(task, "created")
    seen = []

    def look(**_: Any) -> None:
        seen.append((connection.in_atomic_block, Note.objects.count(), elsewhere(Note.objects.count)))

    message_enqueued.connect(look, dispatch_uid="test")
    try:
        Note.objects.create(title="A")
    finally:
        message_enqueued.disconnect(dispatch_uid="test")
    assert seen == [(True, 1, 0)]
    assert not connection.in_atomic_block


def test_a_process_killed_between_object_and_message_leaves_neither(task: TaskDefinition) -> None:
    make_trigger(task, "created")
    script = """
        import os, django
        django.setup()
        from dispatch import outbox
        from project.notes.models import Note
        outbox.insert = lambda drafts, using: os._exit(9)  # the failpoint: before the INSERT of the message
        Note.objects.create(title="killed")
    """
    if connection.vendor == "sqlite":
        url = f"sqlite:///{connection.settings_dict['NAME']}"
    else:
        parts = connection.settings_dict
        scheme = {"postgresql": "postgres", "mysql": "mysql"}[connection.vendor]
        url = (
            f"{scheme}://{parts['USER']}:{parts['PASSWORD']}@{parts['HOST']}:{parts['PORT']}/{parts['NAME']}"
        )
    environment = {**os.environ, "DATABASE_URL": url}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=environment, check=False)
    assert done.returncode == 9
    assert not Note.objects.filter(title="killed").exists()
    assert sent() == []


@pytest.mark.parametrize("had_one", [False, True])
def test_a_model_without_trigger_is_saved_without_a_transaction_around_it(
    task: TaskDefinition, had_one: bool
) -> None:
    seen = []
    if had_one:
        trigger = make_trigger(task, "created")
        Note.objects.create(title="A")
        trigger.delete()

    def look(**_: Any) -> None:
        seen.append(connection.in_atomic_block)

    post_save.connect(look, sender=Note)
    try:
        Note.objects.create(title="A")
    finally:
        post_save.disconnect(look, sender=Note)
    assert seen == [False]


def test_a_trigger_that_appears_before_the_row_is_written_fires(task: TaskDefinition) -> None:
    make_trigger(task, "created").delete()

    def appear(**_: Any) -> None:
        make_trigger(task, "created")
        pre_save.disconnect(appear, sender=Note)

    pre_save.connect(appear, sender=Note)
    Note.objects.create(title="A")
    assert len(sent()) == 1


def test_a_bulk_delete_of_an_unhooked_model_stays_fast(task: TaskDefinition) -> None:
    make_trigger(task, "deleted")  # on notes, not on users' groups
    Session.objects.bulk_create(Session(pk=str(n), expire_date=timezone.now()) for n in range(50))
    Session.objects.all().delete()
    Session.objects.bulk_create(Session(pk=str(n), expire_date=timezone.now()) for n in range(50))
    with CaptureQueriesContext(connection) as queries:
        Session.objects.all().delete()
    deletes = [query for query in queries if "django_session" in query["sql"]]
    assert len(deletes) == 1


def test_what_cannot_be_enqueued_becomes_a_dead_message_and_the_save_stands(task: TaskDefinition) -> None:
    row = make_trigger(task, "created")
    TriggerArgument.objects.filter(trigger=row, parameter="text").update(source="constant", value="[12]")
    note = Note.objects.create(title="A")
    dead = OutboxMessage.objects.get()
    assert (dead.status, dead.object_pk) == ("dead", str(note.pk))
    assert "[12] is not of type 'string' (at /kwargs/text)" in dead.last_error


def test_a_trigger_whose_field_is_gone_says_so_on_a_dead_message(task: TaskDefinition) -> None:
    row = make_trigger(task, "created")
    TriggerArgument.objects.filter(trigger=row, parameter="text").update(value="boddy")
    Note.objects.create(title="A")
    assert "no column boddy" in OutboxMessage.objects.get(status="dead").last_error


def test_trigger_errors_can_be_raised_instead_and_then_undo_the_save(
    task: TaskDefinition, settings: Any
) -> None:
    settings.DISPATCH = {**settings.DISPATCH, "TRIGGER_ERRORS": "raise"}
    TriggerArgument.objects.filter(trigger=make_trigger(task, "created"), parameter="text").delete()
    with pytest.raises(ValueError, match="argument 'text' is missing"):
        Note.objects.create(title="A")
    assert Note.objects.count() == 0


@pytest.mark.usefixtures("temporary_models")
def test_a_proxy_fires_the_triggers_of_its_model(task: TaskDefinition) -> None:
    class Memo(Note):
        class Meta:
            proxy = True
            app_label = "notes"

    make_trigger(task, "created", "deleted")
    Memo.objects.create(title="A").delete()
    assert len(sent()) == 2


def test_the_second_save_of_an_instance_is_an_update(task: TaskDefinition) -> None:
    make_trigger(task, "created", name="on create")
    make_trigger(make_task("worker.tasks.llm.again"), "updated", name="on update")
    note = Note(title="A")
    note.save()
    note.save()
    assert list(OutboxMessage.objects.order_by("id").values_list("task_name", flat=True)) == [
        TASK,
        "worker.tasks.llm.again",
    ]
