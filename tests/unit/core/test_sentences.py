from __future__ import annotations

import pytest

from dispatch.core.sentences import at_most, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.9, "0 s"),
        (45, "45 s"),
        (60, "1 min"),
        (725, "12 min 5 s"),
        (3_605, "1 h"),
        (12_000, "3 h 20 min"),
        (187_200, "2 d 4 h"),
        (63_000_000_000, "729166 d 16 h"),
    ],
)
def test_a_time_is_told_in_its_two_largest_units(seconds, text):
    assert duration(seconds) == text


def test_a_number_that_was_not_counted_to_its_end_says_so():
    assert [at_most(number, 1_000) for number in (0, 999, 1_000)] == ["0", "999", "1,000+"]
