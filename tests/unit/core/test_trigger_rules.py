from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.core.call import Call
from dispatch.core.routing import Target
from dispatch.core.trigger_rules import (
    CREATED,
    DELETED,
    EVENTS,
    M2M_EVENTS,
    OPERATORS,
    SOURCES,
    TRANSITIONS,
    UPDATED,
    Argument,
    Condition,
    Trigger,
)
from dispatch.exceptions import ConfigurationError, InvalidOption

ORDERED = {"less": "<", "at_most": "<=", "greater": ">", "at_least": ">="}
NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
values = st.none() | st.integers(-3, 3)
numbers = st.integers(-3, 3)
events = st.sampled_from(EVENTS)


@dataclass
class Seen:
    """An event over two plain dictionaries."""

    event: str = UPDATED
    now: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    relation: str = ""
    related: tuple[int, ...] = ()
    at: dt.datetime = NOON

    def new(self, name):
        return self.now.get(name)

    def old(self, name):
        return None if self.event == CREATED else self.before.get(name)

    def changed(self, name):
        return self.event == CREATED or (
            self.event == UPDATED and self.now.get(name) != self.before.get(name)
        )

    def natural_key(self):
        return ("a", 1)


def holds(operator, value, expected):
    return Condition("field", operator, expected).holds(Seen(now={"field": value}))


def trigger(*conditions, events=EVENTS, **rest):
    return Trigger("t", "notes.note", frozenset(events), "task", conditions, **rest)


@given(values, values)
def test_equality_is_pythons_and_none_equals_only_none(value, expected):
    assert holds("equals", value, expected) == (value == expected)
    assert holds("not_equals", value, expected) == (value != expected)


@given(values, st.lists(values).map(tuple))
def test_membership_and_its_opposite_never_agree(value, expected):
    assert holds("in", value, expected) == (value in expected)
    assert holds("not_in", value, expected) != holds("in", value, expected)


@pytest.mark.parametrize("operator", ORDERED)
@given(value=numbers, expected=numbers)
def test_order_is_that_of_the_fields_type(operator, value, expected):
    assert holds(operator, value, expected) is eval(f"{value} {ORDERED[operator]} {expected}")


@pytest.mark.parametrize("operator", [*ORDERED, "contains", "starts_with"])
def test_none_is_in_no_order_and_contains_nothing(operator):
    assert holds(operator, None, "None") is False


@given(st.text(max_size=5), st.text(max_size=2))
def test_text_operators_are_those_of_python(value, expected):
    assert holds("contains", value, expected) == (expected in value)
    assert holds("starts_with", value, expected) == value.startswith(expected)


def test_text_operators_read_other_types_as_text():
    assert holds("starts_with", 2024, "20")
    assert holds("contains", 2024, "02")


@given(values, st.booleans())
def test_is_null_compares_with_yes_or_no(value, expected):
    assert holds("is_null", value, expected) == ((value is None) == expected)


def test_the_operators_are_exactly_these():
    """A new one needs a label in the admin and a line in the docs."""
    assert set(OPERATORS) == {
        "equals", "not_equals", "in", "not_in", "less", "at_most", "greater", "at_least", "contains", "starts_with",
        "is_null",
    }  # fmt: skip


def test_the_transitions_are_exactly_these():
    assert set(TRANSITIONS) == {"changed", "changed_from", "changed_to", "changed_from_to"}


@given(values, values, values, values)
def test_transitions_compare_what_was_with_what_is(old, new, first, second):
    seen = Seen(now={"f": new}, before={"f": old})
    held = {
        name: Condition("f", name, (first, second) if name == "changed_from_to" else first).holds(seen)
        for name in TRANSITIONS
    }
    assert held == {
        "changed": old != new,
        "changed_from": old != new and old == first,
        "changed_to": old != new and new == first,
        "changed_from_to": old != new and (old, new) == (first, second),
    }


