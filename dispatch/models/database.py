"""Parts of models that Django does not bring: an index, a field, the database's clock."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, overload

from django.core.exceptions import ValidationError
from django.db import DataError, connections, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Func, Q
from django.db.models.expressions import Combinable
from django.db.models.functions import Now
from django.utils.formats import number_format
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

from dispatch.conf import conf
from dispatch.core.json_values import DEPTH
from dispatch.core.seconds import MOST, is_seconds

#: What a driver or a field raises for a value that Python cannot hold, such as PostgreSQL's infinite date.
UNREADABLE = (DataError, ValueError, TypeError, OverflowError)
#: Aliases whose connections know no schema: each save asks.
_WITHOUT_SCHEMAS: set[str] = set()
ValueT = TypeVar("ValueT")


class Column(Protocol[ValueT]):
    """A field, for annotations: what an attribute of a row holds, said to type checkers that do not know Django."""

    @overload
    def __get__(self, instance: None, owner: Any, /) -> Any: ...
    @overload
    def __get__(self, instance: models.Model, owner: Any, /) -> ValueT: ...
    def __set__(self, instance: models.Model, value: ValueT, /) -> None: ...


class PartialIndex(models.Index):
    """An index over the rows ``where`` holds; led by those columns where the database has no partial indexes.

    Django's own ``Index(condition=…)`` is left out on MariaDB, with a warning that nobody can act on. With
    ``only_partial`` it is left out there without one: another index serves as well.
    """

    #: A statement for MariaDB that does nothing.
    NOTHING = "DO 0"

    def __init__(
        self, *, where: dict[str, Any], fields: list[str], name: str, only_partial: bool = False
    ) -> None:
        super().__init__(fields=fields, name=name)
        self.where = where
        self.only_partial = only_partial

    def deconstruct(self) -> tuple[str, Any, dict[str, Any]]:
        path, args, kwargs = super().deconstruct()
        options = {"only_partial": True} if self.only_partial else {}
        return path, args, {**kwargs, "where": self.where, **options}

    def create_sql(
        self,
        model: type[models.Model],
        schema_editor: BaseDatabaseSchemaEditor,
        using: str = "",
        **kwargs: Any,
    ) -> Any:
        if schema_editor.connection.features.supports_partial_indexes:
            index = models.Index(fields=self.fields, name=self.name, condition=Q(**self.where))
        elif self.only_partial:
            return self.NOTHING
        else:
            leading = [lookup.partition("__")[0] for lookup in self.where]
            index = models.Index(fields=list(dict.fromkeys([*leading, *self.fields])), name=self.name)
        return index.create_sql(model, schema_editor, using, **kwargs)

    def remove_sql(
        self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor, **kwargs: Any
    ) -> Any:
        if self.only_partial and not schema_editor.connection.features.supports_partial_indexes:
            return self.NOTHING
        return super().remove_sql(model, schema_editor, **kwargs)


class _DjangosInMigrations:
    """A field that is Django's own to migrations."""

    def deconstruct(self: Any) -> Any:
        name, _path, args, kwargs = super().deconstruct()  # type: ignore[misc]
        return name, f"django.db.models.{self.get_internal_type()}", args, kwargs


class ReadableJSON(_DjangosInMigrations, models.JSONField):
    """JSON of which what Python cannot read, or show, comes as its text, as Django itself has it for what is no JSON.

    A number of 5,000 digits, or a thousand levels, would otherwise stop every query that meets the row, and somewhat
    fewer levels every page. No API of ours stores more than ``DEPTH`` of them.
    """

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        try:
            found = super().from_db_value(value, expression, connection)
        except (ValueError, RecursionError):
            return value
        return value if isinstance(value, str) and _is_deep(value, found) else found


def _is_deep(text: str, value: Any) -> bool:
    """Tell whether JSON has more levels than ``DEPTH``; most has fewer brackets."""
    if text.count("[") + text.count("{") <= DEPTH:
        return False
    level = [value]
    for _level in range(DEPTH):
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        level = [each for part in inner for each in part if isinstance(each, (dict, list))]
    return bool(level)


class MomentField(_DjangosInMigrations, models.DateTimeField):  # type: ignore[type-arg]  # not subscriptable at run time
    """A time of which PostgreSQL's ``infinity``, and its years beyond Python's, are read as the last day Python has.

    The driver raises an error for them, so that no query that meets the row would return.
    """

    FIRST, LAST = "0001-01-02 00:00:00+00", "9999-12-30 00:00:00+00"  # a day is left for any timezone

    def select_format(self, compiler: Any, sql: str, params: Any) -> Any:
        if compiler.connection.vendor != "postgresql":
            return sql, params
        first, last = (f"TIMESTAMPTZ '{each}'" for each in (self.FIRST, self.LAST))
        bounded = f"CASE WHEN {sql} > {last} THEN {last} WHEN {sql} < {first} THEN {first} ELSE {sql} END"
        return bounded, [*params] * 3


