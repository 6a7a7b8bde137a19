"""Files that are either the old one or the new one, never half of it."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Write a file at once: its reader, and a failure, find the old content or the new.

    A link stays a link and a file keeps its permissions; a device or a pipe is written to, not replaced.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        target.write_bytes(content)
        return
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        beside.write_bytes(content)
        if target.exists():
            shutil.copymode(target, beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
