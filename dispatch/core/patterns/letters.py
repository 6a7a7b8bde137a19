"""Which characters an element of a regular expression reads, as a bit set over a sample of characters.

Two elements that read a common character anywhere read one in the sample: it holds Latin-1, something of each kind
beyond it, and all characters that the pattern itself names, with their neighbours and their other case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from re import _constants as codes  # type: ignore[attr-defined]  # the parser's, there since 3.11
from typing import Any

READING = (codes.LITERAL, codes.NOT_LITERAL, codes.ANY, codes.IN)
# Digits, letters with and without case, spaces, signs, and the letters that (?i) takes for k, s and i.
_BEYOND_LATIN_1 = "\u0130\u0131\u017f\u03a9\u03c9\u0430\u0661\u2003\u2028\u20ac\u212a\u4e2d\uff11\U0001f600"
_CLASSES = {
    codes.CATEGORY_DIGIT: r"\d",
    codes.CATEGORY_NOT_DIGIT: r"\D",
    codes.CATEGORY_SPACE: r"\s",
    codes.CATEGORY_NOT_SPACE: r"\S",
    codes.CATEGORY_WORD: r"\w",
    codes.CATEGORY_NOT_WORD: r"\W",
}


@dataclass(frozen=True, slots=True)
class Element:
    """What reads one character: its text as a regular expression, its flags, and the characters it names."""

    text: str
    flags: int
    named: frozenset[int]


def element(code: Any, argument: Any, flags: int) -> Element:
    """Return what the parser read as ``code`` with ``argument``, one of :data:`READING`."""
    flags &= re.IGNORECASE | re.DOTALL | re.ASCII
    if code is codes.ANY:
        return Element(".", flags, frozenset())
    if code is codes.LITERAL:
        return Element(re.escape(chr(argument)), flags, frozenset([argument]))
    if code is codes.NOT_LITERAL:
        return Element(f"[^{re.escape(chr(argument))}]", flags, frozenset([argument]))
    text = "".join(_member(*member) for member in argument)
    named = (_named(*member) for member in argument)
    return Element(f"[{text}]", flags, frozenset().union(*named))


def _member(code: Any, argument: Any) -> str:
    if code is codes.NEGATE:
        return "^"
    if code is codes.CATEGORY:
        return _CLASSES[argument]
    if code is codes.RANGE:
        first, last = argument
        return f"{re.escape(chr(first))}-{re.escape(chr(last))}"
    return re.escape(chr(argument))


def _named(code: Any, argument: Any) -> Iterable[int]:
    if code is codes.RANGE:
        return tuple(argument)
    return (argument,) if code is codes.LITERAL else ()


def bit_sets(elements: Iterable[Element]) -> dict[Element, int]:
    """Return for each element the characters of a common sample that it reads, as a bit set."""
    elements = set(elements)
    sample = _sample(frozenset().union(*(element.named for element in elements)))
    bits = {character: 1 << place for place, character in enumerate(sample)}
    text = "".join(sample)
    return {
        element: sum(bits[character] for character in re.findall(element.text, text, element.flags))
        for element in elements
    }


def _sample(named: Iterable[int]) -> list[str]:
    sample = {chr(code) for code in range(256)} | set(_BEYOND_LATIN_1)
    for code in named:
        near = [chr(code + step) for step in (-1, 0, 1) if 0 <= code + step <= 0x10FFFF]
        sample.update(near, *(each.upper() for each in near), *(each.lower() for each in near))
    return sorted(sample)
