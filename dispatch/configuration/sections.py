"""What the document holds: which models, under which names, and which of their columns.

The columns are read off the models, so that a new one is exported without a word here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from django.db import models

from dispatch.core.manifest import steady
from dispatch.models import (
    Binding,
    Exchange,
    Queue,
    Route,
    TaskDefinition,
    Trigger,
    TriggerArgument,
    TriggerCondition,
)

#: What an operator does while the system runs, or what was seen while it ran: no configuration. A deployment that
#: imports the document must not resume a queue that somebody paused.
STATE = frozenset({"id", "manifest", "paused", "last_seen", "retired_at", "retired_version"})

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One list of the document; ``parent`` is the column by which nested rows name the row they stand in.

    ``owned`` rows belong to the row they stand in: what its list does not hold is deleted, even without ``--prune``.
    """

    name: str
    kind: str
    model: Any
    parent: str = ""
    owned: bool = False
    children: tuple[Section, ...] = ()

    @property
    def fields(self) -> list[models.Field[Any, Any]]:
        """The columns of a row, those of its natural key first."""
        columns = [field for field in self.model._meta.concrete_fields if field.name not in STATE]
        return sorted(columns, key=lambda field: field.name not in self.key_columns)

    @property
    def is_ordered(self) -> bool:
        """Whether the order of the rows means something: the first route that matches wins."""
        return self.model is Route

    @property
    def columns(self) -> list[str]:
        """The names of the columns as the document has them: without the one that names the parent."""
        return [field.name for field in self.fields if field.name != self.parent]

    @property
    def key_columns(self) -> list[str]:
        """The columns of the natural key."""
        return [path.partition("__")[0] for path in self.model.NATURAL_KEY]

    def key(self, columns: Mapping[str, Any]) -> Key:
        """Return the natural key of a row given as plain data."""
        return tuple(columns[name] for name in self.key_columns)

    def rows(self, using: str) -> Any:
        """Return the rows as this connection sees them."""
        related = [field.name for field in self.fields if field.is_relation]
        rows = self.model.objects.using(using).order_by(*self.model._meta.ordering)
        return rows.select_related(*related) if related else rows

    def plain(self, row: Any) -> dict[str, Any]:
        """Return a row's columns as JSON's own types; a related row is given by its name."""
        return {field.name: _plain(field, row) for field in self.fields}

    def defaults(self) -> dict[str, Any]:
        """Return the columns of a row of which nothing was said."""
        return self.plain(self.model())


SECTIONS = (
    Section("exchanges", "exchange", Exchange),
    Section("queues", "queue", Queue, children=(Section("bindings", "binding", Binding, "queue"),)),
    Section("routes", "route", Route),
    Section("tasks", "task", TaskDefinition),
    Section(
        "triggers",
        "trigger",
        Trigger,
        children=(
            Section("conditions", "condition", TriggerCondition, "trigger", owned=True),
            Section("arguments", "argument", TriggerArgument, "trigger", owned=True),
        ),
    ),
)


def in_order() -> tuple[Section, ...]:
    """Return every section, what others refer to first."""
    return tuple(each for section in SECTIONS for each in (section, *section.children))


def _plain(field: models.Field[Any, Any], row: Any) -> Any:
    if field.is_relation:
        return None if getattr(row, field.attname) is None else getattr(row, field.name).name
    value = getattr(row, field.name)
    if isinstance(field, models.JSONField):
        return _sorted(steady(value))
    if isinstance(field, models.BooleanField) and field.unique:
        return bool(value)  # at most one row carries it, and the database knows "no" as NULL
    return value.value if isinstance(value, Enum) else value


def _sorted(value: Any) -> Any:
    """Return a JSON value with its keys sorted: one database keeps their order, another does not."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
