"""What is seen of an outbox; `dispatch status` and the admin's overview show it."""

from __future__ import annotations

import uuid

import pytest
from django.utils import timezone

from dispatch import health, registry
from tests.support.registry import waiting

pytestmark = pytest.mark.django_db


def test_what_waits_is_counted_for_each_queue_wherever_a_page_of_messages_ends(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries
) -> None:
    monkeypatch.setattr(health, "MOST_COUNTED", 3)
    for queue, number in {"a": 5, "b": 1, "c": 3, "d": 2}.items():
        for age in range(number):
            waiting(queue, seconds=100 * (age + 1))
    waiting("later", seconds=-100)
    with django_assert_num_queries(5):
        found = health.waiting("default")
    assert {name: each.pending for name, each in found.items()} == {
        "a": 3,
        "b": 1,
        "c": 3,
        "d": 2,
        "later": 1,
    }
    oldest = {name: each.oldest_due for name, each in found.items()}
    assert oldest.pop("later") is None
    assert {name: round(age, -2) for name, age in oldest.items()} == {"a": 500, "b": 100, "c": 300, "d": 200}
    assert health.waiting_for("default", "a").pending == 3


def test_what_is_dead_awaited_or_claimed_is_read_together_each_up_to_its_own_limit(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries
) -> None:
    monkeypatch.setattr(health, "MOST_COUNTED", 3)
    for number in range(5):
        waiting("a", status="dead")
        waiting("a", seconds=100 * (number + 1), status="published")
    for queue in "aaaab":
        waiting(queue, status="claimed", lease_token=uuid.uuid4(), lease_expires_at=timezone.now())
    registry.current()
    with django_assert_num_queries(4):  # counts, processes, these, and what waits
        found = health.look("default")
    assert (found.dead, found.awaited) == (3, 3)
    assert found.oldest_awaited == pytest.approx(500, abs=50)
    assert {line.queue: line.claimed for line in found.queues} == {"a": 4, "b": 1}
