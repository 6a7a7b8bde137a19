"""Texts from elsewhere made fit to store and to show: without secrets, short, without what no database takes."""

from __future__ import annotations

import json
import re

#: What JSON readers and databases refuse in a text: NUL, and halves of surrogate pairs.
UNSENDABLE = re.compile("[\x00\ud800-\udfff]")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
#: Of both, each character is looked at once or twice: an error may quote a text of any length and shape.
_WORD = re.compile(r"\S+")
_PARAMETER = re.compile(
    r"([?&] (?:(?!password|secret|token) [^=&?\s])*+ (?:password|secret|token) [^=&?\s]*+ =) [^&\s]+",
    re.IGNORECASE | re.VERBOSE,
)


def redact(text: str) -> str:
    """Return ``text`` with the password of every URL in it replaced by ``***``, in its query too."""
    if "://" in text:
        text = _WORD.sub(_without_password, text)
    return _PARAMETER.sub(r"\1***", text)


def _without_password(word: re.Match[str]) -> str:
    """Return a word without what stands between the first colon behind ``://`` and the last ``@``."""
    scheme, _, rest = word[0].partition("://")
    credentials, at, host = rest.rpartition("@")
    user, colon, _password = credentials.partition(":")
    return f"{scheme}://{user}:***{at}{host}" if colon else word[0]


def storable(text: str, length: int | None = None) -> str:
    """Return ``text`` as every database stores it: without NUL and lone surrogates, cut to ``length``."""
    return UNSENDABLE.sub("\ufffd", text)[:length]


def ascii_only(text: str) -> str:
    """Return ``text`` in letters that every table takes, the others as JSON escapes them: JSON means the same."""
    return _BEYOND_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)


def shorten(text: str, length: int = 300) -> str:
    """Return ``text`` cut in the middle to about ``length`` characters: both ends tell what it is."""
    half = length // 2
    return text if len(text) <= length else f"{text[:half]} … {text[-half:]}"
