"""Tells, once per process and task, that a deprecated task is sent."""

from __future__ import annotations

import logging

from dispatch.registry.snapshot import Task

logger = logging.getLogger("dispatch.registry")
_told: set[tuple[str, str]] = set()


def tell_once(task: Task) -> None:
    """Log a warning for a deprecated task, unless this process did so for the same reason.

    A log rather than a DeprecationWarning: Python hides those outside of tests, and most sends come from triggers,
    where no line of code is to blame.
    """
    reason = task.deprecated or ""
    if task.deprecated is None or (task.name, reason) in _told:
        return
    _told.add((task.name, reason))
    logger.warning("Task %r is deprecated by its worker%s", task.name, f": {reason}" if reason else ".")
