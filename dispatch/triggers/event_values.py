"""What triggers read of a saved or deleted object: its fields now, and what the database held before.

A save is compared with one narrow SELECT made before it, in the same transaction, and only for triggers that ask.
What the save does not write (``update_fields``, deferred fields) has not changed, whatever the object has in memory.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import connections
from django.db.models import BinaryField, Field, Model
from django.utils import timezone

from dispatch.core import trigger_rules
from dispatch.exceptions import ConfigurationError
from dispatch.models.hookable_columns import secret_columns
from dispatch.models.write_transactions import lock_before_reading
from dispatch.triggers.stored_values import OWN_TYPES, OnlyDatabaseKnowsError, is_known, reloaded
from dispatch.triggers.trigger_index import AnyTrigger

Row = Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Event:
    """One event of one object; :class:`dispatch.core.trigger_rules.Occurrence` says how it is read.

    ``before`` holds what was read before a save, by column name; None where nothing was. ``written`` are the columns
    that the save wrote, None for all; ``stored`` is what was read after it.
    """

    instance: Model
    event: str
    using: str
    before: Row | None = None
    written: Collection[str] | None = None
    relation: str = ""
    related: Sequence[Any] = ()
    at: dt.datetime = field(default_factory=timezone.now)
    stored: Row | None = None

    def new(self, name: str) -> Any:
        """Return what the column holds now, as a reload would give it, whatever was assigned; of a file its name."""
        column = _column(type(self.instance), name)
        if not column.concrete:  # a key that is made of other columns
            return tuple(self.new(each.attname) for each in getattr(column, "fields"))  # noqa: B009
        if self.written is not None and not self._is_written(column):
            return self._unwritten(column)
        held = self.instance.__dict__.get(column.attname)
        if type(held) is OWN_TYPES.get(type(column)):
            return held  # as most are: there is nothing to ask or to convert
        if self.event != trigger_rules.DELETED and not self._is_in_memory(column):
            return self._reread(column)
        return self._in_memory(column)

    def old(self, name: str) -> Any:
        """Return what the database held before: of a created object None, of a deleted one what it had."""
        if self.event == trigger_rules.CREATED:
            return None
        column = _column(type(self.instance), name)
        if self.event != trigger_rules.UPDATED or not self._is_written(column):
            return self.new(name)
        if self.before is None or column.attname not in self.before:
            raise ConfigurationError(
                f"Nobody knows what {name!r} held before: another process inserted the row while it was saved. "
                f"Save the object again."
            )
        return _loaded(column, self.before[column.attname])

    def changed(self, name: str) -> bool:
        """Tell whether the column holds another value than before; of a created object, each does."""
        if self.event != trigger_rules.UPDATED:
            return self.event == trigger_rules.CREATED
        column = _column(type(self.instance), name)
        if not self._is_written(column):
            return False
        return not _is_same(column, self.old(name), self.new(name), self.using)

    def natural_key(self) -> Sequence[Any]:
        """Return the object's natural key, which is code: it gets an object without its sensitive columns.

        Raises ConfigurationError where it reads one.
        """
        model = type(self.instance)
        seen: Any = model.__new__(model)
        withheld = {name: _Withheld(model, name) for name in secret_columns(model)}
        vars(seen).update(vars(self.instance) | withheld)
        key = tuple(seen.natural_key())
        for each in key:
            if isinstance(each, _Withheld):
                each.refuse()
        return key

    def _is_written(self, column: Field[Any, Any]) -> bool:
        return self.written is None or column.attname in self.written or column.generated

    def _is_in_memory(self, column: Field[Any, Any]) -> bool:
        """Tell whether the saved object has the value, and its field can say what the database made of it."""
        held = self.instance.__dict__
        return column.attname in held and not _is_computed(column, held[column.attname])

    def _in_memory(self, column: Field[Any, Any]) -> Any:
        value = getattr(self.instance, column.attname)
        try:
            return reloaded(column, value, self.using)
        except OnlyDatabaseKnowsError:
            return column.to_python(value) if self.event == trigger_rules.DELETED else self._reread(column)

    def _unwritten(self, column: Field[Any, Any]) -> Any:
        if self.before is not None and column.attname in self.before:
            return _loaded(column, self.before[column.attname])
        return self._in_memory(column)

    def computed(self) -> list[str]:
        """Return the columns that the database alone knows: expressions, generated ones, types other than Django's."""
        held = vars(self.instance)
        return [
            each.attname
            for each in self.instance._meta.concrete_fields
            if each.attname in held and _is_computed(each, held[each.attname])
        ]

    def _reread(self, column: Field[Any, Any]) -> Any:
        if self.stored is None or column.attname not in self.stored:
            self.stored = read(self.instance, [column.attname, *self.computed()], self.using) or {}
        return _loaded(column, self.stored.get(column.attname))


