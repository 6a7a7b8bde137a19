"""The configuration as one JSON document with natural keys: written, and read into entries with their paths.

The format is described in ``docs/reference/configuration.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from django.db import models

from dispatch.core.json_values import plain
from dispatch.core.manifest import checksum, sealed, steady
from dispatch.core.message import represent
from dispatch.core.redaction import shorten
from dispatch.core.suggestions import suggest
from dispatch.exceptions import InvalidArguments, InvalidConfiguration
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
STATE = frozenset(
    {"id", "manifest", "paused", "disabled_reason", "last_seen", "retired_at", "retired_version"}
)

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
        return _by_key(steady(value))
    if isinstance(field, models.BooleanField) and field.unique:
        return bool(value)  # at most one row carries it, and the database knows "no" as NULL
    return value.value if isinstance(value, Enum) else value


def _by_key(value: Any) -> Any:
    """Return a JSON value with its keys sorted: one database keeps their order, another does not."""
    if isinstance(value, dict):
        return {key: _by_key(value[key]) for key in sorted(value)}
    return [_by_key(item) for item in value] if isinstance(value, list) else value


FORMAT = 1
#: Characters of a document: a few manifests' worth.
LONGEST = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a document: its natural key, the columns that are named, and where it stands (a JSON pointer)."""

    section: Section
    key: Key
    columns: Mapping[str, Any]
    path: str

    @property
    def label(self) -> str:
        return label(self.section, self.key)


@dataclass(frozen=True, slots=True)
class Document:
    """A document's rows, and which lists it has: ``("queues", ())``, ``("bindings", ("llm",))``."""

    entries: tuple[Entry, ...]
    lists: frozenset[tuple[str, Key]]

    def without(self, paths: Iterable[str]) -> Document:
        """Return the document without the rows at these paths and what stands in them."""
        gone = set(paths)
        left = tuple(
            entry
            for entry in self.entries
            if not any(entry.path == path or entry.path.startswith(f"{path}/") for path in gone)
        )
        return Document(left, self.lists)

    def as_some(self, name: str) -> Document:
        """Return the document with a list that claims to be a part: what it does not hold is no matter of it."""
        return Document(self.entries, self.lists - {(name, ())})


def label(section: Section, key: Key) -> str:
    """Return a row in words, not too many: ``route 'tasks.*' (glob)``."""
    return shorten(_label(section, key))


def _label(section: Section, key: Key) -> str:
    if section.name == "bindings":
        queue, exchange, routing_key = key
        return f"binding {exchange!r} → {queue!r} ({routing_key})"
    if section.parent:
        parent, *own = key
        return f"{section.kind} {' '.join(map(str, own)).rstrip()!r} of {parent!r}"
    name, *more = key
    return f"{section.kind} {name!r}" + "".join(f" ({part})" for part in more)


def export(using: str) -> str:
    """Return the whole configuration as a JSON text, the same bytes for the same rows."""
    return sealed({"configuration": FORMAT, **{section.name: _rows(section, using) for section in SECTIONS}})


def read(text: str) -> Document:
    """Return the rows that a JSON text holds.

    Raises InvalidConfiguration, which names what is wrong, where, and what to do.
    """
    if len(text) > LONGEST:
        raise InvalidConfiguration(
            f"The configuration has more than {LONGEST:,} characters: is it the right file?"
        )
    document = _document(text)
    found = document.get("configuration")
    if found != FORMAT or isinstance(found, bool):
        raise InvalidConfiguration(
            f"This is not a configuration of format {FORMAT}, but {represent(found)[:40]}: "
            f"write it with `manage.py dispatch config export`, and update the older side."
        )
    try:
        plain(document)
    except InvalidArguments as error:
        raise InvalidConfiguration(f"The configuration cannot be stored: {error}") from None
    if "checksum" in document and document["checksum"] != checksum(document):
        raise InvalidConfiguration(
            "The configuration's checksum does not fit its content: it was cut or edited. If you edited it on "
            'purpose, remove the line "checksum"; the next export writes a new one.'
        )
    return parse(document)


