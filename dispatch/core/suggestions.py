"""Close matches of a name that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Return the names that ``name`` is likely meant for."""
    return difflib.get_close_matches(name, list(known), n=most)


def suggest(name: str, known: Iterable[str], most: int = 3) -> str:
    """Return `` (did you mean 'a' or 'b'?)`` for the names closest to ``name``, or nothing."""
    close = closest(name, known, most)
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
