"""Triggers as plain data: when one fires, and with which arguments.

A condition compares one field of the saved object with one value, by an operator of :data:`OPERATORS`; nothing
here is ever evaluated as code.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dispatch.core.routing import Target
from dispatch.exceptions import ConfigurationError

CREATED, UPDATED, DELETED = "created", "updated", "deleted"
EVENTS = (CREATED, UPDATED, DELETED)
SOURCES = ("field", "constant", "event")


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, expected: value is not None and bool(compare(value, expected))


#: Operator → test of (the field's value, the expected value). As in SQL, None is in no order and contains nothing.
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "equals": operator.eq,
    "not_equals": operator.ne,
    "in": lambda value, expected: value in expected,
    "not_in": lambda value, expected: value not in expected,
    "less": _ordered(operator.lt),
    "at_most": _ordered(operator.le),
    "greater": _ordered(operator.gt),
    "at_least": _ordered(operator.ge),
    "contains": _ordered(lambda value, expected: str(expected) in str(value)),
    "starts_with": _ordered(lambda value, expected: str(value).startswith(str(expected))),
    "is_null": lambda value, expected: (value is None) is expected,
}
LIST_OPERATORS = frozenset({"in", "not_in"})
TEXT_OPERATORS = frozenset({"contains", "starts_with"})


@dataclass(frozen=True, slots=True)
class Condition:
    """``field`` compared with ``value``, which has the field's own Python type (a tuple for ``in``)."""

    field: str
    operator: str
    value: Any

    def holds(self, read: Callable[[str], Any]) -> bool:
        """Tell whether the object, whose fields ``read`` returns, meets this condition."""
        return OPERATORS[self.operator](read(self.field), self.value)


@dataclass(frozen=True, slots=True)
class Argument:
    """Where one argument comes from: a field (by name), a constant (its value), or the event."""

    source: str
    value: Any = None

    def evaluate(self, read: Callable[[str], Any], event: str) -> Any:
        """Return the argument's value for one save."""
        if self.source == "field":
            return read(self.value)
        return event if self.source == "event" else self.value


@dataclass(frozen=True, slots=True)
class Trigger:
    """This model, these events, these conditions → that task.

    ``model`` is Django's label in lower case (``notes.note``). ``problem`` says why the trigger cannot work, for
    example a field that is gone; it then becomes a dead message each time it fires.
    """

    name: str
    model: str
    events: frozenset[str]
    task: str
    conditions: tuple[Condition, ...] = ()
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    target: Target = Target()
    countdown: float | None = None
    problem: str = ""

    def fires(self, event: str, read: Callable[[str], Any]) -> bool:
        """Tell whether a save of this event, with these field values, sends the task.

        Raises ConfigurationError if the trigger fits the event, but cannot work.
        """
        if event not in self.events:
            return False
        if self.problem:
            raise ConfigurationError(f"{self.problem} Correct the trigger in the admin.")
        return all(condition.holds(read) for condition in self.conditions)

    def kwargs(self, event: str, read: Callable[[str], Any]) -> dict[str, Any]:
        """Return the task's keyword arguments for one save."""
        return {name: argument.evaluate(read, event) for name, argument in self.arguments.items()}
