"""An immutable picture of the configuration, with every registered name resolved beforehand."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dispatch.core.message import MASK, unescape
from dispatch.core.routing import Destination, RoutingTable, Target, merge
from dispatch.core.rules import Trigger
from dispatch.core.schema import Parameters
from dispatch.core.wording import suggest
from dispatch.exceptions import InvalidArguments, TaskDisabled, UnknownTask


@dataclass(frozen=True, slots=True)
class Task:
    """A task definition as plain data; ``options`` are those it sets itself."""

    name: str
    parameters: Parameters
    target: Target
    options: Mapping[str, Any]
    sensitive: frozenset[str]
    enabled: bool

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise InvalidArguments unless the call fits; the value of a sensitive parameter is not quoted."""
        try:
            self.parameters.check(args, kwargs)
        except InvalidArguments as error:
            name = self._parameter(error.pointer)
            if name not in self.sensitive:
                raise
            hidden = f"argument {name!r} does not fit its schema; its value is sensitive and not shown."
            raise InvalidArguments(hidden, error.pointer) from None

    def _parameter(self, pointer: str) -> str:
        """Return the parameter that a pointer into the call leads to."""
        _, root, step, *_ = [*pointer.split("/"), "", ""]
        if root == "args" and step.isdecimal() and int(step) < len(self.parameters.positional):
            return self.parameters.positional[int(step)]
        return unescape(step)

    def masked(self, args: str, kwargs: str) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of two JSON texts with the values of sensitive parameters replaced by ``***``."""
        names = self.parameters.positional
        by_position = [
            MASK if index < len(names) and names[index] in self.sensitive else value
            for index, value in enumerate(json.loads(args))
        ]
        by_name = {
            name: MASK if name in self.sensitive else value for name, value in json.loads(kwargs).items()
        }
        return by_position, by_name


class Snapshot:
    """What the registry held at one version. Nothing in it changes."""

    def __init__(
        self,
        version: uuid.UUID | None,
        table: RoutingTable,
        tasks: Iterable[Task],
        triggers: Iterable[Trigger],
    ) -> None:
        self.version = version
        self.table = table
        self.tasks = {task.name: task for task in tasks}
        self.triggers = tuple(triggers)
        self.paused = frozenset(queue.name for queue in table.queues.values() if queue.paused)
        self._targets = {name: table.target_for(name, task.target) for name, task in self.tasks.items()}

    def task(self, name: str) -> Task:
        """Return the definition of a task that may be sent.

        Raises UnknownTask, with close matches, and TaskDisabled.
        """
        task = self.tasks.get(name)
        if task is None:
            raise UnknownTask(
                f"No task {name!r} in the registry{suggest(name, self.tasks)}. "
                f"If the worker has it, import its manifest: manage.py dispatch manifest sync FILE."
            )
        if not task.enabled:
            raise TaskDisabled(
                f"Task {name!r} is switched off in the registry: enable its definition to send it."
            )
        return task

    def destination(self, name: str, call: Target = Target()) -> Destination:
        """Return where a message of a registered task goes, ``call`` being what its sender asked for.

        Raises UnknownTask and NoDestination.
        """
        target = self._targets.get(name)
        if target is None:
            self.task(name)
        return self.table.destination(merge(call, target or Target()))
