"""Keeps patterns that can take very long out of the routes.

Python's :mod:`re` matches by backtracking: it tries one way to read the name after the other. ``(a+)+$`` has two
choices at each ``a``, so that 255 of them can be read in 2**254 ways, and a process that is handed such a name stands
still. Routes are matched in every process, so that such a pattern is refused when it is saved or imported.

Of the known criteria, an exponential loop (EDA) and a polynomial degree (IDA) say how the number of ways grows with
the length of the name. Names here are short, and much that explodes has no loop at all, ``(a|aa){50}b``. So the ways
themselves are bounded, up to the length a name may have: see :mod:`dispatch.core.patterns.counting`.
"""

from __future__ import annotations

import re

from dispatch.core.patterns.automaton import TooComplex, Unreadable, automata
from dispatch.core.patterns.counting import steps
from dispatch.core.patterns.parts import repeated_groups
from dispatch.exceptions import ConfigurationError

LONGEST_NAME = 255
MOST_STEPS = 20_000_000  # a quarter of a second at worst: CPython 3.11 took 2 to 13 ns for a step
MOST_SUSPECTS = 5


def check(pattern: str) -> None:
    """Make sure that ``re.match`` with this regular expression is quick on every task name.

    Names of up to 255 characters are considered. A pattern whose time cannot be bounded is refused as well.

    Raises ConfigurationError with the part, the reason and the remedy; also for what does not compile.
    """
    try:
        re.compile(pattern)
        if _is_quick(pattern):
            return
    except (re.error, OverflowError, RecursionError) as error:  # the last two: absurd repetitions and nesting
        raise ConfigurationError(f"'{pattern}' is not a regular expression: {error}.") from None
    except Unreadable as error:
        raise ConfigurationError(f"'{pattern}' is refused: {error}") from None
    raise ConfigurationError(_refusal(pattern))


def _is_quick(pattern: str) -> bool:
    budget = MOST_STEPS
    for automaton in automata(pattern, LONGEST_NAME):
        budget -= steps(automaton, LONGEST_NAME, budget)
    return budget >= 0


def _refusal(pattern: str) -> str:
    part = _culprit(pattern)
    if part is None:
        return (
            f"'{pattern}' can take too long: its repeated or optional parts can share out one task name among them "
            f"in millions of ways, all of which are tried before it is clear that the name does not match; let each "
            f"read only what the next cannot, for example [^.]* in place of .*, or leave some of them out."
        )
    return (
        f"'{pattern}' can take too long: the part '{part}' can read the same text in millions of ways, all of which "
        f"are tried before it is clear that a task name does not match; write it so that each text can be read in "
        f"one way only, without a repetition inside a repetition, for example a+ in place of (a+)+, or use a glob."
    )


def _culprit(pattern: str) -> str | None:
    """Return the shortest repeated group that takes too long by itself, None where it takes several parts."""
    for part in repeated_groups(pattern)[:MOST_SUSPECTS]:
        try:
            if not _is_quick(rf"(?:{part})\Z"):
                return part
        except (re.error, TooComplex, Unreadable):  # cut out of its context, it may mean nothing
            continue
    return None
