from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dispatch.core import backoff

attempts = st.integers(-5, 10**6)
waits = st.floats(0, 1e9)


@given(attempts, waits, waits)
def test_a_delay_lies_between_zero_and_its_bound_and_no_bound_above_the_cap(attempt, base, cap):
    assert 0 <= backoff.delay(attempt, base, cap) <= backoff.bound(attempt, base, cap) <= cap


@given(st.integers(1, 10**6), waits, waits)
def test_bounds_never_shrink(attempt, base, cap):
    assert backoff.bound(attempt, base, cap) <= backoff.bound(attempt + 1, base, cap)


def test_bounds_double_from_the_base_up_to_the_cap():
    assert [backoff.bound(attempt, 1, 10) for attempt in (1, 2, 3, 4, 5, 6)] == [1, 2, 4, 8, 10, 10]


def test_delays_are_spread():
    assert len({backoff.delay(5, 1, 300) for _ in range(50)}) > 25
