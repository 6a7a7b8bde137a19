"""The checksum that manifest and routing file carry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def checksum(document: Mapping[str, Any]) -> str:
    """Return `sha256:<hex>` over the canonical JSON of a document, leaving out its own `checksum`.

    Canonical: keys sorted, separators `,` and `:`, no ASCII escapes, UTF-8.
    """
    body = {key: value for key, value in document.items() if key != "checksum"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
