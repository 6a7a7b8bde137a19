"""The checksum of a document, as the manifest carries it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from celery_manifest.plain import canonical


def checksum(document: Mapping[str, Any]) -> str:
    """Return `sha256:<hex>` over the canonical JSON of a document, leaving out its own `checksum`.

    Canonical: keys sorted, separators `,` and `:`, no ASCII escapes, UTF-8.
    """
    body = {key: value for key, value in document.items() if key != "checksum"}
    return "sha256:" + hashlib.sha256(canonical(body).encode()).hexdigest()
