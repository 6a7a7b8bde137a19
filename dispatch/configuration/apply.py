"""Brings a document into the registry, all of it or nothing, and says what that changed and what it could not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import DatabaseError, models, transaction

from dispatch.configuration.diff import Change, Changes, Problem, difference
from dispatch.configuration.document import SECTIONS, Document, Entry, Key, Section, in_order
from dispatch.core.redaction import redact
from dispatch.core.suggestions import suggest
from dispatch.exceptions import InvalidConfiguration
from dispatch.models import RegistryVersion
from dispatch.models.write_transactions import write_transaction

QUEUES = next(section for section in SECTIONS if section.name == "queues")
ROUTES = next(section for section in SECTIONS if section.is_ordered)
BY_MODEL = {section.model: section.name for section in SECTIONS}


class Writer:
    """One pass over a document. After a problem that the database raised, nothing more is tried."""

    def __init__(self, document: Document, using: str, *, prune: bool) -> None:
        self.document = document
        self.using = using
        self.prune = prune
        self.changes = Changes()
        self.problems: list[Problem] = []
        self._rows: dict[str, dict[Key, Any]] = {}
        self._before: dict[str, dict[Key, dict[str, Any]]] = {}
        self._failed: set[tuple[str, Key]] = set()

    def write(self) -> tuple[Changes, list[Problem]]:
        """Store the rows; return the changes, and the rows that cannot be stored."""
        self._load()
        try:
            self._move_default()
            for entry in self._entries():
                self._write(entry)
            if not self.problems:
                self._order_routes()
                self._leave_out()
        except _Stop as stop:
            self.problems.append(stop.problem)
        return self.changes, self.problems

    def _load(self) -> None:
        for section in in_order():
            rows = list(section.rows(self.using))
            self._rows[section.name] = {row.natural_key(): row for row in rows}
            self._before[section.name] = {row.natural_key(): section.plain(row) for row in rows}

    def _entries(self) -> Iterator[Entry]:
        for section in in_order():
            yield from (entry for entry in self.document.entries if entry.section is section)

    def _move_default(self) -> None:
        """Unset the default queue first where the document names another: only one row may carry the mark."""
        wanted = {
            e.key
            for e in self.document.entries
            if e.section is QUEUES and e.columns.get("is_default") is True
        }
        if len(wanted) != 1:
            return
        named = {entry.key for entry in self.document.entries if entry.section is QUEUES}
        for key, row in self._rows[QUEUES.name].items():
            if row.is_default and key not in wanted:
                row.is_default = False
                self._save(row, QUEUES, key, "")
                if key not in named:
                    self.changes.changed.append(Change(QUEUES, key, {"is_default": (True, False)}))

    def _write(self, entry: Entry) -> None:
        section, key = entry.section, entry.key
        row = self._rows[section.name].get(key) or section.model()
        if not self._fill(row, entry) or not self._clean(row, entry):
            self._failed.add((section.name, key))
            return
        before, after = self._before[section.name].get(key), section.plain(row)
        columns = difference(before, after) if before is not None else {}
        if before is None:
            self.changes.added.append(Change(section, key, {name: (None, after[name]) for name in after}))
        elif columns:
            self.changes.changed.append(Change(section, key, columns))
        else:
            self.changes.unchanged += 1
            return
        self._save(row, section, key, entry.path)
        self._rows[section.name][key] = row

    def _fill(self, row: Any, entry: Entry) -> bool:
        for name, value in entry.columns.items():
            field = row._meta.get_field(name)
            if field.is_relation and value is not None:
                value = self._related(field, value, entry)
                if value is None:
                    return False
            setattr(row, name, value)
        return True

    def _related(self, field: models.Field[Any, Any], name: Any, entry: Entry) -> Any:
        """Return the row that is referred to; None where there is none, which a problem then tells."""
        section = BY_MODEL[field.related_model]
        row = self._rows[section].get((name,)) if isinstance(name, str) else None
        if row is None and (section, (name,)) not in self._failed:
            known = [key[0] for key in self._rows[section]]
            hint = suggest(name, known) if isinstance(name, str) else ""
            reason = f"There is no {field.verbose_name} {name!r} in the file or in the registry{hint}."
            self.problems.append(Problem(entry.path, entry.label, reason, field.name))
        return row

    def _clean(self, row: Any, entry: Entry) -> bool:
        try:
            row.full_clean()
        except ValidationError as error:
            for name, messages in error.message_dict.items():
                column = "" if name == NON_FIELD_ERRORS else name
                self.problems.append(Problem(entry.path, entry.label, " ".join(messages), column))
            return False
        return True

    def _save(self, row: Any, section: Section, key: Key, path: str) -> None:
        try:
            row.save(using=self.using)
        except (
            DatabaseError,
            ValueError,
            TypeError,
        ) as error:  # past the checks: too long for an index, a race
            raise _Stop(
                Problem(path, Change(section, key).label, f"The database refuses it: {_told(error)}")
            ) from None

    def _order_routes(self) -> None:
        """Make routes of the same position come in the document's order, which the database keeps by their age."""
        latest: dict[int, Any] = {}
        for entry in (entry for entry in self.document.entries if entry.section is ROUTES):
            row = self._rows[ROUTES.name][entry.key]
            ahead = latest.get(row.position)
            if ahead is not None and row.pk < ahead.pk:
                row.delete(using=self.using)
                row.pk = None
                self._save(row, ROUTES, entry.key, entry.path)
                self._note_order(entry, ahead)
            latest[row.position] = row

    def _note_order(self, entry: Entry, ahead: Any) -> None:
        moved = {"order": (f"before {ahead.pattern!r}", f"after {ahead.pattern!r}")}
        for index, change in enumerate(self.changes.changed):
            if change.section is ROUTES and change.key == entry.key:
                self.changes.changed[index] = Change(ROUTES, entry.key, {**change.columns, **moved})
                return
        self.changes.unchanged -= 1
        self.changes.changed.append(Change(ROUTES, entry.key, moved))

    def _leave_out(self) -> None:
        """Delete, or tell, the rows that the document's lists do not hold."""
        present = {(entry.section.name, entry.key) for entry in self.document.entries}
        for section in reversed(in_order()):
            for key in sorted(self._before[section.name]):
                parent = key[:1] if section.parent else ()
                if (section.name, key) in present or (section.name, parent) not in self.document.lists:
                    continue
                if section.owned or self.prune:
                    self._delete(section, key)
                else:
                    self.changes.kept.append(Change(section, key))

    def _delete(self, section: Section, key: Key) -> None:
        change = Change(section, key)
        try:
            self._rows[section.name][key].delete(using=self.using)
        except models.ProtectedError as error:
            users = ", ".join(sorted(_users(error.protected_objects)))
            reason = f"It is not in the file, but {users} needs it: add it, or change what needs it."
            self.problems.append(Problem("", change.label, reason))
        else:
            self.changes.deleted.append(change)


