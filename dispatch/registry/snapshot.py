"""An immutable picture of the configuration, with every registered name resolved beforehand."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dispatch.core.message import MASK
from dispatch.core.route_patterns import too_long
from dispatch.core.routing import Destination, Request, Route, RoutingTable, Target, merge
from dispatch.core.schema.parameters import Parameters, wants_text
from dispatch.core.suggestions import suggest
from dispatch.core.trigger_rules import Trigger
from dispatch.exceptions import NoDestination, TaskDisabled, TaskRetired, UnknownTask

logger = logging.getLogger("dispatch.registry")


@dataclass(frozen=True, slots=True)
class Task:
    """A task definition as plain data; ``options`` are those it sets itself.

    ``odd`` says what of its row cannot be read, "" where all can. ``deprecated`` is the worker's reason not to send it
    any more, None where it gives none. ``retired`` says since when and by which worker it is no longer offered, ""
    while it is.
    """

    name: str
    parameters: Parameters
    target: Target
    options: Mapping[str, Any]
    sensitive: frozenset[str]
    enabled: bool = True
    paused: bool = False
    odd: str = ""
    deprecated: str | None = None
    retired: str = ""

    @property
    def problem(self) -> str:
        """Why it cannot be sent as it is stored, "" where it can; its schema is looked at for this."""
        found = self.odd or self.parameters.problem
        return f"Its definition cannot be used: {found}" if found else ""

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise InvalidArguments unless the call fits; the value of a sensitive parameter is not quoted."""
        self.parameters.check_masked(args, kwargs, self.sensitive)

    def check_step(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Do what :meth:`check` does for a step of a chain, whose first argument by position nobody knows yet."""
        self.parameters.after_result.check_masked(args, kwargs, self.sensitive)

    def fitted(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments with numbers as texts where the schema wants a text: keys are numbers in most databases."""
        properties = self.parameters.schema.get("properties", {})
        return {
            name: str(value) if _is_number(value) and wants_text(properties.get(name)) else value
            for name, value in kwargs.items()
        }

    def masked(self, args: str, kwargs: str) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of two JSON texts as :meth:`mask` does."""
        return self.mask(json.loads(args), json.loads(kwargs))

    def mask(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments with the values of sensitive parameters replaced by ``***``.

        All are where it cannot be told which those are.
        """
        if self.odd or self.parameters.unreadable:
            return [MASK] * len(args), dict.fromkeys(kwargs, MASK)
        names = self.parameters.positional
        by_position = [
            MASK if index < len(names) and names[index] in self.sensitive else value
            for index, value in enumerate(args)
        ]
        by_name = {name: MASK if name in self.sensitive else value for name, value in kwargs.items()}
        return by_position, by_name


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class Snapshot:
    """What the registry held at one version. Nothing in it changes.

    ``plans`` holds what the outbox makes of it, ``index`` what triggers do.
    """

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
        self.paused_tasks = frozenset(
            task.name for task in self.tasks.values() if task.paused or task.retired
        )
        self.plans: dict[Hashable, Any] = {}
        self.index: Any = None
        self._candidates = self._resolved()
        self._targets = {
            name: table.target_for(task.target, self._candidates[name], Request(name))
            for name, task in self.tasks.items()
            if not self.reads_arguments(name)
        }

    def candidates(self, name: str) -> tuple[Route, ...]:
        """Return the routes that may decide for a name, registered or not."""
        found = self._candidates.get(name)
        return self._tried(name) if found is None else found

    def _resolved(self) -> dict[str, tuple[Route, ...]]:
        """Return the candidates of each registered name; a route that is given up on the way is so for all of them."""
        while True:
            given_up = len(self.table.given_up)
            found = {name: self._tried(name) for name in self.tasks}
            if len(self.table.given_up) == given_up:
                return found

    def _tried(self, name: str) -> tuple[Route, ...]:
        given_up = set(self.table.given_up)
        found = self.table.candidates(name)
        for route in self.table.given_up.keys() - given_up:
            logger.error("Route %r is given up: %s", route.pattern, too_long(route.pattern, name))
        return found

    def destinations(self) -> dict[str, Destination]:
        """Return where each registered task goes, by name; those that have nowhere to go are left to the checks."""
        found = {}
        for name in sorted(self.tasks):
            with suppress(NoDestination):
                found[name] = self.destination(name)
        return found

    def reads_arguments(self, name: str) -> bool:
        """Tell whether a router callable, which may read the arguments, has a say in where a task goes."""
        return any(route.router for route in self.candidates(name))

    def task(self, name: str) -> Task:
        """Return the definition of a task that may be sent.

        Raises UnknownTask, with close matches, TaskRetired and TaskDisabled.
        """
        task = self.tasks.get(name)
        if task is None:
            raise UnknownTask(
                f"No task {name!r} in the registry{suggest(name, self.tasks)}. "
                f"If the worker has it, import its manifest: manage.py dispatch manifest sync FILE."
            )
        if task.retired:
            raise TaskRetired(
                f"Task {name!r} was retired {task.retired}: send another{self._successor(name)}, or bring it back in "
                f"the worker and import its manifest: manage.py dispatch manifest sync FILE."
            )
        if problem := task.problem:
            raise TaskDisabled(f"Task {name!r} cannot be sent. {problem} Correct it in the admin.")
        if not task.enabled:
            raise TaskDisabled(
                f"Task {name!r} is switched off in the registry: enable its definition to send it."
            )
        return task

    def _successor(self, name: str) -> str:
        return suggest(name, (task.name for task in self.tasks.values() if not task.retired))

    def destination(self, name: str, call: Target = Target(), request: Request | None = None) -> Destination:
        """Return where a message of a registered task goes, ``call`` being what its sender asked for.

        ``request`` is what router callables may read. Raises UnknownTask and NoDestination.
        """
        target = self._targets.get(name)
        if target is None:
            task = self.tasks.get(name) or self.task(name)
            target = self.table.target_for(task.target, self._candidates[name], request or Request(name))
        return self.table.destination(merge(call, target))
