from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import re
import uuid
from unittest.mock import Mock

import pytest
from django.utils.functional import SimpleLazyObject, lazy
from django.utils.translation import gettext_lazy
from hypothesis import example, given
from hypothesis import strategies as st
from kombu.utils.json import loads as kombu_loads
from psycopg.types.range import Range

from dispatch.core.json_values import DEPTH, check_size, escape, plain, to_json
from dispatch.exceptions import InvalidArguments

KOMBU_ENVELOPE = {"__type__", "__value__"}

texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20
).filter(lambda value: not holds_envelope(value))


def label(value):
    """Name a case alike in each process that collects it."""
    return re.sub(r" at 0x\w+| id='\d+'", "", ascii(value))


class Mood(str, enum.Enum):  # noqa: UP042 - its str() is not its value, unlike a StrEnum's
    GOOD = "good"


class Level(enum.IntEnum):
    HIGH = 3


class Nested(enum.Enum):
    PAIR = ("a", Level.HIGH)


def holds_envelope(value):
    if isinstance(value, list):
        return any(map(holds_envelope, value))
    return isinstance(value, dict) and (
        value.keys() >= KOMBU_ENVELOPE or any(map(holds_envelope, value.values()))
    )


def identical(left, right):
    """Tell whether two values are equal, 1 and 1.0 and True being three values, and keys having an order."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(identical(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(identical, left, right))
    return repr(left) == repr(right)


@given(json_values)
@example({"b": 1, "a": 2})
@example([1e16, 10**16, 0.1, -0.0, 2**63, 5e-324])
def test_json_values_arrive_at_the_worker_as_they_were_given(value):
    assert identical(plain(value), value)
    assert identical(kombu_loads(to_json(plain(value))), value)


@given(json_values)
def test_converting_twice_changes_nothing(value):
    assert identical(plain(plain(value)), plain(value))


def test_keys_keep_the_order_in_which_they_were_given():
    assert to_json(plain({"z": 1, "a": {"y": 1, "b": 2}})) == '{"z":1,"a":{"y":1,"b":2}}'


def test_text_goes_on_the_wire_unescaped():
    assert to_json(plain("héllo ☃")) == '"héllo ☃"'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Mood.GOOD, "good"),
        (Level.HIGH, 3),
        (Nested.PAIR, ["a", 3]),
        ({Mood.GOOD: Mood.GOOD}, {"good": "good"}),
        (dt.date(2024, 2, 29), "2024-02-29"),
        (dt.time(1, 2, 3), "01:02:03"),
        (dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC), "2024-02-29T12:00:00+00:00"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("1.10"), "1.10"),
        (gettext_lazy("created"), "created"),
        (lazy(lambda: 3, int)(), 3),
        (SimpleLazyObject(lambda: "a"), "a"),
        (SimpleLazyObject(lambda: 3), 3),
        (SimpleLazyObject(lambda: 1.5), 1.5),
        (SimpleLazyObject(lambda: None), None),
        (SimpleLazyObject(lambda: True), True),
        (SimpleLazyObject(lambda: decimal.Decimal("1.10")), "1.10"),
        (SimpleLazyObject(lambda: Mood.GOOD), "good"),
        (SimpleLazyObject(lambda: {"a": [SimpleLazyObject(lambda: 3)]}), {"a": [3]}),
        ({SimpleLazyObject(lambda: "a"): {gettext_lazy("b"): 1}}, {"a": {"b": 1}}),
        (SimpleLazyObject(lambda: SimpleLazyObject(lambda: 3)), 3),
        (Range(1, 6), {"lower": 1, "upper": 6, "bounds": "[)"}),
        (Range(None, decimal.Decimal("1.5"), "(]"), {"lower": None, "upper": "1.5", "bounds": "(]"}),
        ([Range(empty=True)], [{"empty": True}]),
        ((1, (2,)), [1, [2]]),
        (type("Text", (str,), {})("a"), "a"),
        (type("Count", (int,), {"__repr__": lambda self: "x"})(7), 7),
    ],
    ids=label,
)
def test_values_that_python_has_and_json_has_not_become_text_or_arrays(value, expected):
    assert identical(json.loads(to_json(plain(value))), expected)


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ({"a": [1, float("nan")]}, "/kwargs/a/1"),
        ({"a": float("inf")}, "/kwargs/a"),
        ({"a": "x\0y"}, "/kwargs/a"),
        ({"a": "\ud800"}, "/kwargs/a"),
        ({"a": {"\udfff": 1}}, "/kwargs/a"),
        ({"a": {1: 2}}, "/kwargs/a"),
        ({"a": {"b": {1, 2}}}, "/kwargs/a/b"),
        ({"a": b"bytes"}, "/kwargs/a"),
        ({"a": dt.timedelta(1)}, "/kwargs/a"),
        ({"a": [decimal.Decimal("NaN")]}, "/kwargs/a/0"),
        ({"a": decimal.Decimal("-Infinity")}, "/kwargs/a"),
        ({"a/b~c": NotImplemented}, "/kwargs/a~1b~0c"),
        ({"a": [SimpleLazyObject(object)]}, "/kwargs/a/0"),
        ({"a": {SimpleLazyObject(lambda: 1): 2}}, "/kwargs/a"),
        ({"a": Mock(spec=str)}, "/kwargs/a"),
        ({"a": {"__type__": "uuid", "__value__": "x"}}, "/kwargs/a"),
    ],
    ids=label,
)
def test_what_a_worker_could_not_read_back_is_refused_with_its_json_pointer(value, pointer):
    with pytest.raises(InvalidArguments) as caught:
        plain(value, "/kwargs")
    assert caught.value.pointer == pointer
    assert pointer in str(caught.value)


def test_a_value_that_contains_itself_is_refused():
    endless = {}
    endless["again"] = [endless]
    with pytest.raises(InvalidArguments, match="contains itself"):
        plain(endless)


def nested(levels, leaf=0):
    return leaf if not levels else [nested(levels - 1, leaf)]


@given(st.integers(1, DEPTH), st.booleans())
def test_values_are_nested_as_deep_as_is_allowed_and_no_deeper(levels, by_name):
    value = {"a": nested(levels - 1)} if by_name else nested(levels)
    assert identical(plain(value), value)
    with pytest.raises(InvalidArguments, match=f"more than {DEPTH} levels"):
        plain(nested(DEPTH - levels, leaf=nested(levels + 1)))


def test_a_float_of_a_subclass_is_sent_as_the_number_that_it_is():
    [number] = plain([type("Metres", (float,), {"__repr__": lambda self: "1.5 m"})(1.5)])
    assert type(number) is float


def test_arguments_may_be_as_long_as_is_allowed_in_bytes_and_no_longer():
    args, kwargs = to_json(["é"]), to_json({"text": "☃" * 10})
    size = len(args.encode()) + len(kwargs.encode())
    check_size(args, kwargs, size)
    with pytest.raises(
        InvalidArguments, match=f"take {size} bytes .* allows {size - 1}.* /kwargs/text"
    ) as caught:
        check_size(args, kwargs, size - 1)
    assert caught.value.pointer == "/kwargs/text"
    assert "☃" not in str(caught.value)


def test_the_largest_positional_argument_is_named_too():
    with pytest.raises(InvalidArguments) as caught:
        check_size('["a","bbbb"]', "{}", 1)
    assert caught.value.pointer == "/args/1"


def test_a_number_too_long_for_a_json_reader_is_refused():
    with pytest.raises(InvalidArguments, match="too many digits") as caught:
        plain({"a": [10**5000]}, "/kwargs")
    assert caught.value.pointer == "/kwargs/a/0"


def test_the_longest_whole_number_that_is_accepted_can_be_written_and_read():
    number = 2**14_000 - 1
    assert json.loads(to_json(plain(number))) == number


def test_a_mapping_that_kombu_would_decode_is_refused_because_kombu_does_decode_it():
    envelope = {"__type__": "uuid", "__value__": {"hex": uuid.UUID(int=1).hex}}
    assert kombu_loads(json.dumps(envelope)) == uuid.UUID(int=1)
    with pytest.raises(InvalidArguments, match="__type__"):
        plain(envelope)


@given(st.text())
def test_a_pointer_step_can_be_read_back(token):
    assert "/" not in escape(token)
    assert escape(token).replace("~1", "/").replace("~0", "~") == token
