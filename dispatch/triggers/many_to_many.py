"""Many-to-many fields: what was added, removed or cleared, from either side, exactly.

Django tells before and after. Of a removal it tells what was asked to be removed, of a clearing nothing: what was
really related is read before, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeAlias

from django.db.models import ManyToManyField, Model
from django.db.models.signals import m2m_changed

from dispatch.core import trigger_rules
from dispatch.triggers.event_values import Event
from dispatch.triggers.firing import fire, gathered
from dispatch.triggers.trigger_index import Index, index

Relation: TypeAlias = "ManyToManyField[Any, Any]"
Pairs = list[tuple[Any, Any]]
EVENTS = {
    "post_add": trigger_rules.M2M_ADDED,
    "post_remove": trigger_rules.M2M_REMOVED,
    "post_clear": trigger_rules.M2M_CLEARED,
}


def connect(model: type[Model], found: Index) -> None:
    """Connect the receiver of each many-to-many field of a model that has a trigger on it."""
    wanted = [trigger for trigger in found.of(model) if trigger.events.intersection(trigger_rules.M2M_EVENTS)]
    for relation in model._meta.many_to_many:
        if any(not trigger.relations or relation.name in trigger.relations for trigger in wanted):
            uid = f"dispatch.triggers.m2m.{relation.model._meta.label_lower}.{relation.name}"
            receiver = _receiver(relation)
            m2m_changed.connect(receiver, sender=_through(relation), weak=False, dispatch_uid=uid)


def _receiver(relation: Relation) -> Callable[..., None]:
    def on_change(
        *, action: str, instance: Model, reverse: bool, pk_set: Collection[Any] | None, using: str, **_: Any
    ) -> None:
        if action in ("pre_remove", "pre_clear"):
            _pending(instance)[relation.name, reverse] = _related(relation, instance, reverse, pk_set, using)
        elif action in EVENTS:
            related = pk_set if action == "post_add" else _pending(instance).pop((relation.name, reverse), ())
            _fire(relation, EVENTS[action], instance, reverse, sorted(related or ()), using)

    return on_change


def _fire(
    relation: Relation, event: str, instance: Model, reverse: bool, related: list[Any], using: str
) -> None:
    with gathered(using):
        for changed, pks in _changed(relation, instance, reverse, related, using):
            seen = Event(instance=changed, event=event, using=using, relation=relation.name, related=pks)
            found = index()
            fire(found.of(type(changed)), seen, found.snapshot)


def _changed(
    relation: Relation, instance: Model, reverse: bool, related: list[Any], using: str
) -> Iterator[tuple[Model, list[Any]]]:
    """Yield the objects whose field has changed, each with the other side's keys."""
    if not related:
        return
    if not reverse:
        yield instance, related
        return
    owners = relation.model._base_manager.using(using).in_bulk(related)
    for pk in related:
        if pk in owners:
            yield owners[pk], [instance.pk]


def _related(
    relation: Relation, instance: Model, reverse: bool, pks: Collection[Any] | None, using: str
) -> list[Any]:
    """Return the keys of the other side that are related now, of those given or of all."""
    own, other = relation.m2m_field_name(), relation.m2m_reverse_field_name()
    if reverse:
        own, other = other, own
    rows = _through(relation)._base_manager.using(using).filter(**{own: instance.pk})
    if pks is not None:
        rows = rows.filter(**{f"{other}__in": pks})
    return list(rows.values_list(other, flat=True))


def _pending(instance: Model) -> dict[tuple[str, bool], list[Any]]:
    """Return what was read of this object before a change that is still to be told of."""
    found: dict[tuple[str, bool], list[Any]] = vars(instance._state).setdefault("dispatch_related", {})
    return found


def _through(relation: Relation) -> type[Model]:
    """Return the model of the rows in between; Django sets it when the models are loaded."""
    return relation.remote_field.through  # type: ignore[return-value]