class _Withheld:
    """Stands in place of a sensitive value; whatever is done with it raises ConfigurationError."""

    def __init__(self, model: type[Model], name: str) -> None:
        self.__dict__["_of"] = f"{model._meta.label}.natural_key()", name

    def refuse(self, *_: Any) -> Any:
        function, name = vars(self)["_of"]
        raise ConfigurationError(
            f"{function} reads {name!r}, a sensitive field: it never goes into a message."
        )

    __getattr__ = __str__ = __format__ = __add__ = __radd__ = __mod__ = __rmod__ = __eq__ = __hash__ = refuse
    __iter__ = __len__ = __bool__ = __getitem__ = __contains__ = __int__ = __bytes__ = __index__ = refuse


def unknown(instance: Model) -> set[str]:
    """Return the columns whose values the object does not have: deferred ones, and those an expression was saved to."""
    held, columns = vars(instance), instance._meta.concrete_fields
    return {
        each.attname for each in columns if each.attname not in held or _is_expression(held[each.attname])
    }


def reread(events: Sequence[Event]) -> None:
    """Read what the database alone knows of many objects, with one query for each of their models.

    Rows of one queryset may be of several: a base manager of a third party loads each as the child that it is.
    """
    for model in dict.fromkeys(type(seen.instance) for seen in events):
        _reread(model, [seen for seen in events if type(seen.instance) is model])


def _reread(model: type[Model], events: Sequence[Event]) -> None:
    names = {name for seen in events for name in seen.computed()}
    if not names:
        return
    rows = model._base_manager.using(events[0].using).filter(pk__in=[seen.instance.pk for seen in events])
    found = {row["pk"]: row for row in rows.values("pk", *names)}
    for seen in events:
        seen.stored = found.get(_column(model, "pk").to_python(seen.instance.pk))


def written(model: type[Model], update_fields: Iterable[str] | None) -> frozenset[str] | None:
    """Return the columns that a save with these ``update_fields`` writes, None for all."""
    if update_fields is None:
        return None
    names = frozenset(update_fields)
    return frozenset(
        each.attname for each in model._meta.concrete_fields if {each.name, each.attname} & names
    )


def compared(
    triggers: Iterable[AnyTrigger], model: type[Model], writes: Collection[str] | None
) -> frozenset[str]:
    """Return the columns that triggers compare or carry of a save that writes some columns, None for all.

    Where some are read, so is what triggers send and the save does not write: the object may hold something else.
    """
    names: set[str] = set()
    unwritten: set[str] = set()
    for trigger in triggers:
        if trigger_rules.UPDATED in trigger.events and _may_change(model, trigger.compared, writes):
            names |= {*trigger.compared, *trigger.carried}
            unwritten |= {*(trigger.reads or ())} - {*(writes or ())}
    return frozenset(names | unwritten if names and writes is not None else names)


def read(instance: Model, names: Iterable[str], using: str) -> Row | None:
    """Return some columns of the object's row, None if there is none."""
    lock_before_reading(type(instance), using)
    rows = type(instance)._base_manager.using(using).filter(pk=instance.pk)
    return rows.values(*{_column(type(instance), name).attname for name in names}).first()


def keep(instance: Model, parent: type[Model], names: Iterable[str], using: str) -> None:
    """Read those of the columns that are in a parent's table, before it is written, for :func:`kept`."""
    own = [name for name in names if _column(type(instance), name).model is parent]
    if own:
        vars(instance._state).setdefault("dispatch_before", {}).update(read(instance, own, using) or {})


def kept(instance: Model, names: Iterable[str], using: str) -> Row | None:
    """Return the columns of the object's row before its own table is written; those of its parents' were kept."""
    before: dict[str, Any] = vars(instance._state).pop("dispatch_before", {})
    own = [name for name in names if _column(type(instance), name).attname not in before]
    found = read(instance, own, using) if own else {}
    return None if found is None else {**before, **found}


def _may_change(model: type[Model], names: Collection[str], writes: Collection[str] | None) -> bool:
    if not names or writes is None:
        return True
    columns = [_column(model, name) for name in names]
    return any(each.attname in writes or each.generated for each in columns)


@lru_cache(maxsize=1_000)
def _column(model: type[Model], name: str) -> Field[Any, Any]:
    meta = model._meta
    if name == "pk" and meta.pk is not None:
        return meta.pk
    found = meta.get_field(name)
    if not isinstance(found, Field) or not found.concrete:
        raise FieldDoesNotExist(f"{meta.label} has no column {name!r}.")
    return found


def _is_computed(column: Field[Any, Any], value: Any) -> bool:
    """Tell whether the database alone knows the value: ``F("count") + 1``, or a generated column."""
    return column.generated or _is_expression(value) or not is_known(column)


def _is_expression(value: Any) -> bool:
    return hasattr(value, "resolve_expression")


def _loaded(column: Field[Any, Any], value: Any) -> Any:
    """Return what was read of a row; of bytes PostgreSQL gives a view."""
    return bytes(value) if isinstance(column, BinaryField) and value is not None else value


def _is_same(column: Field[Any, Any], old: Any, new: Any, using: str) -> bool:
    """Tell whether two values are one and the same in the database, which rounds numbers and cuts moments."""
    if old == new:
        return True
    if old is None or new is None:
        return False
    connection = connections[using]
    return bool(column.get_db_prep_save(old, connection) == column.get_db_prep_save(new, connection))