def parse(document: Mapping[str, Any]) -> Document:
    """Return the rows of a document of the right format.

    Raises InvalidConfiguration with a line for each list, row or key that does not fit.
    """
    reader = _Reader()
    reader.keys(document, "", {"configuration", "checksum", *(section.name for section in SECTIONS)})
    for section in SECTIONS:
        if section.name in document:
            reader.list(section, document[section.name], f"/{section.name}")
    if reader.problems:
        raise InvalidConfiguration(*reader.problems)
    return Document(tuple(reader.entries.values()), frozenset(reader.lists))


class _Reader:
    def __init__(self) -> None:
        self.entries: dict[tuple[str, Key], Entry] = {}
        self.lists: set[tuple[str, Key]] = set()
        self.problems: list[str] = []

    def list(self, section: Section, value: Any, path: str, parent: Key = ()) -> None:
        if not isinstance(value, list):
            self.problems.append(f"{path} must be a list of objects, not {represent(value)[:40]}.")
            return
        self.lists.add((section.name, parent))
        for index, item in enumerate(value):
            self._row(section, item, f"{path}/{index}", parent)

    def keys(self, value: Mapping[str, Any], path: str, known: set[str]) -> bool:
        unknown = [key for key in value if key not in known]
        for key in unknown:
            hint = suggest(key, known) or f": the keys are {', '.join(sorted(known))}"
            state = key in STATE and path
            why = " is no configuration, but state: leave it out" if state else f" is not a key{hint}"
            self.problems.append(f"{path}/{key}{why}.")
        return not unknown

    def _row(self, section: Section, value: Any, path: str, parent: Key) -> None:
        if not isinstance(value, dict):
            self.problems.append(f"{path} must be an object, not {represent(value)[:40]}.")
            return
        nested = {child.name for child in section.children}
        if not self.keys(value, path, {*section.columns, *nested}):
            return
        columns = {name: item for name, item in value.items() if name not in nested}
        if not self._key(section, columns, path):
            return
        if section.parent:
            columns[section.parent] = parent[0]
        self._add(Entry(section, section.key(columns), columns, path))
        for child in section.children:
            if child.name in value:
                self.list(child, value[child.name], f"{path}/{child.name}", section.key(columns))

    def _key(self, section: Section, columns: dict[str, Any], path: str) -> bool:
        for name in section.key_columns:
            if name == section.parent:
                continue
            field = section.model._meta.get_field(name)
            if name not in columns and (field.has_default() or field.blank):
                columns[name] = section.defaults()[name]
            if not isinstance(columns.get(name), str) or (not columns[name] and not field.blank):
                self.problems.append(f"{path}/{name} must be a text that is not empty: the row goes by it.")
                return False
        return True

    def _add(self, entry: Entry) -> None:
        known = self.entries.setdefault((entry.section.name, entry.key), entry)
        if known is not entry:
            self.problems.append(
                f"{entry.path} is {entry.label} once more: it stands at {known.path} already."
            )


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidConfiguration(f"The configuration is not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise InvalidConfiguration(
            f"The configuration must be a JSON object, not {represent(document)[:40]}: "
            f"write it with `manage.py dispatch config export`."
        )
    return document


def _rows(section: Section, using: str) -> list[dict[str, Any]]:
    nested = {child.name: _by_parent(child, using) for child in section.children}
    rows = {
        row.natural_key(): section.plain(row)
        | {name: lists.get(row.pk, []) for name, lists in nested.items()}
        for row in section.rows(using)
    }
    return list(rows.values()) if section.is_ordered else list(_sorted(rows))


def _by_parent(section: Section, using: str) -> dict[Any, list[dict[str, Any]]]:
    found: dict[Any, dict[Key, dict[str, Any]]] = {}
    for row in section.rows(using):
        columns = section.plain(row)
        key = section.key(columns)
        del columns[section.parent]
        found.setdefault(getattr(row, f"{section.parent}_id"), {})[key] = columns
    return {parent: list(_sorted(rows)) for parent, rows in found.items()}


def _sorted(rows: dict[Key, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Databases collate texts each in its own way: the document has one order."""
    return (rows[key] for key in sorted(rows))


def as_line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
