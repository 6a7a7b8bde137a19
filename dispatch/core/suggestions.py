"""Close matches of a name that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(name: str, known: Iterable[str], most: int = 3) -> str:
    """Return `` (did you mean 'a' or 'b'?)`` for the names closest to ``name``, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=most)
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
