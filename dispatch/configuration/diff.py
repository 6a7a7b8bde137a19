"""What an import does, or would do, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dispatch.configuration.document import Key, Section, label


@dataclass(frozen=True, slots=True)
class Change:
    """One row that is added, changed, deleted or kept; ``columns`` are those that change, with (before, after)."""

    section: Section
    key: Key
    columns: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return label(self.section, self.key)

    def as_json(self) -> dict[str, Any]:
        columns = {name: {"before": before, "after": after} for name, (before, after) in self.columns.items()}
        return {"kind": self.section.kind, "key": list(self.key), "columns": columns}


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that cannot be stored: where it stands in the document, in which of its columns, and why."""

    row: str
    label: str
    reason: str
    column: str = ""

    def __str__(self) -> str:
        path = f"{self.row}/{self.column}" if self.column else self.row
        return f"{path} ({self.label}): {self.reason}" if path else f"{self.label}: {self.reason}"


@dataclass(slots=True)
class Changes:
    """All of them. ``kept`` are the rows that are not in the document and stay."""

    added: list[Change] = field(default_factory=list)
    changed: list[Change] = field(default_factory=list)
    deleted: list[Change] = field(default_factory=list)
    kept: list[Change] = field(default_factory=list)
    unchanged: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.deleted)

    def as_json(self) -> dict[str, Any]:
        lists = {name: getattr(self, name) for name in ("added", "changed", "deleted", "kept")}
        return {name: [change.as_json() for change in changes] for name, changes in lists.items()} | {
            "unchanged": self.unchanged
        }


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the columns whose values differ, with both; 1 and 1.0 are two values, as they are in AMQP."""
    return {
        name: (before.get(name), value)
        for name, value in after.items()
        if _form(before.get(name)) != _form(value)
    }


def _form(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _form(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_form(item) for item in value]
    return type(value).__name__, value
