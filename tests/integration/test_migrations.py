"""What a migration does to rows, there and back."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from django.apps import apps
from django.apps.registry import Apps
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from dispatch import outbox
from dispatch.api import send_task
from dispatch.models import Manifest, OutboxMessage, Queue, Route, TaskDefinition, Trigger
from project.notes.models import Note
from tests.support.registry import ARGUMENTS, PARAMETERS, TASK, make_queue, make_task, make_trigger

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def migrated() -> Iterator[None]:
    """Whatever happens, the tables are those of the models afterwards."""
    yield
    call_command("migrate", "dispatch", verbosity=0)


def test_going_back_to_priorities_up_to_9_cuts_what_is_above_and_keeps_the_rest(migrated: None) -> None:
    make_queue("high", max_priority=20, default_priority=10)
    make_queue("low", max_priority=5)
    make_trigger(make_task(priority=255), "created", priority=12)
    Route.objects.create(pattern="a", priority=10)
    Route.objects.create(pattern="b", priority=3)
    call_command("migrate", "dispatch", "0001", verbosity=0)
    call_command("migrate", "dispatch", verbosity=0)
    queues = Queue.objects.order_by("name").values_list("max_priority", "default_priority")
    assert list(queues) == [(9, 9), (5, None)]
    assert sorted(Route.objects.values_list("priority", flat=True)) == [3, 9]
    assert (TaskDefinition.objects.get().priority, Trigger.objects.get().priority) == (9, 9)


def test_an_old_process_imports_a_manifest_while_the_new_one_is_not_there_yet() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO dispatch_manifest (worker, version, checksum, queues, offers, imported_at) "
            "VALUES ('w', '1', 'c', '[]', '[]', CURRENT_TIMESTAMP)"
        )
    assert Manifest.objects.get().changes == {}


def test_the_first_version_s_rows_of_every_kind_come_through_all_migrations_and_still_work(
    migrated: None,
) -> None:
    call_command("migrate", "dispatch", "0001", verbosity=0)
    first = MigrationExecutor(connection).loader.project_state(("dispatch", "0001_initial")).apps
    statuses = write_rows_of_every_kind(first)
    models = [model.__name__ for model in first.get_app_config("dispatch").get_models()]
    counts = {name: first.get_model("dispatch", name).objects.count() for name in models}
    assert 0 not in counts.values(), "A kind of row is not tried."

    call_command("migrate", "dispatch", verbosity=0)
    assert {name: apps.get_model("dispatch", name).objects.count() for name in models} == counts
    for name in models:
        for row in apps.get_model("dispatch", name).objects.all():
            row.full_clean()
    assert [OutboxMessage.objects.get(status=status).kwargs for status in statuses] == ["{}"] * len(statuses)

    Note.objects.create(title="New", body="Cats sleep.")
    fired = OutboxMessage.objects.get(origin="trigger")
    sent = send_task(TASK, kwargs=ARGUMENTS)
    assert {(each.queue, each.status) for each in (fired, sent)} == {("llm", "pending")}
    outbox.requeue(OutboxMessage.objects.filter(status="dead"))
    assert OutboxMessage.objects.filter(status="pending").count() == 4


def write_rows_of_every_kind(of: Apps) -> list[str]:
    """Write what the models of an older state hold; return the statuses of the messages."""
    make = {model.__name__: model.objects.create for model in of.get_app_config("dispatch").get_models()}
    make["RegistryVersion"]()
    make["Queue"](name="default", is_default=True)
    queue = make["Queue"](name="llm", queue_type="quorum", arguments={"x-max-length": 10})
    exchange = make["Exchange"](name="media", type="topic")
    make["Binding"](queue=queue, exchange=exchange, routing_key="media.#")
    make["Route"](pattern="worker.tasks.llm.*", kind="glob", queue=queue, priority=5)
    manifest = make["Manifest"](worker="worker", version="1", checksum="sha256:1", queues=[])
    task = make["TaskDefinition"](
        name=TASK, parameters=PARAMETERS, source="manifest", manifest=manifest, countdown=1.5
    )
    trigger = make["Trigger"](name="New notes", model="notes.note", events=["created"], task=task)
    make["TriggerCondition"](trigger=trigger, field="title", operator="equals", value="New")
    make["TriggerArgument"](trigger=trigger, parameter="note_id", source="pk", value="")
    make["TriggerArgument"](trigger=trigger, parameter="text", source="field", value="body")
    now, some_id = timezone.now(), uuid.uuid4()
    of_status = {
        "pending": {},
        "claimed": {"lease_token": some_id, "lease_expires_at": now},
        "published": {"published_at": now, "published_to": {"queue": "llm"}},
        "superseded": {"superseded_by": some_id},
        "dead": {"attempts": 12, "last_error": "Refused."},
        "cancelled": {},
    }
    for status, columns in of_status.items():
        make["OutboxMessage"](task_name=TASK, status=status, broker="default", queue="llm", **columns)
    return list(of_status)