class SecondsField(_DjangosInMigrations, models.FloatField):  # type: ignore[type-arg]  # not subscriptable at run time
    """A number of seconds, by the rule of calls; NULL where nothing is said."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"null": True, "blank": True})

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except OverflowError:  # a whole number that no float holds
            raise self._out_of_range() from None

    def validate(self, value: Any, model_instance: models.Model | None) -> None:
        super().validate(value, model_instance)
        if value is not None and not is_seconds(value):
            raise self._out_of_range()

    @staticmethod
    def _out_of_range() -> ValidationError:
        return ValidationError(
            _("Write a number of seconds from 0 to %(most)s."),
            params={"most": number_format(MOST, force_grouping=True)},
        )


class TrueOrNull(models.BooleanField):  # type: ignore[type-arg]  # not subscriptable at run time
    """A flag that at most one row may carry: False is stored as NULL, so that a unique constraint counts only True.

    MariaDB has no conditional unique constraints; every database allows many NULLs in a unique column.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs |= {"null": True, "unique": True}
        super().__init__(*args, **kwargs)

    def clean(self, value: Any, model_instance: models.Model | None) -> bool | None:
        return super().clean(value, model_instance) or None  # None: the check for uniqueness passes over it

    def get_prep_value(self, value: Any) -> bool | None:
        return super().get_prep_value(value) or None

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> bool:
        return bool(value)

    def formfield(self, *args: Any, **kwargs: Any) -> Any:
        from django import forms

        return super().formfield(*args, **{"form_class": forms.BooleanField, "required": False, **kwargs})


def schema_name(using: str) -> str:
    """Return the schema that a connection stands in, a tenant's for example; "" where there is but one.

    django-tenants and its like keep it on the connection. For others ``DISPATCH["SCHEMA_NAME"]`` names a function that
    takes the alias and returns it.
    """
    if path := conf.SCHEMA_NAME:
        return str(import_string(path)(using) or "")
    if using in _WITHOUT_SCHEMAS:
        return ""
    connection = connections[using]
    if not hasattr(connection, "schema_name"):
        _WITHOUT_SCHEMAS.add(using)
    return getattr(connection, "schema_name", None) or ""


def stand_in(schema: str, using: str) -> bool:
    """Have a connection stand in a schema, and tell whether it does: others than django-tenants' cannot be told to."""
    connection: Any = connections[using]
    if schema_name(using) != schema and hasattr(connection, "set_schema"):
        connection.set_schema(schema)
    return schema_name(using) == schema


def is_broken(using: str) -> bool:
    """Tell whether the open transaction or savepoint cannot commit any more, after an error that somebody swallowed."""
    connection = connections[using]
    if connection.get_rollback():
        return True
    if connection.vendor != "postgresql":
        return False
    return bool(connection.connection.info.transaction_status == 3)  # libpq's PQTRANS_INERROR


#: What a database knows of a table's rows without counting them. SQLite knows the highest number that it ever gave.
_ESTIMATES = {
    "postgresql": "SELECT reltuples FROM pg_class WHERE oid = to_regclass(%s)",
    "mysql": "SELECT table_rows FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = %s",
}


def estimated_rows(model: type[models.Model], using: str) -> int:
    """Return about how many rows a table has, at no cost; 0 where nobody knows."""
    connection, table = connections[using], model._meta.db_table
    statement = _ESTIMATES.get(connection.vendor)
    with connection.cursor() as cursor:
        if statement:
            cursor.execute(statement, [table])
        else:
            cursor.execute(f"SELECT MAX(rowid) FROM {connection.ops.quote_name(table)}")  # noqa: S608 - a model's name
        [rows] = cursor.fetchone() or [0]
    return max(int(rows or 0), 0)


class DatabaseNow(Now):
    """The database's own clock, in UTC, at this statement.

    Leases are taken by several machines: only one clock counts. Django's ``Now()`` is session time on MariaDB, where
    Django stores UTC.
    """

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **context)


class Epoch(Func):
    """A time as seconds since 1970, which a driver reads ten times as fast; 0 for what SQLite takes for no time."""

    template = "DATE_PART('epoch', %(expressions)s)"
    output_field = models.FloatField()

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', %(expressions)s) / 1e6"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "COALESCE((JULIANDAY(%(expressions)s) - 2440587.5) * 86400.0, 0.0)"
        return self.as_sql(compiler, connection, template=template, **context)


def close_broken_connections() -> None:
    """Close what a database dropped, so that the next query opens a new connection."""
    for connection in connections.all(initialized_only=True):
        connection.close_if_unusable_or_obsolete()


def database_now() -> Combinable:
    """Return the expression for the database's clock."""
    return DatabaseNow()
