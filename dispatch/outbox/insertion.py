"""Inserts outbox rows by SQL that is made once per connection, instead of by the ORM.

The ORM asks each of 26 fields how to write itself, at each row, which took longer than the database did. Here a column
that holds what it holds in every fresh row stands in the SQL as a constant, and is not sent at all.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import compress
from operator import attrgetter, itemgetter, ne, not_
from typing import Any

from django.db import connections, models, transaction
from django.db.models.base import ModelState

from dispatch.models.database import database_now
from dispatch.models.outbox_message import OutboxMessage

#: From how many rows on PostgreSQL reads one JSON document faster than a list of values.
DOCUMENT_FROM = 10
MOST_ROWS = 1_000
#: Characters of arguments in one statement, which keeps it under the limit of any server (4 MB on an old MySQL).
MOST_TEXT = 500_000

Lag = dt.timedelta | None
Compiled = tuple[str, list[Any] | dict[str, Any]]
Given = tuple[bool, ...]

_FIELDS = {field.attname: field for field in OutboxMessage._meta.concrete_fields}
#: Columns that no fresh rows have in common.
_OWN = ("id", "task_name", "created_at")
BLANK = {name: field.get_default() for name, field in _FIELDS.items() if name not in (*_OWN, "available_at")}
_blanks = itemgetter(*BLANK)
_BLANKS = _blanks(BLANK)
NO_LAG = dt.timedelta()


def fresh_row(blank: Mapping[str, Any] = BLANK, /, **columns: Any) -> OutboxMessage:
    """Return a row of these columns, the others blank; ``id``, ``options``, ``headers`` and the times must be given.

    It is made as unpickling makes one: Django's own ``OutboxMessage(…)`` takes five times as long.
    """
    row = OutboxMessage.__new__(OutboxMessage)
    row.__dict__ = {**blank, **columns, "_state": ModelState()}
    return row


def insert_rows(rows: Sequence[OutboxMessage], lags: Sequence[Lag], using: str) -> None:
    """Insert rows in as few statements as the database takes, all or nothing, in the caller's transaction.

    A lag says how long after the statement, by the database's clock, its row is due; where it is None, the row's own
    ``available_at`` counts. Raises Django's own errors of the database.
    """
    connection = connections[using]
    given = [_given(row) for row in rows]
    if len(rows) == 1:
        statement, batches = _statement(connection, given[0]), [slice(1)]
    else:
        statement = _statement(connection, tuple(map(any, zip(*given, strict=True))), len(rows))
        batches = list(_batches(connection, statement.names, rows))
    if len(batches) == 1:  # it needs no transaction of its own
        _execute(connection, statement, batches, rows, lags)
    else:
        with transaction.atomic(using=using, savepoint=False):
            _execute(connection, statement, batches, rows, lags)
    for row in rows:
        state = row._state
        state.adding, state.db = False, using


def _given(row: OutboxMessage) -> Given:
    """Return for each column of ``BLANK`` whether the row holds something else than a fresh one."""
    return tuple(map(ne, _blanks(row.__dict__), _BLANKS))


def _batches(connection: Any, names: Sequence[str], rows: Sequence[OutboxMessage]) -> Iterator[slice]:
    """Yield slices of as many rows as one statement may hold."""
    sent = [_FIELDS[name] for name in (*names, "available_at")]
    most = min(MOST_ROWS, connection.ops.bulk_batch_size(sent, rows))
    start, text = 0, 0
    for at, row in enumerate(rows):
        size = len(row.args) + len(row.kwargs)
        if at > start and (at - start >= most or text + size > MOST_TEXT):
            yield slice(start, at)
            start, text = at, 0
        text += size
    yield slice(start, len(rows))


def _execute(
    connection: Any,
    statement: _Statement,
    batches: Sequence[slice],
    rows: Sequence[OutboxMessage],
    lags: Sequence[Lag],
) -> None:
    """Insert batches. After an error nobody can commit the caller's transaction, as after Django's own INSERTs."""
    try:
        with connection.cursor() as cursor:
            for batch in batches:
                cursor.execute(*statement.compiled(rows[batch], lags[batch]))
    except Exception:
        with transaction.mark_for_rollback_on_error(using=connection.alias):
            raise


class _Values:
    """``INSERT … VALUES`` of some columns."""

    def __init__(self, connection: Any, names: Sequence[str]) -> None:
        self.compiler = OutboxMessage._base_manager.using(connection.alias).query.get_compiler(
            connection=connection
        )
        self.names = names
        self.held = itemgetter(*names)
        converters = ((at, _converter(name, connection)) for at, name in enumerate(names))
        self.converters = [(at, convert) for at, convert in converters if convert is not None]
        self.moment = partial(_FIELDS["available_at"].get_db_prep_save, connection=connection)
        self.now = _now(self.compiler)
        self.head, constants = _insert(connection, dict.fromkeys(names, "%s"))
        self.start = f"({constants}, "
        _, named = _insert(connection, {name: f"%({name})s" for name in names})
        self.one_now = f"{self.head} VALUES ({named}, {self.now})"

    def compiled(self, rows: Sequence[OutboxMessage], lags: Sequence[Lag]) -> Compiled:
        """Return the SQL for these rows, and its parameters."""
        if len(rows) == 1 and lags[0] == NO_LAG:
            return self.one_now, self._one(rows[0])
        columns: list[Sequence[Any]] = [*zip(*(self.held(row.__dict__) for row in rows), strict=True)]
        for at, convert in self.converters:
            columns[at] = _converted(convert, columns[at])
        texts: list[str] = []
        parameters: list[Any] = []
        for row, lag, own in zip(rows, lags, zip(*columns, strict=True), strict=True):
            due, due_parameters = self._due(row, lag)
            texts.append(f"{self.start}{due})")
            parameters += [*own, *due_parameters]
        return f"{self.head} VALUES {', '.join(texts)}", parameters

    def _one(self, row: OutboxMessage) -> dict[str, Any]:
        """Return parameters by name: for others Django looks through all of the SQL, if it goes to SQLite."""
        values = [*self.held(row.__dict__)]
        for at, convert in self.converters:
            values[at] = convert(values[at])
        return dict(zip(self.names, values, strict=True))

    def _due(self, row: OutboxMessage, lag: Lag) -> tuple[str, Sequence[Any]]:
        if lag is None:
            return "%s", [self.moment(row.available_at)]
        if lag == NO_LAG:
            return self.now, []
        later: Any = database_now() + lag
        due: tuple[str, Sequence[Any]] = self.compiler.compile(
            later.resolve_expression(self.compiler.query, allow_joins=False, for_save=True)
        )
        return due


class _Document:
    """``INSERT … SELECT`` from one JSON document, which PostgreSQL parses five times as fast as a list of values.

    What all rows share (as a rule the task, its queue and the moment) is sent once, beside the document.
    """

    def __init__(self, connection: Any, names: Sequence[str]) -> None:
        self.connection = connection
        self.names = names
        self.held = itemgetter(*names)
        self.now = _now(
            OutboxMessage._base_manager.using(connection.alias).query.get_compiler(connection=connection)
        )
        self.converters = [_converter(name, connection) or _unchanged for name in names]
        self.known: dict[Given, str] = {}

    def compiled(self, rows: Sequence[OutboxMessage], lags: Sequence[Lag]) -> Compiled:
        """Return the SQL for these rows, and its parameters."""
        columns = [*zip(*(self.held(row.__dict__) for row in rows), strict=True)]
        shared = tuple(len({*map(id, column)}) == 1 for column in columns)
        if shared not in self.known:
            self.known[shared] = self._sql(shared)
        once = [convert(column[0]) for convert, column in compress(zip(self.converters, columns), shared)]  # noqa: B905
        own = compress(columns, map(not_, shared))
        document = [*zip(*own, map(_due, rows, lags), strict=True)]
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=str)
        return self.known[shared], [*once, text]

    def _sql(self, shared: Given) -> str:
        once, own = [*compress(self.names, shared)], [*compress(self.names, map(not_, shared))]
        sources = {name: f"%s::{_cast(name, self.connection)}" for name in once}
        sources |= {name: _element(name, at, self.connection) for at, name in enumerate(own)}
        head, columns = _insert(self.connection, sources)
        due = len(own)
        available_at = (
            f"CASE jsonb_typeof(v->{due}) WHEN 'string' THEN (v->>{due})::timestamptz "
            f"WHEN 'number' THEN {self.now} + (v->>{due})::float8 * INTERVAL '1 second' ELSE {self.now} END"
        )
        rows = "jsonb_array_elements(%s::jsonb) AS rows (v)"
        return f"{head} SELECT {columns}, {available_at} FROM {rows}"  # noqa: S608 - names of this model only


_Statement = _Values | _Document


def _statement(connection: Any, given: Given, rows: int = 1) -> _Statement:
    is_document = rows >= DOCUMENT_FROM and connection.vendor == "postgresql"
    # Kept on the connection, to which they refer: anywhere else they would keep it open when its thread has ended.
    known = connection.__dict__.setdefault("dispatch_statements", {})
    found: _Statement | None = known.get((given, is_document))
    if found is None:
        names = (*_OWN, *compress(BLANK, given))
        made = _Document(connection, names) if is_document else _Values(connection, names)
        found = known[given, is_document] = made
    return found


def _insert(connection: Any, sources: Mapping[str, str]) -> tuple[str, str]:
    """Return the head of the INSERT, and SQL for all its columns but the last, ``available_at``."""
    quote = connection.ops.quote_name
    blank = {name: _constant(value) for name, value in BLANK.items() if name not in sources}
    columns = ", ".join(quote(_FIELDS[name].column) for name in (*sources, *blank, "available_at"))
    return (
        f"INSERT INTO {quote(OutboxMessage._meta.db_table)} ({columns})",
        ", ".join([*sources.values(), *blank.values()]),
    )


def _constant(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "NULL", True: "TRUE", False: "FALSE"}[value]
    if isinstance(value, int):
        return str(value)
    return f"'{json.dumps(value) if isinstance(value, dict) else value}'"


def _now(compiler: Any) -> str:
    sql: str = compiler.compile(database_now())[0]
    return sql


def _converter(name: str, connection: Any) -> Callable[[Any], Any] | None:
    """Return what makes a parameter of a column's value, None where it is one."""
    field = _FIELDS[name]
    if isinstance(field, (models.CharField, models.TextField)):
        return None
    if name == "id":  # is one in every fresh row
        return None if connection.features.has_native_uuid_field else attrgetter("hex")
    if isinstance(field, models.DateTimeField):
        adapt: Callable[[Any], Any] = connection.ops.adapt_datetimefield_value
        return adapt
    return partial(field.get_db_prep_save, connection=connection)


def _converted(convert: Callable[[Any], Any], column: Sequence[Any]) -> Sequence[Any]:
    first = column[0]
    if all(value is first for value in column):  # as a rule one moment
        return [convert(first)] * len(column)
    return [*map(convert, column)]


def _unchanged(value: Any) -> Any:
    return value


def _element(name: str, at: int, connection: Any) -> str:
    """Return SQL for one column's value in a row of the document."""
    if isinstance(_FIELDS[name], models.JSONField):
        return f"v->{at}"
    return f"(v->>{at})::{_cast(name, connection)}"


def _cast(name: str, connection: Any) -> Any:
    """Return a column's type; no text is cast to varchar(n), which would cut it."""
    field = _FIELDS[name]
    is_text = isinstance(field, (models.CharField, models.TextField))
    return "text" if is_text else field.db_type(connection)


def _due(row: OutboxMessage, lag: Lag) -> Any:
    """Return a row's due time in the document: a moment, a number of seconds, or None for now."""
    if lag is None:
        return row.available_at
    return lag.total_seconds() or None
