"""Which messages an assertion means, and how it tells the difference."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import uuid
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.core.json_values import plain
from dispatch.core.routing import Target
from dispatch.core.schema.parameters import Parameters
from dispatch.registry import Task
from dispatch.registry.cache import EMPTY
from dispatch.testing import expectations
from dispatch.testing.expectations import Wanted, equal
from dispatch.testing.frozen_registry import Additions, frozen
from dispatch.testing.sent_messages import Sent

KEY = uuid.UUID(int=7)
SENT = Sent(
    id=uuid.UUID(int=1),
    task="a.task",
    args=[1],
    kwargs={"note_id": str(KEY), "text": "Hello."},
    origin="trigger",
    trigger="T",
    model="notes.note",
    object_pk="1",
    queue="llm",
    delay=0,
    options={},
    headers={},
    database="default",
    error="",
    shown="a.task(…)",
)


@pytest.fixture(autouse=True)
def no_database():
    """These are texts and values: the registry holds what a test adds."""
    additions = Additions()
    with frozen(lambda _: additions.through(lambda: EMPTY)):
        yield additions


def differences(**wanted):
    return list(Wanted("a.task", **wanted).differences(SENT))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(json_values)
def test_a_value_equals_itself_as_it_was_sent(value):
    assert equal(value, value)


@given(st.uuids() | st.dates() | st.times() | st.decimals(allow_nan=False, allow_infinity=False))
def test_what_json_does_not_have_equals_what_became_of_it(value):
    assert equal({"a": (value,)}, plain({"a": (value,)}))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (True, 1),
        (1, True),
        (0, False),
        ("1", 1),
        (1, "1"),
        ([1], [1, 2]),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, {"a": 1}),
        ({}, []),
        ([], {}),
        (object(), "x"),
        (dt.date(2026, 1, 2), "2026-01-03"),
    ],
)
def test_what_the_worker_would_tell_apart_is_told_apart(wanted, found):
    assert not equal(wanted, found)


def test_objects_that_compare_in_their_own_way_may_stand_anywhere():
    assert equal({"a": [mock.ANY, 1], "b": pytest.approx(0.3)}, {"a": [True, 1], "b": 0.1 + 0.2})


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"args": (1,)},
        {"kwargs": {"note_id": KEY, "text": "Hello."}},
        {"containing": {"note_id": KEY}},
        {"origin": "trigger", "trigger": "T", "queue": "llm"},
    ],
)
def test_what_fits_does_not_differ(wanted):
    assert differences(**wanted) == []
    assert Wanted("a.task", **wanted).fits(SENT)
    assert not Wanted("another", **wanted).fits(SENT)


@pytest.mark.parametrize(
    ("wanted", "difference"),
    [
        ({"args": []}, "args are [1], expected []"),
        ({"kwargs": {"note_id": KEY}}, "text= was not expected"),
        ({"containing": {"lang": "en"}}, "lang= is missing"),
        ({"containing": {"text": "Bye."}}, "text= is 'Hello.', expected 'Bye.'"),
        ({"containing": {"text": decimal.Decimal(1)}}, "text= is 'Hello.', expected Decimal('1')"),
        ({"origin": "code"}, "origin is 'trigger', expected 'code'"),
        ({"trigger": "U"}, "trigger is 'T', expected 'U'"),
        ({"queue": "stt"}, "queue is 'llm', expected 'stt'"),
    ],
)
def test_each_difference_is_told(wanted, difference):
    assert differences(**wanted) == [difference]


def test_the_object_is_compared_by_model_and_key():
    from project.notes.models import Note

    other = Note(pk=KEY)
    assert differences(instance=other) == [f"its object is notes.note 1, expected notes.note {KEY}"]
    same = dataclasses.replace(SENT, object_pk=str(KEY))
    assert Wanted("a.task", instance=other).fits(same)


def test_values_of_sensitive_parameters_are_not_shown(no_database):
    no_database.add(Task("a.task", Parameters({}), Target(), {}, frozenset(["text"])))
    wanted = Wanted("a.task", containing={"text": "hunter2"})
    told = expectations.not_sent(wanted, 1, [SENT])
    assert "hunter2" not in told
    assert "Hello." not in told
    assert "text= is a sensitive value, not shown" in told


def test_the_closest_message_is_the_one_with_the_fewest_differences():
    other = dataclasses.replace(SENT, kwargs={})
    wanted = Wanted("a.task", kwargs={"note_id": KEY, "text": "Bye."})
    told = expectations.not_sent(wanted, 1, [other, SENT])
    assert "differs in this: text= is 'Hello.', expected 'Bye.'." in told


def test_a_misspelt_name_gets_close_matches():
    assert "(did you mean 'a.task'?)" in expectations.not_sent(Wanted("a.tsk"), 1, [SENT, SENT])


def test_how_many_were_expected_and_found_is_told():
    assert expectations.not_sent(Wanted("a.task"), 1, [SENT, SENT]).startswith(
        "Expected 1 message of task 'a.task', found 2"
    )
    assert expectations.not_sent(Wanted("b"), None, []).startswith("Expected at least 1 message of task 'b'")


def test_a_long_list_is_cut():
    told = expectations.with_all("Wrong.", [SENT] * 30, [])
    assert told.count("a.task") == expectations.MOST_SHOWN
    assert told.endswith("… and 10 more")
