"""Patterns of routes: what they match, and for how long they may try.

A regular expression means what it means to Python's :mod:`re`, as in Celery, but is matched by the module ``regex``,
which can be stopped. ``re`` tries one way to read the name after the other, and no clock ends that: ``(a|aa)+$`` on
a hundred letters would hold up every process that reads the registry. What the two modules read differently is refused.
"""

from __future__ import annotations

import fnmatch
import functools
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import TYPE_CHECKING

from dispatch.exceptions import ConfigurationError

if TYPE_CHECKING:
    import regex

LONGEST_NAME = 255
#: Seconds that an expression may spend on one name. Everyday ones need 0.000003; for what explodes none is enough.
LIMIT = 0.005
#: A trial is stricter, so that what passed it is not given up by a slower machine.
TRIAL = 0.001
#: Seconds for all names together; when they are spent, each further name has a tenth of the limit.
ALL_NAMES = 0.1
#: ``regex`` writes counted repetitions out when it compiles: nested ones would take the memory of the process.
MOST_REPEATED = 1_000

Matcher = Callable[[str], object]  # true for a name that matches

#: Constructs, and what to write instead. Some should be read alike, but comparing the two modules showed defects.
READ_OTHERWISE = {
    r"\(\?\(": "a condition on a group, (?(1)…): write its cases as alternatives",
    r"\[:": "[: may begin a class of POSIX: put the colon at the end of the set, or write \\:",
    r"\}\+": "a count that keeps what it took, a{2}+: write (?>a{2})",
    r"\(\?[a-z]*-?[a-z]*i[a-z]*(?:-[a-z]+)?:": "a part that ignores case, (?i:…): write (?i) at the start, or [aA]",
    r"(?P<set>\[\^\\?.\]).*\|.*(?!(?P=set))\[\^\\?.\]": "[^a] and [^b] in alternatives: write [^ax], with a second one",
    r"\\[1-9]|\(\?P=": "a reference to a group: write the text of the group again",
    r"\{(?!\d+(?:,\d*)?\}|,\d+\})": "a brace that counts nothing: write \\{",
}
#: A count, with the one character or set that it repeats; where that is none, it is taken to repeat a group.
COUNT = re.compile(r"(\\.|[\w.\]])?\{(\d*),?(\d*)\}|\\.", re.DOTALL)


def compile_pattern(kind: str, pattern: str, give_up: Callable[[str], None] | None = None) -> Matcher:
    """Return what tells whether a task name matches a route's pattern.

    As in Celery (``celery.app.routes``), a glob is :mod:`fnmatch`'s and matches the whole name, while a regular
    expression is tried at the start of it. One that takes too long matches no name from then on; ``give_up`` is then
    called with the name that it was tried on.

    Raises ConfigurationError for a regular expression that does not compile or would be read otherwise than by ``re``.
    """
    if kind == "exact":
        return pattern.__eq__
    if kind == "glob":
        return re.compile(fnmatch.translate(pattern)).match  # atomic groups: no star is tried twice
    return _Expression(pattern, give_up).match


def check(pattern: str, names: Iterable[str]) -> None:
    """Try a regular expression on task names, and on long ones made of them and of its own text.

    Raises ConfigurationError, with the reason and the remedy, for one that takes too long or cannot be used.
    """
    stuck: list[str] = []
    matches = _Expression(pattern, stuck.append, TRIAL).match
    known = list(names)
    for name in (*known, *_pumped(pattern, known)):
        matches(name)
        if stuck:
            raise ConfigurationError(too_long(pattern, name))


def too_long(pattern: str, name: str) -> str:
    """Return why a regular expression is not used, and what to write instead."""
    shown = name if len(name) <= 60 else f"{name[:40]}…{name[-10:]}"
    return (
        f"'{pattern}' can take too long: on the task name '{shown}' it was stopped. Its repeated or optional parts can "
        f"read the same text in ever so many ways, all of which are tried before it is clear that the name does not "
        f"match; write it so that each text can be read in one way only, for example a+ in place of (a|aa)+ and "
        f"[^.]* in place of .*, or use a glob."
    )


