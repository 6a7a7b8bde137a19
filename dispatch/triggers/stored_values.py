"""What a reload would give of a value that an object has in memory, worked out without a query.

A value goes the way of a save and of a load: ``get_db_prep_save`` of its field, what a column of Django's own types
makes of that (a Decimal is rounded, keys of JSON become texts, a moment loses its zone), and ``from_db_value``.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from django.core.exceptions import ValidationError
from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime, parse_time
from django.utils.ipv6 import clean_ipv6_address

from dispatch.core.ranges import bounds, canonical, is_range
from dispatch.models.hookable_columns import aware

AnyField: TypeAlias = "Field[Any, Any]"
#: What a column makes of a value that is no null: (value, as it is handed over to the database; field; connection).
Held = Callable[[Any, Any, BaseDatabaseWrapper], Any]
#: Django's own kinds of columns whose values, if they have this type, are what the database holds.
OWN_TYPES: Mapping[type, type] = {
    **dict.fromkeys([models.CharField, models.EmailField, models.SlugField], str),
    **dict.fromkeys([models.TextField, models.URLField], str),
    **dict.fromkeys([models.IntegerField, models.SmallIntegerField, models.BigIntegerField], int),
    **dict.fromkeys([models.PositiveIntegerField, models.PositiveSmallIntegerField], int),
    models.PositiveBigIntegerField: int,
    **dict.fromkeys([models.AutoField, models.SmallAutoField, models.BigAutoField], int),
    models.BooleanField: bool,
    models.FloatField: float,
    models.UUIDField: uuid.UUID,
    models.DateField: dt.date,
    models.DurationField: dt.timedelta,
}
#: Fields elsewhere may have columns of any type.
DJANGOS_FIELDS = ("django.db.", "django.contrib.postgres.")
#: How databases round; no column has more digits.
ROUNDING = decimal.Context(prec=decimal.MAX_PREC, rounding=decimal.ROUND_HALF_UP)


class OnlyDatabaseKnowsError(Exception):
    """The field cannot say what its column makes of a value."""


def reloaded(column: AnyField, value: Any, using: str) -> Any:
    """Return what a reload from a database would give; of a file its name, of bytes the bytes.

    Raises OnlyDatabaseKnowsError.
    """
    connection = connections[using]
    if _is_as_held(column, value, connection):
        return value
    held, target = _held(column), _target(column)
    try:
        saved = _saved(column, value, connection)
        found = None if saved is None else held(saved, target, connection)
    except (TypeError, ValueError, ArithmeticError, ValidationError) as error:
        raise OnlyDatabaseKnowsError from error  # such as a save refuses: it was loaded
    from_db_value: Any = getattr(target, "from_db_value", None)
    if from_db_value is None:
        return found
    return from_db_value(found, column.get_col(column.model._meta.db_table), connection)


def _is_as_held(column: AnyField, value: Any, connection: BaseDatabaseWrapper) -> bool:
    """Tell quickly of nulls and moments, which are the most common beside :data:`OWN_TYPES`."""
    if value is None:
        return type(column) in OWN_TYPES
    is_moment = type(column) is models.DateTimeField and type(value) is dt.datetime
    return is_moment and value.tzinfo is connection.timezone


def _saved(column: AnyField, value: Any, connection: BaseDatabaseWrapper) -> Any:
    """Return what a save hands over to the database."""
    if isinstance(_target(column), models.DateTimeField):
        value = aware(column.to_python(value))  # without a warning: the save gave one already
    saved = column.get_db_prep_save(value, connection)
    if hasattr(saved, "as_sql"):
        raise OnlyDatabaseKnowsError
    return saved


@lru_cache(maxsize=1_000)
def is_known(column: AnyField) -> bool:
    """Tell whether the column is of one of Django's types, whose ways are known."""
    return column.generated or not column.concrete or _held_by(column) is not None


def _held(column: AnyField) -> Held:
    found = _held_by(column)
    if found is None:
        raise OnlyDatabaseKnowsError
    return found


@lru_cache(maxsize=1_000)
def _held_by(column: AnyField) -> Held | None:
    target = _target(column)
    classes = type(target).__mro__
    decides = next(cls for cls in classes if "db_type" in vars(cls))
    if not decides.__module__.startswith(DJANGOS_FIELDS):
        return None
    djangos = [each.__name__ for each in classes if each.__module__.startswith(DJANGOS_FIELDS)]
    names = [target.get_internal_type(), *djangos]
    return next((HELD[name] for name in names if name in HELD), None)


@lru_cache(maxsize=1_000)
def _target(column: AnyField) -> AnyField:
    """Return the field that decides the type of a column: of a foreign key what it points to."""
    while isinstance(column, models.ForeignKey):
        column = column.target_field
    return column


def _text(value: Any, _column: Any, _connection: BaseDatabaseWrapper) -> str:
    # Of a member of an enum, str() might tell its name.
    return str.__str__(value) if issubclass(type(value), str) else str(value)


def _decimal(value: Any, column: Any, connection: BaseDatabaseWrapper) -> decimal.Decimal:
    places = column.decimal_places
    unit = None if places is None else decimal.Decimal(1).scaleb(-places)
    if (
        connection.vendor == "sqlite"
    ):  # has floats, of which Django takes 15 digits and rounds them when it loads them
        number = decimal.Context(prec=15).create_decimal_from_float(float(value))
        return number if unit is None else number.quantize(unit, context=column.context)
    number = decimal.Decimal(value)
    return _numeric(number if unit is None else number.quantize(unit, context=ROUNDING))


