from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone

from dispatch.admin import lifecycle_status
from dispatch.models import OutboxMessage


@pytest.mark.parametrize(
    ("columns", "state", "shown"),
    [
        ({"status": "pending"}, "", "pending"),
        ({"status": "dead"}, "SUCCESS", "dead"),
        ({"status": "published"}, "", "published"),
        ({"status": "published"}, "PENDING", "published"),
        ({"status": "published"}, "RECEIVED", "published"),
        ({"status": "published", "ignore_result": True}, "", "unawaited"),
        ({"status": "published", "ignore_result": True}, "FAILURE", "failed"),
        ({"status": "published"}, "STARTED", "running"),
        ({"status": "published"}, "MADE_UP_BY_THE_TASK", "running"),
        ({"status": "published"}, "RETRY", "retrying"),
        ({"status": "published", "handled_at": timezone.now()}, "SUCCESS", "succeeded"),
        ({"status": "published"}, "REVOKED", "revoked"),
        ({"status": "published", "handled_at": dt.datetime.now(dt.UTC)}, "", "finished"),
    ],
)
def test_a_message_has_one_status_made_of_its_own_and_its_results(columns, state, shown):
    found, label = lifecycle_status.of(OutboxMessage(**columns), state)
    assert found == shown
    assert label


def test_each_status_is_one_by_which_the_list_can_be_filtered():
    filtered_by = lifecycle_status.CONDITIONS.keys() | lifecycle_status.STATES.keys()
    assert filtered_by == set(lifecycle_status.Lifecycle)
