"""Why a trigger fires at an event, or does not: each thing that must hold, by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from dispatch.core import trigger_rules
from dispatch.models.triggers import EVENT_LABELS, OPERATOR_LABELS
from dispatch.triggers.code_triggers import CodeTrigger
from dispatch.triggers.event_values import Event
from dispatch.triggers.trigger_index import AnyTrigger


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold: what the object has, what is expected, and what would have to change."""

    what: str
    value: str
    expected: str
    holds: bool
    hint: str = ""


def reasons(trigger: AnyTrigger, seen: Event) -> Iterator[Check]:
    """Yield the event, the watched fields and each condition, in the order in which they are asked."""
    names = [event for event in trigger_rules.EVENTS if event in trigger.events]
    events = ", ".join(str(EVENT_LABELS[event]) for event in names)
    yield Check(_("event"), str(EVENT_LABELS[seen.event]), events, holds=seen.event in names)
    if (watched := _watched(trigger, seen)) is not None:
        yield watched
    if isinstance(trigger, CodeTrigger):
        if seen.event not in names:
            return  # its function is not written for this event
        yield from _when(trigger, seen)
    else:
        yield from (_condition(condition, seen) for condition in trigger.conditions)


def _when(trigger: CodeTrigger, seen: Event) -> Iterator[Check]:
    if trigger.when is not None:
        holds = trigger.holds(seen)
        name = getattr(trigger.when, "__name__", repr(trigger.when))
        yield Check(f"when: {name}", str(holds), "True", holds=holds)


def _watched(trigger: AnyTrigger, seen: Event) -> Check | None:
    """Return whether the event touches what the trigger watches, None where that does not matter."""
    if seen.event in trigger_rules.M2M_EVENTS and trigger.relations:
        names, value = trigger.relations, seen.relation
    elif seen.event == trigger_rules.UPDATED and trigger.watched:
        names = trigger.watched
        value = ", ".join(name for name in names if seen.changed(name)) or _("nothing changed")
    else:
        return None
    holds = trigger_rules.concerns(trigger, seen)
    hint = "" if holds else _("A save would have to change one of them.")
    return Check(_("watched fields"), value, ", ".join(names), holds=holds, hint=hint)


def _condition(condition: trigger_rules.Condition, seen: Event) -> Check:
    holds = condition.holds(seen)
    label = str(OPERATOR_LABELS.get(condition.operator, condition.operator))
    hint = "" if holds else _hint(condition, seen)
    return Check(
        f"{condition.field} {label}",
        _value(condition, seen),
        _expected(condition),
        holds=holds,
        hint=hint,
    )


def _value(condition: trigger_rules.Condition, seen: Event) -> str:
    new = _shown(seen.new(condition.field))
    if condition.operator not in trigger_rules.TRANSITIONS or seen.event != trigger_rules.UPDATED:
        return new
    if not seen.changed(condition.field):
        return _("%(value)s, unchanged") % {"value": new}
    return f"{_shown(seen.old(condition.field))} → {new}"


def _expected(condition: trigger_rules.Condition) -> str:
    if condition.operator == "changed":
        return ""
    if condition.operator == "changed_from_to":
        return " → ".join(map(_shown, condition.value))
    if condition.operator in trigger_rules.LIST_OPERATORS:
        return ", ".join(map(_shown, condition.value))
    if condition.operator == "is_null":
        return _("yes") if condition.value else _("no")
    return _shown(condition.value)


def _hint(condition: trigger_rules.Condition, seen: Event) -> str:
    """Say what would have to change for a transition to hold."""
    if condition.operator not in trigger_rules.TRANSITIONS:
        return ""
    if seen.event == trigger_rules.DELETED:
        return _("A delete changes no field.")
    if seen.event == trigger_rules.CREATED:
        return _("A created object held nothing before.") if "from" in condition.operator else ""
    if seen.event != trigger_rules.UPDATED:
        return _("A change of related objects changes no field.")
    old = seen.old(condition.field)
    wanted = (
        condition.value if condition.operator == "changed_from_to" else (condition.value, condition.value)
    )
    if "from" in condition.operator and old != wanted[0]:
        return _("It holds %(old)s now: only a save after the value has been %(from)s counts.") % {
            "old": _shown(old),
            "from": _shown(wanted[0]),
        }
    if "to" not in condition.operator.split("_"):
        return _("A save would have to change it from %(old)s.") % {"old": _shown(old)}
    if old == wanted[1]:
        return _("It holds %(old)s already: it would have to become another value first.") % {
            "old": _shown(old)
        }
    return _("A save would have to change it from %(old)s to %(to)s.") % {
        "old": _shown(old),
        "to": _shown(wanted[1]),
    }


def _shown(value: Any) -> str:
    """Return a value for people: a text in quotes, so that an empty one is seen, others as they are written."""
    if value is None:
        return "null"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 200 else f"{text[:199]}…"
