"""Triggers as plain data: when one fires, and with which arguments.

A condition compares one field of the saved object with one value, by an operator of :data:`OPERATORS` or
:data:`TRANSITIONS`; nothing here is ever evaluated as code.
"""

from __future__ import annotations

import datetime as dt
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from dispatch.core.call import Call
from dispatch.core.routing import Target
from dispatch.exceptions import ConfigurationError

CREATED, UPDATED, DELETED = "created", "updated", "deleted"
M2M_ADDED, M2M_REMOVED, M2M_CLEARED = "m2m_added", "m2m_removed", "m2m_cleared"
M2M_EVENTS = (M2M_ADDED, M2M_REMOVED, M2M_CLEARED)
EVENTS = (CREATED, UPDATED, DELETED, *M2M_EVENTS)


class Occurrence(Protocol):
    """One event of one object, as triggers read it.

    What a created object held before is None, and every field of it has changed; of a deleted one nothing has.
    ``relation`` names the many-to-many field that an m2m event is about, and ``related`` the primary keys that
    were added or removed; for other events they are empty.
    """

    @property
    def event(self) -> str: ...
    @property
    def at(self) -> dt.datetime: ...
    @property
    def relation(self) -> str: ...
    @property
    def related(self) -> Sequence[Any]: ...

    def new(self, field: str) -> Any:
        """Return what the field holds now."""

    def old(self, field: str) -> Any:
        """Return what the database held before."""

    def changed(self, field: str) -> bool:
        """Tell whether this event changed the field."""

    def natural_key(self) -> Sequence[Any]:
        """Return the object's natural key."""


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
#: Operator → test of (occurrence, field, expected value) of a field that has changed.
TRANSITIONS: dict[str, Callable[[Occurrence, str, Any], bool]] = {
    "changed": lambda seen, field, expected: True,
    "changed_from": lambda seen, field, expected: _was(seen, field, expected),
    "changed_to": lambda seen, field, expected: bool(seen.new(field) == expected),
    "changed_from_to": lambda seen, field, expected: (
        _was(seen, field, expected[0]) and bool(seen.new(field) == expected[1])
    ),
}
#: Where an argument may come from → how it is read, given its ``value``.
SOURCES: dict[str, Callable[[Occurrence, Any], Any]] = {
    "field": lambda seen, name: seen.new(name),
    "old": lambda seen, name: seen.old(name),
    "pk": lambda seen, _: seen.new("pk"),
    "natural_key": lambda seen, _: list(seen.natural_key()),
    "related": lambda seen, _: list(seen.related),
    "timestamp": lambda seen, _: seen.at,
    "event": lambda seen, _: seen.event,
    "constant": lambda seen, value: value,
}
LIST_OPERATORS = frozenset({"in", "not_in"})
TEXT_OPERATORS = frozenset({"contains", "starts_with"})


def _was(seen: Occurrence, field: str, expected: Any) -> bool:
    """Tell whether a field held a value before; a created object held none, not even null."""
    return seen.event != CREATED and bool(seen.old(field) == expected)


@dataclass(frozen=True, slots=True)
class Condition:
    """``field`` compared with ``value``, which has the field's own Python type (a tuple where there are several)."""

    field: str
    operator: str
    value: Any = None

    def holds(self, seen: Occurrence) -> bool:
        """Tell whether the object, or what happened to it, meets this condition."""
        if self.operator in TRANSITIONS:
            return seen.changed(self.field) and TRANSITIONS[self.operator](seen, self.field, self.value)
        return OPERATORS[self.operator](seen.new(self.field), self.value)


@dataclass(frozen=True, slots=True)
class Argument:
    """Where one argument comes from: one of :data:`SOURCES`, and the field's name or the constant."""

    source: str
    value: Any = None

    def evaluate(self, seen: Occurrence) -> Any:
        """Return the argument's value for one event."""
        return SOURCES[self.source](seen, self.value)


@dataclass(frozen=True, slots=True)
class Trigger:
    """This model, these events, these conditions → that task.

    ``model`` is Django's label in lower case (``notes.note``). An update fires only if one of the ``watched`` fields
    has changed, an m2m event only if it is about one of the ``relations``; empty, all count. ``coalesce`` is the
    window, in seconds, within which the messages of one object become one. ``problem`` says why the trigger cannot
    work, for example a field that is gone; it then becomes a dead message each time it fires.
    """

    name: str
    model: str
    events: frozenset[str]
    task: str
    conditions: tuple[Condition, ...] = ()
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    watched: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()
    target: Target = Target()
    countdown: float | None = None
    coalesce: float | None = None
    problem: str = ""
    compared: frozenset[str] = field(init=False)
    carried: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        transitions = {each.field for each in self.conditions if each.operator in TRANSITIONS}
        old = {each.value for each in self.arguments.values() if each.source == "old"}
        object.__setattr__(self, "compared", frozenset({*transitions, *self.watched}))
        object.__setattr__(self, "carried", frozenset(old))

    @property
    def sends(self) -> Call:
        """The call that it makes, without arguments. Raises InvalidOption for options written past the form."""
        return _bare_call(self.task, self.target.queue, self.target.priority, self.countdown)

    @property
    def reads(self) -> frozenset[str]:
        """The columns that conditions and arguments read."""
        names = {each.field for each in self.conditions}
        return frozenset(
            names | {each.value for each in self.arguments.values() if each.source in ("field", "old")}
        )

    def fires(self, seen: Occurrence) -> bool:
        """Tell whether this event of this object sends the task.

        Raises ConfigurationError if the trigger fits the event, but cannot work.
        """
        if seen.event not in self.events:
            return False
        if self.problem:
            raise ConfigurationError(f"{self.problem} Correct the trigger in the admin.")
        return concerns(self, seen) and all(condition.holds(seen) for condition in self.conditions)

    def kwargs(self, seen: Occurrence) -> dict[str, Any]:
        """Return the task's keyword arguments for one event."""
        return {name: argument.evaluate(seen) for name, argument in self.arguments.items()}


@lru_cache(maxsize=1_000)
def _bare_call(task: str, queue: str | None, priority: int | None, countdown: float | None) -> Call:
    return Call(task, queue=queue, priority=priority, countdown=countdown)


class Watching(Protocol):
    """What any trigger says of the fields that it is about."""

    @property
    def watched(self) -> tuple[str, ...]: ...
    @property
    def relations(self) -> tuple[str, ...]: ...


def concerns(trigger: Watching, seen: Occurrence) -> bool:
    """Tell whether an event touches what a trigger watches."""
    if seen.event in M2M_EVENTS:
        return not trigger.relations or seen.relation in trigger.relations
    if seen.event == UPDATED and trigger.watched:
        return any(seen.changed(name) for name in trigger.watched)
    return True
