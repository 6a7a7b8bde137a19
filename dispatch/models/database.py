"""Parts of models that Django does not bring: an index, a field, the database's clock."""

from __future__ import annotations

from typing import Any

from django.db import connections, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Func, Q
from django.db.models.expressions import Combinable


class PartialIndex(models.Index):
    """An index over the rows ``where`` holds; led by those columns where the database has no partial indexes.

    Django's own ``Index(condition=…)`` is left out on MariaDB, with a warning that nobody can act on.
    """

    def __init__(self, *, where: dict[str, Any], fields: list[str], name: str) -> None:
        super().__init__(fields=fields, name=name)
        self.where = where

    def deconstruct(self) -> tuple[str, Any, dict[str, Any]]:
        path, args, kwargs = super().deconstruct()
        return path, args, {**kwargs, "where": self.where}

    def create_sql(
        self,
        model: type[models.Model],
        schema_editor: BaseDatabaseSchemaEditor,
        using: str = "",
        **kwargs: Any,
    ) -> Any:
        if schema_editor.connection.features.supports_partial_indexes:
            index = models.Index(fields=self.fields, name=self.name, condition=Q(**self.where))
        else:
            leading = [lookup.partition("__")[0] for lookup in self.where]
            index = models.Index(fields=list(dict.fromkeys([*leading, *self.fields])), name=self.name)
        return index.create_sql(model, schema_editor, using, **kwargs)


class ReadableJSON(models.JSONField):
    """JSON of which what Python cannot read comes as its text, as Django itself has it for what is no JSON.

    A number of 5,000 digits, or a thousand levels, would otherwise stop every query that meets the row.
    """

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        try:
            return super().from_db_value(value, expression, connection)
        except (ValueError, RecursionError):
            return value

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs


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


def is_broken(using: str) -> bool:
    """Tell whether the open transaction or savepoint cannot commit any more, after an error that somebody swallowed."""
    connection = connections[using]
    if connection.get_rollback():
        return True
    if connection.vendor != "postgresql":
        return False
    return bool(connection.connection.info.transaction_status == 3)  # libpq's PQTRANS_INERROR


class DatabaseNow(Func):
    """The database's own clock, in UTC, at this statement.

    Leases are taken by several machines: only one clock counts. Django's ``Now()`` is the transaction's start on
    PostgreSQL and session time on MariaDB, where Django stores UTC.
    """

    template = "CLOCK_TIMESTAMP()"
    output_field = models.DateTimeField()

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(
            compiler, connection, template="STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f', 'NOW')", **context
        )


def close_broken_connections() -> None:
    """Close what a database dropped, so that the next query opens a new connection."""
    for connection in connections.all(initialized_only=True):
        connection.close_if_unusable_or_obsolete()


def database_now() -> Combinable:
    """Return the expression for the database's clock."""
    return DatabaseNow()