@given(values, values)
def test_a_created_object_has_changed_to_what_it_holds_but_from_nothing_not_even_null(new, expected):
    seen = Seen(event=CREATED, now={"f": new})
    assert Condition("f", "changed").holds(seen)
    assert Condition("f", "changed_to", expected).holds(seen) == (new == expected)
    assert not Condition("f", "changed_from", None).holds(seen)
    assert not Condition("f", "changed_from_to", (None, new)).holds(seen)


@given(values, values)
def test_nothing_of_a_deleted_object_has_changed(old, new):
    seen = Seen(event=DELETED, now={"f": new}, before={"f": old})
    assert not any(Condition("f", name, (old, new)).holds(seen) for name in TRANSITIONS)


def test_arguments_come_from_each_of_the_sources():
    arguments = {source: Argument(source, "title") for source in SOURCES}
    seen = Seen(now={"title": "Hello", "pk": 7}, before={"title": "Hi"}, related=(1, 2))
    assert trigger(arguments=arguments).kwargs(seen) == {
        "field": "Hello",
        "old": "Hi",
        "pk": 7,
        "natural_key": ["a", 1],
        "related": [1, 2],
        "timestamp": NOON,
        "event": "updated",
        "constant": "title",
    }


@given(st.sets(events), events, st.lists(st.booleans(), max_size=3))
def test_a_trigger_fires_on_its_events_when_every_condition_holds(listened, event, outcomes):
    conditions = tuple(Condition("field", "equals", outcome) for outcome in outcomes)
    seen = Seen(event=event, now={"field": True})
    assert trigger(*conditions, events=listened).fires(seen) == (event in listened and all(outcomes))


@given(st.dictionaries(st.sampled_from("abc"), numbers), st.dictionaries(st.sampled_from("abc"), numbers))
def test_an_update_fires_if_any_watched_field_has_changed(before, now):
    seen = Seen(before=before, now=now)
    assert trigger(watched=("a", "b")).fires(seen) == (seen.changed("a") or seen.changed("b"))


@pytest.mark.parametrize("event", [CREATED, DELETED])
def test_watched_fields_say_nothing_of_other_events(event):
    assert trigger(watched=("a",)).fires(Seen(event=event))


@pytest.mark.parametrize("event", M2M_EVENTS)
def test_an_event_of_related_objects_fires_if_its_field_is_watched_or_none_is(event):
    assert trigger(relations=("tags",)).fires(Seen(event=event, relation="tags"))
    assert not trigger(relations=("tags",)).fires(Seen(event=event, relation="readers"))
    assert trigger(watched=("a",)).fires(Seen(event=event, relation="readers"))


def test_a_trigger_knows_which_old_values_it_needs():
    found = trigger(
        Condition("a", "changed"),
        Condition("b", "equals", 1),
        arguments={"x": Argument("old", "c"), "y": Argument("field", "d")},
        watched=("e",),
    )
    assert (found.compared, found.carried, found.reads) == ({"a", "e"}, {"c"}, {"a", "b", "c", "d"})


def test_a_trigger_whose_options_cannot_be_used_says_so_when_it_fires_and_not_before():
    broken = trigger(Condition("field", "equals", 1), countdown=-1)
    assert not broken.fires(Seen(now={"field": 2}))
    with pytest.raises(InvalidOption, match="countdown must be a number"):
        assert broken.sends


def test_a_trigger_knows_the_call_that_it_makes():
    found = trigger(target=Target(queue="llm", priority=3), countdown=5)
    assert found.sends == Call(found.task, queue="llm", priority=3, countdown=5)


def test_a_trigger_that_cannot_work_says_so_when_its_event_comes_and_not_before():
    broken = trigger(events=["created"], problem="No field x.")
    assert not broken.fires(Seen(event="updated"))
    with pytest.raises(ConfigurationError, match=r"No field x\. Correct the trigger in the admin\."):
        broken.fires(Seen(event="created"))
