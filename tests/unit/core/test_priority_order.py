"""What each kind of queue makes of priorities, beside the code that does it in kombu."""

from __future__ import annotations

from bisect import bisect

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.transport.redis import PRIORITY_STEPS

from dispatch.core.priority_order import (
    REDIS_STEPS,
    collisions,
    ordering_elsewhere,
    ordering_on_amqp,
    ordering_on_redis,
)


def test_the_steps_are_those_of_kombu():
    assert list(REDIS_STEPS) == PRIORITY_STEPS


@given(
    steps=st.sets(st.integers(0, 9), min_size=2).map(lambda found: sorted({0, *found})),
    first=st.integers(0, 9),
    second=st.integers(0, 9),
)
def test_redis_takes_the_one_of_two_priorities_first_whose_list_is_polled_first(steps, first, second):
    ordering = ordering_on_redis(steps)

    def polled(priority):
        return steps.index(steps[bisect(steps, 9 - priority) - 1])

    assert (ordering.rank(first) > ordering.rank(second)) == (polled(first) < polled(second))


def test_redis_takes_a_message_without_a_priority_for_the_most_urgent():
    ordering = ordering_on_redis()
    assert ordering.rank(None) == ordering.rank(9) == max(ordering.ranks)
    assert ordering.place_of_unset() == "count as the most urgent"
    assert collisions(ordering, range(7, 11)) == [(7, 8, 9, 10)]


def test_redis_takes_what_is_above_9_for_9():
    ordering = ordering_on_redis(range(10))
    assert (ordering.highest, ordering.rank(255), ordering.rank(10)) == (
        9,
        ordering.rank(9),
        ordering.rank(9),
    )


def test_a_single_step_orders_nothing():
    assert not ordering_on_redis([0]).is_kept


def test_a_classic_queue_orders_up_to_its_highest_priority():
    ordering = ordering_on_amqp({"x-max-priority": 5})
    assert ordering.ranks[:8] == (0, 1, 2, 3, 4, 5, 5, 5)
    assert (ordering.rank(255), ordering.highest) == (5, 5)
    assert ordering.place_of_unset() == "count as the least urgent"


@pytest.mark.parametrize("arguments", [{}, {"x-max-priority": 0}, {"x-queue-type": "stream"}])
def test_without_a_highest_priority_nothing_is_ordered(arguments):
    ordering = ordering_on_amqp(arguments)
    assert not ordering.is_kept
    assert ordering.caveat


def test_a_quorum_queue_is_told_to_depend_on_the_version():
    ordering = ordering_on_amqp({"x-queue-type": "quorum"})
    assert ordering.is_kept
    assert "before 4.0" in ordering.caveat
    assert ordering.place_of_unset() == "count as priority 4"


def test_other_brokers_order_nothing():
    assert not ordering_elsewhere().is_kept


def test_priorities_that_are_one_and_the_same_are_grouped():
    assert collisions(ordering_on_redis(), [9, 7, 4, 0]) == [(7, 9)]
    assert collisions(ordering_on_amqp({"x-max-priority": 9}), range(10)) == []
