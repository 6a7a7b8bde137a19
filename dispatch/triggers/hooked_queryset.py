"""Bulk operations that fire triggers: ``HookedQuerySet``, for models that ask for it.

Django sends no signals for them. Each runs here in one transaction with its messages, which are inserted in bulk;
what a trigger needs of the rows is read a thousand at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, ClassVar, Self, TypeVar

from django.db import NotSupportedError, connections, models, transaction

from dispatch.core import trigger_rules
from dispatch.core.trigger_suppression import suppressed
from dispatch.models.write_transactions import lock_before_reading
from dispatch.triggers import event_values
from dispatch.triggers.event_values import Event
from dispatch.triggers.firing import fire, gathered, log_suppressed
from dispatch.triggers.trigger_index import AnyTrigger, index

ModelT = TypeVar("ModelT", bound=models.Model)
Item = TypeVar("Item")
Rows = dict[Any, event_values.Row]
CHUNK = 1000


class HookedQuerySet(models.QuerySet[ModelT]):
    """A queryset whose ``bulk_create``, ``bulk_update`` and ``update`` fire triggers, as ``delete`` always does.

    Each is one commit with its messages. Without a trigger on the model, each is Django's own.
    """

    def bulk_create(
        self,
        objs: Iterable[ModelT],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Collection[str] | None = None,
        unique_fields: Collection[str] | None = None,
    ) -> list[ModelT]:
        """Insert the objects, and fire "created" for each row that was inserted, "updated" where one was updated.

        Raises NotSupportedError, with nothing stored, where conflicts are ignored or updated and the database does
        not tell which rows they were.
        """
        found = list(objs)
        self._for_write = True  # what is read here too, a router takes from the database that is written to
        options = (batch_size, ignore_conflicts, update_conflicts, update_fields, unique_fields)
        triggers = _triggers(self.model)
        if not triggers or not found:
            return super().bulk_create(found, *options)
        with transaction.atomic(using=self.db), gathered(self.db):
            if not (ignore_conflicts or update_conflicts):
                super().bulk_create(found, *options)
                _tell(triggers, self._created(found))
                return found
            key = tuple(unique_fields or ()) if update_conflicts else ()
            written = event_values.written(self.model, update_fields)
            before = _rows_by(self, key, found, event_values.compared(triggers, self.model, written))
            super().bulk_create(found, *options)
            there = _stored(self, found)
            fresh = [each for each in found if _key(each, key) not in before and _pk(each) in there]
            _tell(triggers, self._created(fresh))
            if update_conflicts:
                pairs = [(each, before[_key(each, key)]) for each in found if _key(each, key) in before]
                _tell(triggers, self._updated(pairs, written))
        return found

    def update(self, **kwargs: Any) -> int:
        """Update the rows, and fire "updated" for each; they are locked first, where the database can.

        Django's ``bulk_update`` ends here too.
        """
        self._for_write = True
        triggers = _triggers(self.model, trigger_rules.UPDATED)
        if not triggers or self.query.is_sliced:
            return super().update(**kwargs)
        written = event_values.written(self.model, kwargs)
        key = _key_columns(self.model)
        names = event_values.compared(triggers, self.model, written)
        with transaction.atomic(using=self.db), gathered(self.db):
            # The key comes first: locking, Django asks the first column for its table, which a key of several lacks.
            rows = _locked(self.order_by()).values(*dict.fromkeys([*key, *names]))
            before: Rows = {_row_key(row, key): row for row in rows}
            count = 0
            for keys in _chunks(before):
                count += super(HookedQuerySet, self.filter(pk__in=keys)).update(**kwargs)
                fresh = self.model._base_manager.using(self.db).in_bulk(keys)
                pairs = [(fresh[key], before[key]) for key in keys if key in fresh]
                _tell(triggers, self._updated(pairs, written))
        return count

    def _created(self, objs: Iterable[models.Model]) -> Iterator[Event]:
        return (Event(instance=each, event=trigger_rules.CREATED, using=self.db) for each in objs)

    def _updated(
        self, pairs: Iterable[tuple[models.Model, event_values.Row]], written: Collection[str] | None
    ) -> Iterator[Event]:
        for each, before in pairs:
            yield Event(
                instance=each, event=trigger_rules.UPDATED, using=self.db, before=before, written=written
            )

    bulk_create.alters_data = True  # type: ignore[attr-defined]  # Django's mark for templates
    update.alters_data = True  # type: ignore[attr-defined]


class HookedManager(models.Manager[Any].from_queryset(HookedQuerySet)):  # type: ignore[misc]  # built by Django at run time
    """A manager whose bulk operations fire triggers."""


class HookedModel(models.Model):
    """Base of a model whose bulk operations fire triggers; saves and deletes fire them without it too."""

    objects: ClassVar[models.Manager[Self]] = HookedManager()

    class Meta:
        abstract = True


def _triggers(model: type[models.Model], *events: str) -> tuple[AnyTrigger, ...]:
    """Return the triggers that rows in bulk may fire; of each that is suppressed, one line is logged."""
    wanted = events or (trigger_rules.CREATED, trigger_rules.UPDATED)
    found = [each for each in index().of(model) if each.events.intersection(wanted)]
    for each in found:
        if suppressed(each.name):
            log_suppressed(each, "%s rows were %s in bulk.", model._meta.label_lower, " or ".join(wanted))
    return tuple(each for each in found if not suppressed(each.name))


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    rest = iter(items)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def _locked(rows: models.QuerySet[ModelT]) -> models.QuerySet[ModelT]:
    if _is_computed(rows.query):
        rows = rows.model._base_manager.using(rows.db).filter(pk__in=rows.values("pk"))
    lock_before_reading(rows.model, rows.db)
    can_lock_one_table = connections[rows.db].features.has_select_for_update_of
    return rows.select_for_update(of=("self",) if can_lock_one_table else ())


def _is_computed(query: Any) -> bool:
    """Tell whether a query's rows are made of several of the table's: the database locks no such rows."""
    return (
        query.distinct
        or query.group_by is not None
        or any(getattr(each, "contains_over_clause", False) for each in query.annotations.values())
    )


def _tell(triggers: tuple[AnyTrigger, ...], events: Iterable[Event]) -> None:
    """Fire the triggers of many events; what the database alone knows of them is read in bulk."""
    for chunk in _chunks(events):
        event_values.reread(chunk)
        snapshot = index().snapshot
        for seen in chunk:
            fire(triggers, seen, snapshot)


def _key_columns(model: type[models.Model]) -> list[str]:
    """Return the columns that the primary key is made of."""
    return [each.attname for each in getattr(model._meta.pk, "fields", (model._meta.pk,))]


def _row_key(row: event_values.Row, key: Sequence[str]) -> Any:
    return tuple(row[name] for name in key) if len(key) > 1 else row[key[0]]


def _key(instance: models.Model, names: Sequence[str]) -> Any:
    """Return what identifies an object's row: its primary key, or the unique fields that were named."""
    if not names:
        return _pk(instance)
    fields = [_field(type(instance), name) for name in names]
    return tuple(field.to_python(getattr(instance, field.attname)) for field in fields)