class _Stop(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def _told(error: BaseException) -> str:
    return redact(str(error).strip().splitlines()[0]) if str(error).strip() else type(error).__name__


def _users(rows: Iterable[models.Model]) -> set[str]:
    return {f"{row._meta.verbose_name} {row}" for row in rows}


def preview(document: Document, using: str, *, prune: bool = False) -> Changes:
    """Return what an import would do.

    Raises InvalidConfiguration with a line for each row that cannot be stored.
    """
    changes, problems = _attempt(document, using, prune)
    if problems:
        raise InvalidConfiguration(*map(str, problems))
    return changes


def usable(document: Document, using: str) -> tuple[Document, list[Problem]]:
    """Return the part of a document that can be stored, and why the rest cannot."""
    left_out: list[Problem] = []
    while True:
        _, problems = _attempt(document, using, prune=False)
        if not problems:
            return document, left_out
        smaller = document.without(problem.row for problem in problems)
        if len(smaller.entries) == len(document.entries):
            raise InvalidConfiguration(*map(str, problems))
        left_out += problems
        document = smaller


def apply(document: Document, using: str, *, prune: bool = False, expected: Changes | None = None) -> Changes:
    """Bring the document into the registry, and return what was done.

    Raises InvalidConfiguration, and changes nothing, for rows that cannot be stored, and where the registry was changed
    since ``expected`` was shown.
    """
    with write_transaction(using):
        RegistryVersion.bump(using)  # whoever imports at the same time waits here
        changes, problems = Writer(document, using, prune=prune).write()
        if problems:
            raise InvalidConfiguration(*map(str, problems))
        if expected is not None and changes != expected:
            raise InvalidConfiguration(
                "The registry was changed meanwhile: nothing was imported. Look again."
            )
    return changes


def _attempt(document: Document, using: str, prune: bool) -> tuple[Changes, list[Problem]]:
    with write_transaction(using):
        try:
            return Writer(document, using, prune=prune).write()
        finally:
            transaction.set_rollback(True, using=using)