class _Expression:
    """A regular expression that spends a bounded time on all names that it is asked for, and then matches none."""

    def __init__(self, pattern: str, give_up: Callable[[str], None] | None, limit: float = LIMIT) -> None:
        self._match = _compiled(pattern).match
        self._give_up = give_up
        self._limit = limit
        self._left = ALL_NAMES
        self._is_given_up = False

    def match(self, name: str) -> bool:
        if self._is_given_up:
            return False
        try:
            return self._is_match(name)
        except TimeoutError:
            self._is_given_up = True
            if self._give_up is not None:
                self._give_up(name)
            return False

    def _is_match(self, name: str) -> bool:
        # It is the processor's time: a busy machine stops nothing. "concurrent" would wait for the other threads.
        limit = min(self._limit, max(self._left, self._limit / 10))
        began = time.perf_counter()
        try:
            found = self._match(name, timeout=limit, concurrent=False)
        except TimeoutError:  # once in ten millions that clock jumps by itself
            found = self._match(name, timeout=limit, concurrent=False)
        self._left -= min(time.perf_counter() - began, limit)  # the rest was other processes' time
        return found is not None


@functools.lru_cache(maxsize=2_000)  # each change of the registry asks for the same ones again
def _compiled(pattern: str) -> regex.Pattern[str]:
    import regex  # it takes 14 ms, which a process without such a route need not spend

    try:
        re.compile(pattern)
        _refuse_what_is_read_otherwise(pattern)
        return regex.compile(pattern, cache_pattern=False)
    except (re.error, regex.error, OverflowError, RecursionError) as error:  # the last: absurd nesting
        raise ConfigurationError(f"{pattern!r} is not a regular expression: {error}.") from None


def _refuse_what_is_read_otherwise(pattern: str) -> None:
    for construct, sentence in READ_OTHERWISE.items():
        if any(found[1] for found in _searched(construct).finditer(pattern)):
            raise ConfigurationError(f"'{pattern}' is refused: {sentence}.")
    if _repeated(pattern) > MOST_REPEATED:
        raise ConfigurationError(
            f"'{pattern}' is refused: its repetitions are too large, at most {MOST_REPEATED} in all where one stands "
            f"in another; use * or + in place of large counts."
        )


@functools.cache  # that of re would lose them among a thousand routes
def _searched(construct: str) -> re.Pattern[str]:
    return re.compile(rf"({construct})|\\.", re.DOTALL)


def _repeated(pattern: str) -> int:
    """Return a bound of how often a part is written out, counts of groups being taken for nested."""
    of_groups, of_others = [1], [1]
    for found in COUNT.finditer(pattern):
        most = max(int(digits or 1) for digits in found.group(2, 3))
        (of_others if found[1] else of_groups).append(most)
    return math.prod(of_groups) * max(of_others)


def _pumped(pattern: str, names: list[str]) -> Iterator[str]:
    """Yield long names on which an expression that tries many ways is likely to try them all."""
    head = re.sub(r"\\(\W)", r"\1", re.match(r"\^?((?:\\\W|\w)*)", pattern)[1])  # type: ignore[index]  # always matches
    words = re.findall(r"[^\W\d_]+|[\W_]", re.sub(r"\\\w", "", pattern))
    letters = sorted({*"".join(words[:40]), "a", "A", ".", "_", "1"})
    parts = dict.fromkeys([*letters, *words, "a.", "ab", "aA", *names[:10]])
    heads = dict.fromkeys(["", head, *(name.rpartition(".")[0] + "." for name in names[:5])])
    # With the pattern's own words at the end, the name has all that "regex" looks for before it tries anything.
    for start, part, end in product(heads, parts, ("!", "", "!" + "".join(words)[: LONGEST_NAME // 2])):
        yield (start + part * LONGEST_NAME)[: LONGEST_NAME - len(end)] + end
    yield from (f"{name}!"[-LONGEST_NAME:] for name in names)
