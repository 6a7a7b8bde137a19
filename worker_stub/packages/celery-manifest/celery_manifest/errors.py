"""The errors of this package, and what it quotes of others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote

URL_PASSWORD = re.compile(r"(\w://[^\s:/@]*:)[^\s\"']*@")
NAMED_SECRET = re.compile(
    r"((?:password|passwd|secret|token|api_?key)\w*[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&)}\]]+)",
    re.IGNORECASE,
)
LONGEST = 300


class ManifestError(ValueError):
    """The app cannot be described, or says something of itself that cannot be true."""


class UnsayableTask(ManifestError):
    """A task of which a manifest cannot speak. It is left out, and the others are described."""


def told(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """Return an error of somebody else's code on one line, short, without credentials.

    `secrets` are those that the app is configured with, which a library may quote in any form.
    """
    text = " ".join(f"{type(error).__name__}: {error}".split())
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    text = NAMED_SECRET.sub(r"\1***", URL_PASSWORD.sub(r"\1***@", text))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def passwords(urls: Iterable[Any]) -> Iterator[str]:
    """Yield the passwords of URLs, as they are written there and as they are meant."""
    for url in urls:
        for each in str(url or "").split(";"):
            credentials = each.partition("://")[2].rpartition("@")[0]
            if password := credentials.partition(":")[2]:
                yield from {password, unquote(password)}
