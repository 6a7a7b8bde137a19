"""Inserts outbox rows by SQL that is made once per connection, instead of by the ORM.

The ORM asks each of 26 fields how to write itself, at each row, which took longer than the database did. Here a column
that holds what it holds in every fresh row stands in the SQL as a constant, and is not sent at all.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from django.db import connections, models, transaction

from dispatch.models.outbox import OutboxMessage
from dispatch.models.parts import database_now

#: From how many rows on PostgreSQL reads one JSON document faster than a list of values.
DOCUMENT_FROM = 10
MOST_ROWS = 1_000
#: Characters of arguments in one statement, which keeps it under the limit of any server (4 MB on an old MySQL).
MOST_TEXT = 500_000

Lag = dt.timedelta | None
Compiled = tuple[str, list[Any]]

_FIELDS = {field.attname: field for field in OutboxMessage._meta.concrete_fields}
#: Columns that no fresh rows have in common, or whose type makes a constant awkward.
_OWN = ("id", "task_name", "options", "headers", "created_at")
_BLANK = {name: field.get_default() for name, field in _FIELDS.items() if name not in (*_OWN, "available_at")}
_IN_ORDER = {name: _BLANK.get(name) for name in _FIELDS}
_NO_LAG = dt.timedelta()


def fresh_row(**columns: Any) -> OutboxMessage:
    """Return a row of these columns, the others blank; ``id``, ``options``, ``headers`` and the times must be given.

    Django's own ``OutboxMessage(…)`` takes three times as long by name as by position.
    """
    values: Any = (_IN_ORDER | columns).values()
    return OutboxMessage(*values)


def insert_rows(rows: Sequence[OutboxMessage], lags: Sequence[Lag], using: str) -> None:
    """Insert rows in as few statements as the database takes, all or nothing, in the caller's transaction.

    A lag says how long after the statement, by the database's clock, its row is due; where it is None, the row's own
    ``available_at`` counts. Raises Django's own errors of the database.
    """
    connection = connections[using]
    names = (*_OWN, *_given(rows))
    statement = _statement(connection, names, len(rows))
    batches = [slice(1)] if len(rows) == 1 else list(_batches(connection, names, rows))
    with _all_or_nothing(len(batches), using), connection.cursor() as cursor:
        for batch in batches:
            cursor.execute(*statement.compiled(rows[batch], lags[batch]))
    for row in rows:
        row._state.adding, row._state.db = False, using


def _given(rows: Sequence[OutboxMessage]) -> list[str]:
    """Return the columns in which some row holds something else than a fresh row does."""
    held = [vars(row) for row in rows]
    if len(held) == 1:
        return [name for name, blank in _BLANK.items() if held[0][name] != blank]
    return [name for name, blank in _BLANK.items() if any(each[name] != blank for each in held)]


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


def _all_or_nothing(statements: int, using: str) -> Any:
    """Return what undoes all statements when one fails; a single one needs no transaction of its own."""
    if statements == 1:
        return transaction.mark_for_rollback_on_error(using=using)
    return transaction.atomic(using=using, savepoint=False)


class _Values:
    """``INSERT … VALUES`` of some columns."""

    def __init__(self, connection: Any, names: Sequence[str]) -> None:
        self.compiler = OutboxMessage._base_manager.using(connection.alias).query.get_compiler(
            connection=connection
        )
        self.columns = [(name, _converter(name, connection)) for name in names]
        self.moment = partial(_FIELDS["available_at"].get_db_prep_save, connection=connection)
        self.head, constants = _insert(connection, dict.fromkeys(names, "%s"))
        self.start = f"({constants}, "
        self.due_now = f"{self.start}{_now(self.compiler)})"

    def compiled(self, rows: Sequence[OutboxMessage], lags: Sequence[Lag]) -> Compiled:
        """Return the SQL for these rows, and its parameters."""
        texts: list[str] = []
        parameters: list[Any] = []
        for row, lag in zip(rows, lags, strict=True):
            held = vars(row)
            for name, convert in self.columns:
                parameters.append(held[name] if convert is None else convert(held[name]))
            if lag == _NO_LAG:
                texts.append(self.due_now)
            else:
                due, due_parameters = self._due(row, lag)
                texts.append(f"{self.start}{due})")
                parameters += due_parameters
        return f"{self.head} VALUES {', '.join(texts)}", parameters

    def _due(self, row: OutboxMessage, lag: Lag) -> tuple[str, Sequence[Any]]:
        if lag is None:
            return "%s", [self.moment(row.available_at)]
        later: Any = database_now() + lag
        due: tuple[str, Sequence[Any]] = self.compiler.compile(
            later.resolve_expression(self.compiler.query, allow_joins=False, for_save=True)
        )
        return due


class _Document:
    """``INSERT … SELECT`` from one JSON document, which PostgreSQL parses five times as fast as a list of values."""

    def __init__(self, connection: Any, names: Sequence[str]) -> None:
        self.names = names
        compiler = OutboxMessage._base_manager.using(connection.alias).query.get_compiler(
            connection=connection
        )
        sources = {name: _element(name, at, connection) for at, name in enumerate(names)}
        head, columns = _insert(connection, sources)
        due, now = len(names), _now(compiler)
        available_at = (
            f"CASE jsonb_typeof(v->{due}) WHEN 'string' THEN (v->>{due})::timestamptz "
            f"WHEN 'number' THEN {now} + (v->>{due})::float8 * INTERVAL '1 second' ELSE {now} END"
        )
        rows = "jsonb_array_elements(%s::jsonb) AS rows (v)"
        self.sql = f"{head} SELECT {columns}, {available_at} FROM {rows}"  # noqa: S608 - names of this model only

    def compiled(self, rows: Sequence[OutboxMessage], lags: Sequence[Lag]) -> Compiled:
        """Return the SQL for these rows, and its parameters."""
        document = [
            [*map(vars(row).__getitem__, self.names), _due(row, lag)]
            for row, lag in zip(rows, lags, strict=True)
        ]
        return self.sql, [json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=str)]


_Statement = _Values | _Document


def _statement(connection: Any, names: tuple[str, ...], rows: int) -> _Statement:
    is_document = rows >= DOCUMENT_FROM and connection.vendor == "postgresql"
    # Kept on the connection, to which they refer: anywhere else they would keep it open when its thread has ended.
    known = vars(connection).setdefault("dispatch_statements", {})
    found: _Statement | None = known.get((names, is_document))
    if found is None:
        made = _Document(connection, names) if is_document else _Values(connection, names)
        found = known[names, is_document] = made
    return found


def _insert(connection: Any, sources: Mapping[str, str]) -> tuple[str, str]:
    """Return the head of the INSERT, and SQL for all its columns but the last, ``available_at``."""
    quote = connection.ops.quote_name
    blank = {name: _constant(value) for name, value in _BLANK.items() if name not in sources}
    columns = ", ".join(quote(_FIELDS[name].column) for name in (*sources, *blank, "available_at"))
    return (
        f"INSERT INTO {quote(OutboxMessage._meta.db_table)} ({columns})",
        ", ".join([*sources.values(), *blank.values()]),
    )


def _constant(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "NULL", True: "TRUE", False: "FALSE"}[value]
    return str(value) if isinstance(value, int) else f"'{value}'"


def _now(compiler: Any) -> str:
    sql: str = compiler.compile(database_now())[0]
    return sql


def _converter(name: str, connection: Any) -> Callable[[Any], Any] | None:
    """Return what makes a parameter of a column's value, None where it is one."""
    field = _FIELDS[name]
    if isinstance(field, (models.CharField, models.TextField)):
        return None
    if isinstance(field, models.DateTimeField):
        adapt: Callable[[Any], Any] = connection.ops.adapt_datetimefield_value
        return adapt
    convert = partial(field.get_db_prep_save, connection=connection)
    if isinstance(field, models.JSONField):
        empty = convert({})
        return lambda value: convert(value) if value else empty
    return convert


def _element(name: str, at: int, connection: Any) -> str:
    """Return SQL for one column's value in a row of the document. No text is cast: a cast to varchar(n) cuts it."""
    field = _FIELDS[name]
    if isinstance(field, models.JSONField):
        return f"v->{at}"
    if isinstance(field, (models.CharField, models.TextField)):
        return f"v->>{at}"
    return f"(v->>{at})::{field.db_type(connection)}"


def _due(row: OutboxMessage, lag: Lag) -> Any:
    """Return a row's due time in the document: a moment, a number of seconds, or None for now."""
    if lag is None:
        return row.available_at
    return lag.total_seconds() or None
