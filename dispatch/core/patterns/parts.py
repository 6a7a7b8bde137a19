"""Finds the repeated groups in the text of a regular expression, to name them as the operator wrote them.

Python's parser reads the pattern for the decision itself, but it keeps no positions and rewrites what it reads:
``(a|aa)*`` becomes ``(a(?:|a))*``.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""
    (?P<other> \\. | \[\^?\]?(?:\\.|[^\]\\])*\] | \(\?\#[^)]*\) )
    | (?P<open> \( )
    | (?P<close> \) (?P<repeated> (?: [*+?] | \{[\d,]+\} ) [?+]? )? )
    | .
    """,
    re.VERBOSE | re.DOTALL,
)


def repeated_groups(pattern: str) -> list[str]:
    """Return the groups of the pattern that are followed by a quantifier, with it, shortest first."""
    opened: list[int] = []
    found: list[str] = []
    for token in _TOKEN.finditer(pattern):
        if token["open"]:
            opened.append(token.start())
        elif token["close"] and opened:
            start = opened.pop()
            if token["repeated"]:
                found.append(pattern[start : token.end()])
    return sorted(found, key=len)
