"""What a migration does to rows, there and back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.db import connection

from dispatch.models import Manifest, Queue, Route, TaskDefinition, Trigger
from tests.support.registry import make_queue, make_task, make_trigger

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
