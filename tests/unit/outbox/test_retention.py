"""What is pruned, and what never is."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from django.utils import timezone
from django_celery_results.models import TaskResult
from hypothesis import given
from hypothesis import strategies as st

from dispatch.models import Attempt, OutboxMessage, Resend
from dispatch.outbox import cancel, retention
from dispatch.outbox.retention import Pruning
from tests.support.old_messages import DAY, left, message
from tests.support.registry import make_registry

pytestmark = pytest.mark.django_db
SETTLED = ("published", "superseded", "cancelled", "dead")


@pytest.fixture(autouse=True)
def registry(broker_settings: Any, db: None) -> None:
    broker_settings("memory://", RETENTION={"dead": 30 * DAY})
    make_registry()


def prune(**retention_of: dt.timedelta | None) -> int:
    return sum(Pruning("default", retention_of or None).steps())


@pytest.mark.parametrize(
    ("status", "kept_days"), [("published", 7), ("superseded", 7), ("cancelled", 7), ("dead", 30)]
)
def test_a_settled_message_is_pruned_when_its_retention_is_over(status: str, kept_days: int) -> None:
    young = message(status, kept_days - 0.1)
    message(status, kept_days + 0.1)
    assert prune() == 1
    assert left() == {young}


def test_by_default_dead_letters_are_kept_for_ever(broker_settings: Any) -> None:
    broker_settings("memory://")
    dead = message("dead", 3_000)
    message("cancelled", 8)
    assert prune() == 1
    assert left() == {dead}


@pytest.mark.parametrize("value", [None, dict.fromkeys(SETTLED)], ids=["none", "none for each"])
def test_retention_may_be_turned_off(broker_settings: Any, value: Any) -> None:
    broker_settings("memory://", RETENTION=value)
    for status in SETTLED:
        message(status, 3_000)
    assert Pruning("default").done
    assert prune() == 0


def test_a_result_that_is_still_asked_for_keeps_its_message(broker_settings: Any) -> None:
    broker_settings("memory://", RESULTS_HORIZON=10 * 86_400, RETENTION={"published": 86_400})
    awaited = message("published", 9)
    message("published", 9, handled_at=timezone.now())
    message("published", 9, ignore_result=True)
    message("published", 11)
    assert prune() == 3
    assert left() == {awaited}


@pytest.mark.parametrize(
    "task_id", ["ffffffff-ffff-4fff-bfff-fffffffffff0", "0a0a0a0a-0000-4000-8000-000000000001"]
)
def test_ids_that_callers_gave_are_found_wherever_they_stand(task_id: str) -> None:
    message("published", 8, pk=uuid.UUID(task_id))
    young = message("published", 1, pk=uuid.uuid4())
    assert prune() == 1
    assert left() == {young}


def test_what_dies_after_a_long_wait_is_kept_from_then_on() -> None:
    waited = message("pending", 300)
    cancel(OutboxMessage.objects.all())
    assert prune() == 0
    assert left() == {waited}


def test_failed_attempts_go_with_their_message_and_results_only_by_choice(settings: Any) -> None:
    for prunes_results in (False, True):
        settings.DISPATCH = {**settings.DISPATCH, "PRUNE_RESULTS": prunes_results}
        TaskResult.objects.all().delete()
        old, young = message("published", 8), message("published", 1)
        for pk in (old, young):
            Attempt.objects.create(id=uuid.uuid4(), message_id=pk, at=timezone.now(), error="refused")
            TaskResult.objects.create(task_id=str(pk))
        assert prune() == 1
        assert [attempt.message_id for attempt in Attempt.objects.all()] == [young]
        assert TaskResult.objects.count() == (1 if prunes_results else 2)
        OutboxMessage.objects.all().delete()
        Attempt.objects.all().delete()


def test_what_a_message_was_a_copy_of_goes_with_it() -> None:
    old, young = message("published", 8), message("published", 1)
    Resend.objects.create(original=old, copy=young)
    Resend.objects.create(original=uuid.uuid4(), copy=old)
    assert prune() == 1
    assert list(Resend.objects.values_list("copy", flat=True)) == [young]


def test_a_walk_reads_a_few_rows_a_step_and_goes_on_behind_what_is_kept(monkeypatch: Any) -> None:
    monkeypatch.setattr(retention, "STEP", 3)
    kept = {message("dead", 20 - n / 10) for n in range(5)}
    for n in range(5):
        message("published", 10 - n / 10)
    found = list(Pruning("default").steps())
    assert sum(found) == 5
    assert max(found) <= 3
    assert left() == kept


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["pending", "claimed", *SETTLED]),
            st.integers(0, 1_000).map(lambda days: days + 0.5),
            st.booleans(),
            st.booleans(),
            st.uuids(version=4).filter(lambda given: given.bytes[0] != 1)
            | st.none(),  # as those of our years begin
        ),
        max_size=8,
        unique_by=lambda row: row[4] or object(),
    ),
    kept=st.dictionaries(st.sampled_from(SETTLED), st.integers(0, 1_000)),
)
def test_what_was_not_sent_is_never_pruned_whatever_its_age(rows: Any, kept: Any) -> None:
    OutboxMessage.objects.all().delete()
    expected = set()
    for status, age, ignored, handled, task_id in rows:
        columns: dict[str, Any] = {"ignore_result": ignored}
        columns |= {"handled_at": timezone.now()} if handled else {}
        columns |= {"pk": task_id} if task_id else {}
        pk = message(status, age, **columns)
        awaited = status == "published" and not (ignored or handled) and age < 1
        if status not in kept or age < kept[status] or awaited:
            expected.add(pk)
    prune(**{status: days * DAY for status, days in kept.items()} or {"dead": None})
    assert left() == expected
