"""Texts from elsewhere made fit to store and to show: without secrets, short, without what no database takes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import lru_cache

#: What JSON readers and databases refuse in a text: NUL, and halves of surrogate pairs.
UNSENDABLE = re.compile("[\x00\ud800-\udfff]")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
#: Of both, each character is looked at once or twice: an error may quote a text of any length and shape.
_WORD = re.compile(r"\S+")
_PARAMETER = re.compile(
    r"([?&] (?:(?!password|secret|token) [^=&?\s])*+ (?:password|secret|token) [^=&?\s]*+ =) [^&\s]+",
    re.IGNORECASE | re.VERBOSE,
)
#: What is shorter is cut out only where it stands as a word, and a single letter not at all: texts must stay readable.
_LONG, _SHORT = 4, 2
_configured: Callable[[], Iterable[str]] = tuple


def know(secrets: Callable[[], Iterable[str]]) -> None:
    """Let :func:`redact` cut out what ``secrets`` returns, which is asked at each use."""
    global _configured
    _configured = secrets


def redact(text: str) -> str:
    """Return ``text`` with everything secret in it replaced by ``***``: the one gate for what libraries say.

    That is each configured credential, however it is written and wherever it stands, in any case; and the password of
    every URL, in its query too.
    """
    if pattern := _pattern(frozenset(_configured())):
        text = pattern.sub("***", text)
    if "://" in text:
        text = _WORD.sub(_without_password, text)
    return _PARAMETER.sub(r"\1***", text)


@lru_cache(maxsize=16)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str] | None:
    """Return what finds the secrets, the longest first; in any case, for hosts are quoted in lower case."""
    shown = sorted((each for each in secrets if len(each) >= _SHORT), key=len, reverse=True)
    found = (re.escape(each) if len(each) >= _LONG else rf"(?<!\w){re.escape(each)}(?!\w)" for each in shown)
    return re.compile("|".join(found), re.IGNORECASE) if shown else None


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