def _numeric(number: decimal.Decimal) -> decimal.Decimal:
    """Return a number as databases write it: without exponent, and without a negative zero."""
    return decimal.Decimal(format(number or number.copy_abs(), "f"))


def _moment(value: Any, _column: Any, connection: BaseDatabaseWrapper) -> dt.datetime:
    moment: dt.datetime = value if isinstance(value, dt.datetime) else parse_datetime(value)  # type: ignore[assignment]
    if connection.timezone is None:
        if timezone.is_aware(moment):
            raise OnlyDatabaseKnowsError
        return moment
    if timezone.is_naive(moment):
        return timezone.make_aware(moment, connection.timezone)
    return moment.astimezone(connection.timezone)


def _day(value: Any, _column: Any, _connection: BaseDatabaseWrapper) -> dt.date | None:
    return value if isinstance(value, dt.date) else parse_date(value)


def _time(value: Any, _column: Any, _connection: BaseDatabaseWrapper) -> dt.time | None:
    return value.replace(tzinfo=None) if isinstance(value, dt.time) else parse_time(value)


def _duration(value: Any, _column: Any, _connection: BaseDatabaseWrapper) -> dt.timedelta:
    return value if isinstance(value, dt.timedelta) else dt.timedelta(microseconds=value)


def _address(value: Any, _column: Any, _connection: BaseDatabaseWrapper) -> str:
    text = str(getattr(value, "addr", value))  # of psycopg2
    return clean_ipv6_address(text) if ":" in text else text


def _bytes(value: Any, _column: Any, _connection: BaseDatabaseWrapper) -> bytes:
    return bytes(value if isinstance(value, (bytes, bytearray, memoryview)) else _wrapped(value))


def _wrapped(value: Any) -> Any:
    """Return what psycopg, or psycopg2, wrapped for its own use."""
    return value.obj if hasattr(value, "obj") else value.adapted


def _json(value: Any, column: Any, connection: BaseDatabaseWrapper) -> str:
    """Return the JSON text, which ``from_db_value`` reads; jsonb has numbers and keys in a form of its own."""
    if isinstance(value, str):
        return value
    text = json.dumps(_wrapped(value), cls=column.encoder)
    return json.dumps(json.loads(text, parse_float=_number_of_jsonb, object_pairs_hook=_object_of_jsonb))


def _number_of_jsonb(text: str) -> float:
    number: float = json.loads(str(_numeric(decimal.Decimal(text))))
    return number


def _object_of_jsonb(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object with its keys in the order of jsonb, short ones first."""
    return dict(sorted(dict(pairs).items(), key=lambda pair: (len(key := pair[0].encode()), key)))


def _array(value: Any, column: Any, connection: BaseDatabaseWrapper) -> list[Any]:
    if not isinstance(value, list):
        raise OnlyDatabaseKnowsError
    base, held = column.base_field, _held(column.base_field)
    return [None if each is None else held(each, base, connection) for each in value]


def _texts_by_key(value: Any, _column: Any, _connection: BaseDatabaseWrapper) -> dict[str, str | None]:
    if not isinstance(value, dict):
        raise OnlyDatabaseKnowsError
    return value


def _range(value: Any, column: Any, connection: BaseDatabaseWrapper) -> Any:
    if not is_range(value):
        raise OnlyDatabaseKnowsError
    if value.isempty:
        return value
    lower, upper = (
        None if end is None else _end(end, column.base_field, connection)
        for end in (value.lower, value.upper)
    )
    return canonical(type(value)(lower, upper, bounds(value)))


def _end(end: Any, base: Any, connection: BaseDatabaseWrapper) -> Any:
    kind = base.get_internal_type()
    if type(end) not in ENDS[kind]:
        raise OnlyDatabaseKnowsError
    return _numeric(decimal.Decimal(end)) if kind == "DecimalField" else HELD[kind](end, base, connection)


def _whole(value: Any, _column: Any, _connection: BaseDatabaseWrapper) -> int:
    return int(value)  # psycopg's own classes tell how wide it is


#: Which types the ends of a range may have, by the internal type of its base field.
ENDS: Mapping[str, tuple[type, ...]] = {
    "IntegerField": (int,),
    "BigIntegerField": (int,),
    "DecimalField": (int, decimal.Decimal),
    "DateField": (dt.date,),
    "DateTimeField": (dt.datetime,),
}
#: By the internal type of a field, or the name of its class or a parent's.
HELD: Mapping[str, Held] = {
    **dict.fromkeys(["CharField", "SlugField", "TextField", "FileField", "FilePathField"], _text),
    **dict.fromkeys(["AutoField", "SmallAutoField", "BigAutoField"], _whole),
    **dict.fromkeys(["IntegerField", "SmallIntegerField", "BigIntegerField"], _whole),
    **dict.fromkeys(["PositiveIntegerField", "PositiveSmallIntegerField", "PositiveBigIntegerField"], _whole),
    "BooleanField": lambda value, column, connection: bool(value),
    "FloatField": lambda value, column, connection: float(value),
    "BinaryField": _bytes,
    "UUIDField": lambda value, column, connection: uuid.UUID(str(value)),
    "DecimalField": _decimal,
    "DateTimeField": _moment,
    "DateField": _day,
    "TimeField": _time,
    "DurationField": _duration,
    "GenericIPAddressField": _address,
    "JSONField": _json,
    "ArrayField": _array,
    "HStoreField": _texts_by_key,
    "RangeField": _range,
}
