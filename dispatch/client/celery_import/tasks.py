"""The tasks of a Celery app that say themselves where they go, each settled to what Celery would publish."""

from __future__ import annotations

from typing import Any

from celery import Celery

from dispatch.client.celery_import.destinations import Places
from dispatch.client.celery_import.queues import Topology

PLACE = ("queue", "exchange", "routing_key")
#: Options of a task that travel with its messages, and the settings that give them where the task does not.
TRAVELLING = {
    "serializer": "task_serializer",
    "compression": "",
    "expires": "",
    "delivery_mode": "",
}


class Tasks:
    """``@app.task(queue=…, exchange=…, routing_key=…, priority=…)`` as rows."""

    def __init__(self, app: Celery, topology: Topology) -> None:
        self.app = app
        self.places = Places(topology)
        self.topology = topology
        self.leftovers = topology.leftovers

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each task that names its destination or its priority, sorted by name."""
        rows = {}
        for name in sorted(self.app.tasks):
            if not name.startswith("celery."):
                with self.leftovers.unless_read(f"task {name!r}: Celery itself cannot read its options"):
                    rows[name] = self._row(name, self.app.tasks[name])
        return [{"name": name, **found} for name, found in rows.items() if found]

    def _row(self, name: str, task: Any) -> dict[str, Any]:
        """Return the columns that a task decides; the others stay as they are in the registry."""
        self._tell_others(name, task)
        target = self._target(f"task {name!r}", self._given(task))
        return {**target, "ignore_result": True} if target and task.ignore_result else target

    def _given(self, task: Any) -> dict[str, Any]:
        given = {key: getattr(task, key) for key in PLACE if getattr(task, key, None)}
        if task.priority != self.app.conf.task_default_priority:  # which a task without one has got
            given["priority"] = task.priority
        return given

    def _target(self, whose: str, given: dict[str, Any]) -> dict[str, Any]:
        found = None
        if "queue" in given or "exchange" in given:
            found = self.places.target(given, whose)
        elif "routing_key" in given:
            self.leftovers.add(
                f"{whose} sets routing_key, but neither queue nor exchange: write the key into the routes."
            )
        if found is None:
            found = {"priority": self.topology.priority(given.get("priority"), whose)}
        return {key: value for key, value in found.items() if key != "priority" or value is not None}

    def _tell_others(self, name: str, task: Any) -> None:
        own = [
            option
            for option, setting in TRAVELLING.items()
            if (value := getattr(task, option, None)) is not None
            and value != (setting and self.app.conf.get(setting))
        ]
        if own:
            self.leftovers.add(f"task {name!r} sets {', '.join(own)}: set that on its definition.")
