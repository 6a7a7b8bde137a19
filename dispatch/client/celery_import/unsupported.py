"""What a Celery app asks for and the registry cannot hold, a sentence each."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from celery import Celery

from dispatch.core.redaction import redact, shorten
from dispatch.exceptions import DispatchError

#: Settings that decide how messages look or travel, their defaults, and where that belongs here.
ELSEWHERE: dict[str, tuple[Any, str]] = {
    "task_serializer": ("json", 'copy it into DISPATCH["BROKERS"][…]["CONF"], or set it on task definitions'),
    "task_compression": (None, 'copy it into DISPATCH["BROKERS"][…]["CONF"], or set it on task definitions'),
    "task_default_delivery_mode": (2, "messages are persistent, unless a call says otherwise"),
    "task_protocol": (2, "messages are of protocol 2"),
    "broker_transport_options": ({}, 'copy it into DISPATCH["BROKERS"][…]["CONF"]'),
    "task_inherit_parent_priority": (False, "it concerns what a worker sends: it stays in the worker"),
    "worker_direct": (False, "queues of single workers are not in the registry"),
}


def told(error: BaseException) -> str:
    """Return an error of somebody else's code on one line, without passwords."""
    name = "" if isinstance(error, DispatchError) else f"{type(error).__name__}: "
    return shorten(redact(f"{name}{' '.join(str(error).split())}".removesuffix(": ")))


class Leftovers:
    """Sentences, each once, in the order in which they were found.

    ``notes`` are about what is brought, and does not do the same here as there.
    """

    def __init__(self) -> None:
        self.sentences: dict[str, None] = {}
        self.notes: dict[str, None] = {}

    def add(self, sentence: str) -> None:
        """Tell something that is left out."""
        self.sentences[sentence] = None

    def note(self, sentence: str) -> None:
        """Tell a difference in what is brought."""
        self.notes[sentence] = None

    @contextmanager
    def unless_read(self, what: str) -> Iterator[None]:
        """Leave out what the block fails to read: Celery takes any object for a setting, an argument or an option."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - as above
            self.add(f"{what}: {told(error)}.")

    def look_at(self, app: Celery, queues: Container[str]) -> None:
        """Tell the settings that rows do not hold, and the queues that only beat's messages name."""
        self._look_at_schedule(app.conf.beat_schedule, queues)
        for name, (default, remedy) in ELSEWHERE.items():
            value = app.conf.get(name, default)
            if (value or default) != default:
                self.add(f"setting {name}: {remedy}.")

    def _look_at_schedule(self, schedule: Any, queues: Container[str]) -> None:
        for name, entry in schedule.items() if isinstance(schedule, Mapping) else ():
            options = entry.get("options") if isinstance(entry, Mapping) else getattr(entry, "options", None)
            queue = options.get("queue") if isinstance(options, Mapping) else None
            queue = getattr(queue, "name", queue)
            if isinstance(queue, str) and queue not in queues:
                self.add(
                    f"beat_schedule {name!r}: its queue {queue!r} is named nowhere else. Celery makes it when the "
                    f"first message comes: add it to the registry if anything here shall go there."
                )
