"""``suppress_triggers``: saves that send nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_suppressed: ContextVar[bool] = ContextVar("dispatch_triggers_suppressed", default=False)


@contextmanager
def suppress_triggers() -> Iterator[None]:
    """Let no trigger fire inside the block, or inside the function it decorates; blocks may nest."""
    token = _suppressed.set(True)
    try:
        yield
    finally:
        _suppressed.reset(token)


def suppressed() -> bool:
    """Tell whether triggers are suppressed here."""
    return _suppressed.get()