def _pk(instance: models.Model) -> Any:
    """Return an object's primary key in the type in which the database returns it."""
    return instance._meta.pk.to_python(instance.pk)


def _field(model: type[models.Model], name: str) -> models.Field[Any, Any]:
    return model._meta.pk if name == "pk" else model._meta.get_field(name)  # type: ignore[return-value]


def _rows_by(
    rows: models.QuerySet[Any], key: Sequence[str], objs: Sequence[models.Model], names: Iterable[str]
) -> Rows:
    """Return the rows that are there already, by what identifies them."""
    lock_before_reading(rows.model, rows.db)
    stored = rows.model._base_manager.using(rows.db)
    identifying = [_field(rows.model, name).attname for name in key] or ["pk"]
    found: Rows = {}
    for chunk in _chunks(objs):
        wanted = {_key(each, key) for each in chunk}
        columns = zip(*wanted, strict=True) if key else [[pk for pk in wanted if pk is not None]]
        match = {f"{name}__in": list(each) for name, each in zip(identifying, columns, strict=True)}
        for row in stored.filter(**match).values(*{*identifying, *names}):
            found[tuple(row[name] for name in identifying) if key else row["pk"]] = row
    return found


def _stored(rows: models.QuerySet[Any], objs: Sequence[models.Model]) -> set[Any]:
    """Return the keys of the objects whose rows are there now. Raises NotSupportedError where one has no key."""
    if any(each.pk is None for each in objs):
        raise NotSupportedError(
            "Nobody knows which rows were inserted: with ignore_conflicts or update_conflicts the database does not "
            "return their keys. Give the objects primary keys of their own, or use suppress_triggers()."
        )
    stored = rows.model._base_manager.using(rows.db)
    found: set[Any] = set()
    for keys in _chunks(each.pk for each in objs):
        found.update(stored.filter(pk__in=keys).values_list("pk", flat=True))
    return found
