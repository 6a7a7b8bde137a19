"""The registry as this process knows it: a snapshot, at most ``REGISTRY_TTL`` seconds old."""

from dispatch.registry.cache import cache
from dispatch.registry.snapshot import Snapshot, Task

current = cache.current
has_tables = cache.has_tables

__all__ = ["Snapshot", "Task", "cache", "current", "has_tables"]
