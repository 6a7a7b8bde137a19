"""Texts that people read: secrets cut out, close matches offered."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_CREDENTIALS = re.compile(r"(?P<scheme>[a-zA-Z][\w+.-]*://)(?P<user>[^:\s]*):\S*@")


def redact(text: str) -> str:
    """Return ``text`` with the password of every URL in it replaced by ``***``."""
    return _CREDENTIALS.sub(r"\g<scheme>\g<user>:***@", text)


def suggest(name: str, known: Iterable[str], most: int = 3) -> str:
    """Return `` (did you mean 'a' or 'b'?)`` for the names closest to ``name``, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=most)
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
