from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.core.rules import EVENTS, OPERATORS, Argument, Condition, Trigger
from dispatch.exceptions import ConfigurationError

ORDERED = {"less": "<", "at_most": "<=", "greater": ">", "at_least": ">="}
values = st.none() | st.integers(-3, 3)
numbers = st.integers(-3, 3)


def holds(operator, value, expected):
    return Condition("field", operator, expected).holds({"field": value}.__getitem__)


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


def test_arguments_come_from_a_field_a_constant_or_the_event():
    trigger = Trigger(
        "t",
        "notes.note",
        frozenset(EVENTS),
        "task",
        arguments={
            "a": Argument("field", "title"),
            "b": Argument("constant", ["title"]),
            "c": Argument("event"),
        },
    )
    assert trigger.kwargs("updated", {"title": "Hello"}.__getitem__) == {
        "a": "Hello",
        "b": ["title"],
        "c": "updated",
    }


@given(st.sets(st.sampled_from(EVENTS)), st.sampled_from(EVENTS), st.lists(st.booleans(), max_size=3))
def test_a_trigger_fires_on_its_events_when_every_condition_holds(events, event, outcomes):
    conditions = tuple(Condition("field", "equals", outcome) for outcome in outcomes)
    trigger = Trigger("t", "notes.note", frozenset(events), "task", conditions)
    assert trigger.fires(event, lambda name: True) == (event in events and all(outcomes))


def test_a_trigger_that_cannot_work_says_so_when_its_event_comes_and_not_before():
    trigger = Trigger("t", "notes.note", frozenset({"created"}), "task", problem="No field x.")
    assert not trigger.fires("updated", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"No field x\. Correct the trigger in the admin\."):
        trigger.fires("created", lambda name: None)
