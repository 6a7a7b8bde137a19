"""Deletes old settled messages in passing, so slowly that publishing does not notice, and without anybody's doing."""

from __future__ import annotations

import logging
import time

from django.db import DatabaseError, InterfaceError

from dispatch.core.redaction import redact
from dispatch.outbox.retention import Pruning

logger = logging.getLogger("dispatch.relay")

#: The part of the time that is spent on it, at most: about what it takes to delete as fast as one publishes.
SHARE = 0.2
#: Seconds between two walks, and after an error, at least.
REST = 60.0


class Pruner:
    """Walks over the outbox again and again, a step at a time."""

    def __init__(self, using: str) -> None:
        self.using = using
        self._walk: Pruning | None = None
        self._not_before = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is time for a step."""
        return time.monotonic() >= self._not_before

    def go_on(self) -> None:
        """Take a step if it is time for one. What the database raises is told, and stops no publishing."""
        if not self.is_due:
            return
        began = time.monotonic()
        try:
            self._step()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("Old messages were not pruned, trying again: %s", redact(str(error)).strip())
            self._not_before = began + REST
        else:
            self._not_before = began + ((time.monotonic() - began) / SHARE if self._walk else REST)

    def _step(self) -> None:
        self._walk = self._walk or Pruning(self.using)
        if not self._walk.done:
            self._walk.step()
        if self._walk.done:
            self._walk = None
