"""URLs of brokers, result backends and databases: why one cannot be read without doubt, and what of it is secret.

A URL with a slip (white space before it, a third slash, a password that is not percent-encoded) is cut by each library
in its own way, and the pieces are quoted in errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import SplitResult, quote, quote_plus, unquote, urlsplit

#: Schemes whose libraries read the rest by rules of their own, where a key may hold slashes.
_OWN_GRAMMAR = re.compile(r"(azure\w+|cosmosdbsql|gcpubsub|gs)\Z")
#: Schemes behind which a file's path stands.
_FILES = re.compile(r"(file|filesystem|redis\+socket|(db|sqla)\+sqlite(\+\w+)?)\Z")
_NUMBERED = frozenset({"redis", "rediss", "sentinel"})
_NEXT_HOST = re.compile(r";(?=[\w+.-]*://)")
_SECRET_NAME = re.compile(
    r"passw|pwd|passphrase|secret|token|credential|(api|access|account|private|shared)_?key", re.IGNORECASE
)
_NO_SECRET = re.compile(r"(file|path|name)\Z", re.IGNORECASE)
_PARAMETER, _DECODED = re.compile(r"(\w+)=([^&;\s]+)"), re.compile(r"(\w+)=([^&;]+)")
#: Where libraries cut a URL.
_CUTS = re.compile(r"[@:/?#;,&=%\[\]\s]+")
#: Settings are no deeper; one that holds itself must not be followed for ever.
_DEPTH = 8


def flaw(url: str) -> str:
    """Say why libraries may read a URL otherwise than it is meant, and what to do; "" where there is no doubt.

    The URL is not quoted. What has no ``://`` and no ``@`` is no URL, and without fault.
    """
    if url != url.strip() or any(ord(letter) < ord(" ") for letter in url):
        return "it begins or ends with white space, or holds a control character: remove it"
    first, _, _ = url.partition("://")
    for each in _NEXT_HOST.split(url):
        if found := _flaw(each if "://" in each else f"{first}://{each}" if "://" in url else each):
            return found
    return ""


def _flaw(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "it holds an @, but no ://, as in redis://:password@host:6379/0" if "@" in url else ""
    if _OWN_GRAMMAR.match(scheme.lower()) or _FILES.match(scheme.lower()):
        return ""
    try:
        parts = urlsplit(f"//{rest}")
    except ValueError:
        return _encode("it holds a bracket or another letter that no host may hold")
    return _misplaced(parts) or _misread(scheme.lower(), parts)


def _misplaced(parts: SplitResult) -> str:
    if re.search(r"\s", parts.netloc):
        return _encode("there is white space in it")
    if "@" in parts.path + parts.query + parts.fragment:
        if not parts.netloc:
            return "user and password stand behind a third slash: write two"
        return _encode("an @ stands behind the first slash, question mark or # after the host")
    if parts.netloc.count("@") > 1 or ";" in parts.netloc.rpartition("@")[0]:
        return _encode("it holds more than one @, or a ; before it")
    return _encode("it holds a #") if parts.fragment else ""


def _misread(scheme: str, parts: SplitResult) -> str:
    hosts = parts.netloc.rpartition("@")[2]
    for host in re.split("[,;]", hosts):
        _, colon, port = host.rpartition("]")[2].partition(":")
        if colon and not (port.isascii() and port.isdecimal() and int(port) < 1 << 16):
            return _encode("what stands behind the host's colon is no port")
    database = parts.path.strip("/").partition(";")[0]
    if scheme in _NUMBERED and database and not database.isdecimal():
        return "what stands behind the host's slash is no number of a database"
    return ""


def _encode(cause: str) -> str:
    return f"{cause}: write what is special in user and password percent-encoded (urllib.parse.quote(…, safe=''))"


def secrets_of(settings: Any, name: str = "", depth: int = _DEPTH) -> Iterator[str]:
    """Yield what is secret in settings of any shape: what stands in URLs, and under names such as ``password``."""
    if isinstance(settings, str):  # as most are
        yield from _secrets_of_text(settings, name)
    elif isinstance(settings, (dict, Mapping)):
        for key, value in settings.items() if depth else ():
            yield from secrets_of(value, str(key), depth - 1)
    elif isinstance(settings, (list, tuple, set, frozenset)):
        for value in settings if depth else ():
            yield from secrets_of(value, name, depth - 1)
    elif isinstance(settings, (bytes, int)) and not isinstance(settings, bool):
        text = settings.decode(errors="replace") if isinstance(settings, bytes) else str(settings)
        yield from _secrets_of_text(text, name)


@lru_cache(maxsize=1_000)
def _secrets_of_text(text: str, name: str) -> frozenset[str]:
    return frozenset(_found_in_text(text, name)) - {""}


def _found_in_text(text: str, name: str) -> Iterator[str]:
    if _is_secret_name(name):
        yield from _ways_to_write(text)
    if "://" in text or "@" in text:
        for url in _NEXT_HOST.split(text):
            yield from _secrets_of_url(url)
    for parameter, value in (*_PARAMETER.findall(text), *_DECODED.findall(unquote(text))):
        if _is_secret_name(parameter):
            yield from _ways_to_write(value)


def _is_secret_name(name: str) -> bool:
    return bool(_SECRET_NAME.search(name)) and not _NO_SECRET.search(name)


def _secrets_of_url(url: str) -> Iterator[str]:
    """Yield the password of a URL; of one with a flaw, each piece of what may be meant as one."""
    scheme, separator, rest = url.strip().partition("://")
    if _FILES.match(scheme.lower()):
        return
    has_flaw = bool(flaw(url))
    credentials, _, _ = (rest if separator else url).rpartition("@")
    user, _, password = credentials.partition(":")
    if has_flaw or scheme.lower() in _NUMBERED:
        password = password or user  # Redis knows no user without a password: the colon was forgotten
    if has_flaw and not credentials:
        password = rest
    yield from _ways_to_write(password)
    if has_flaw:
        for way in {password, unquote(password)}:
            yield way.replace("/", "")
            yield from _CUTS.split(way)


def _ways_to_write(secret: str) -> Iterator[str]:
    for way in {secret, unquote(secret)}:
        yield from (
            way,
            quote(way),
            quote(way, safe=""),
            quote_plus(way),
            repr(way)[1:-1],
            json.dumps(way)[1:-1],
        )
