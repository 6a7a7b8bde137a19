"""The backlog as tests move it: all of it at once."""

from __future__ import annotations

from dispatch.registry import Snapshot
from dispatch.relay.backlog_rerouting import Walk


def restamp(using: str, snapshot: Snapshot) -> int:
    """Walk over all pending messages; return how many moved."""
    walk = Walk(using, snapshot)
    while not walk.done:
        walk.go_on(1.0)
    return walk.moved
