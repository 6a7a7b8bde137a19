"""The configuration as one JSON document with natural keys: written, and read into entries with their paths.

The format is described in ``docs/reference/configuration.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dispatch.configuration.sections import SECTIONS, STATE, Key, Section
from dispatch.core.manifest import checksum, sealed
from dispatch.core.message import plain, represent
from dispatch.core.wording import suggest
from dispatch.exceptions import InvalidArguments, InvalidConfiguration

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a document: its natural key, the columns that are named, and where it stands (a JSON pointer)."""

    section: Section
    key: Key
    columns: Mapping[str, Any]
    path: str

    @property
    def label(self) -> str:
        """The row in words."""
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
    """Return a row in words: ``route 'tasks.*' (glob)``."""
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
        raise InvalidConfiguration("\n".join(reader.problems))
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
    """Return a value as JSON on one line."""
    return json.dumps(value, ensure_ascii=False)
