"""The registry as this process knows it: a snapshot, at most ``REGISTRY_TTL`` seconds old."""

from dispatch.registry.cache import current, forget
from dispatch.registry.snapshot import Snapshot, Task

__all__ = ["Snapshot", "Task", "current", "forget"]
