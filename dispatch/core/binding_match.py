"""How AMQP 0-9-1 matches bindings, for brokers that do not do it themselves."""

from __future__ import annotations

import re
from itertools import groupby


def key_matches(exchange_type: str, binding_key: str, routing_key: str) -> bool:
    """Tell whether a binding takes a routing key, by AMQP 0-9-1's rules (section 3.1.3).

    In a topic, ``*`` is exactly one word and ``#`` any number of them, none included. An empty key has no words. A
    fanout takes every key. A headers exchange does not look at keys: its broker decides, by the message's headers.
    """
    if exchange_type == "topic":
        return _words_match(_words(binding_key), _words(routing_key))
    if exchange_type in ("fanout", "headers"):
        return True
    return binding_key == routing_key


def topic_expression(binding_key: str) -> str:
    """Return the regular expression, without anchors, of the keys that a topic's binding takes."""
    *first, last = (
        word for word, same in groupby(binding_key.split(".")) for _ in (range(1) if word == "#" else same)
    )
    head = "".join(r"(.*\.)?" if word == "#" else rf"{_word_expression(word)}\." for word in first)
    if last != "#":
        return head + _word_expression(last)
    return head.removesuffix(r"\.") + r"(\..*)?" if first else ".*"


def _word_expression(word: str) -> str:
    return "[^.]*" if word == "*" else re.escape(word)


def _words(key: str) -> list[str]:
    return key.split(".") if key else []


def _words_match(pattern: list[str], words: list[str]) -> bool:
    reachable = {0}  # positions in `words` that the pattern read so far can end at
    for word in pattern:
        if word == "#":
            reachable = set(range(min(reachable), len(words) + 1))
        else:
            reachable = {at + 1 for at in reachable if at < len(words) and word in ("*", words[at])}
        if not reachable:
            return False
    return len(words) in reachable
