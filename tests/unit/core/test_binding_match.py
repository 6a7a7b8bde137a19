from __future__ import annotations

import re

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from dispatch.core.binding_match import key_matches, topic_expression


def reference(pattern, key):
    """AMQP's rules read word by word, naively; an empty key has no words (as RabbitMQ 3.10 answered)."""

    def match(pattern, words):
        if not pattern:
            return not words
        if pattern[0] == "#":
            return any(match(pattern[1:], words[skipped:]) for skipped in range(len(words) + 1))
        return bool(words) and pattern[0] in ("*", words[0]) and match(pattern[1:], words[1:])

    return match(pattern.split(".") if pattern else [], key.split(".") if key else [])


keys = st.lists(st.sampled_from(["a", "b", ""]), max_size=6).map(".".join)
binding_keys = st.lists(st.sampled_from(["a", "b", "*", "#", "", "a*"]), max_size=6).map(".".join)


@given(binding_keys, keys)
def test_a_topic_matches_as_a_naive_reading_of_amqp_does(pattern, key):
    expected = reference(pattern, key)
    event(f"matches: {expected}")
    assert key_matches("topic", pattern, key) == expected


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("media.#", "media", True),
        ("media.#", "media.audio.wav", True),
        ("media.*", "media", False),
        ("media.*", "media.audio.wav", False),
        ("#", "", True),
        ("*", "", False),
        ("#.*", "", False),
        ("*.*", ".", True),
        ("med*", "media", False),
        ("#.wav", "media.audio.wav", True),
    ],
)
def test_a_topic_matches_as_rabbitmq_does(pattern, key, expected):
    assert key_matches("topic", pattern, key) is expected


def test_a_topic_with_many_hashes_takes_no_exponential_time():
    assert not key_matches("topic", ".".join(["#", "a"] * 40), ".".join(["a"] * 200 + ["b"]))


@given(binding_keys, keys)
def test_a_direct_exchange_compares_keys_as_they_are(pattern, key):
    assert key_matches("direct", pattern, key) == (pattern == key)


@given(binding_keys, keys.filter(bool))
def test_the_regular_expression_of_a_topic_takes_the_same_keys(pattern, key):
    assert bool(re.fullmatch(topic_expression(pattern), key)) == key_matches("topic", pattern, key)
