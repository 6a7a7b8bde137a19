from __future__ import annotations

import time
import uuid

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from dispatch.models import OutboxMessage
from dispatch.models.outbox_message import new_task_id

pytestmark = pytest.mark.django_db
Status = OutboxMessage.Status


def message(**columns):
    return OutboxMessage(task_name="tasks.a", **columns)


@pytest.mark.parametrize(
    "columns",
    [
        {"status": "sent"},
        {"status": ""},
        {"status": Status.CLAIMED},
        {"status": Status.CLAIMED, "lease_token": uuid.uuid4()},
        {"status": Status.CLAIMED, "lease_expires_at": timezone.now()},
        {"status": Status.PUBLISHED},
    ],
    ids=lambda columns: " ".join(columns),
)
def test_the_database_refuses_a_status_that_contradicts_its_columns(columns, refused_by_database):
    refused_by_database(message(**columns))


def test_the_database_refuses_two_messages_of_one_id():
    found = message()
    with pytest.raises(IntegrityError), transaction.atomic():
        OutboxMessage.objects.bulk_create([found, message(id=found.id)])


@pytest.mark.parametrize("status", [Status.PENDING, Status.DEAD, Status.CANCELLED])
def test_statuses_that_need_no_further_column_are_stored_without_any(status):
    message(status=status).save()


def test_claimed_and_published_messages_are_stored_with_what_they_need():
    message(status=Status.CLAIMED, lease_token=uuid.uuid4(), lease_expires_at=timezone.now()).save()
    message(status=Status.PUBLISHED, published_at=timezone.now()).save()


def test_ids_are_uuids_of_version_7_in_the_order_of_time():
    ids = [new_task_id() for _ in range(1000)]
    assert all(type(one) is uuid.UUID and one.version == 7 and one.variant == uuid.RFC_4122 for one in ids)
    assert ids == sorted(set(ids))


def test_however_many_ids_are_made_at_once_none_is_ahead_of_the_clock():
    newest = max(new_task_id() for _ in range(5_000))
    assert newest.int >> 80 <= time.time_ns() // 1_000_000 + 1


@pytest.mark.parametrize(
    "text", ['{"z":1,"a":1e16}', "[10000000000000000,1.0,-0.0]", '["é ☃ 😀"]', '["\\\\u0000"]']
)
def test_arguments_are_stored_letter_by_letter(text):
    stored = message(args=text, kwargs=text)
    stored.save()
    stored.refresh_from_db()
    assert (stored.args, stored.kwargs) == (text, text)


def test_results_are_awaited_of_published_messages_that_want_one_and_were_not_handled():
    published = {"status": Status.PUBLISHED, "published_at": timezone.now()}
    awaited = message(**published)
    others = [
        message(),
        message(status=Status.DEAD),
        message(**published, ignore_result=True),
        message(**published, handled_at=timezone.now()),
    ]
    OutboxMessage.objects.bulk_create([awaited, *others])
    assert list(OutboxMessage.objects.awaiting_result()) == [awaited]
