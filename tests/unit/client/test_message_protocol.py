from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.serialization import dumps, loads

from dispatch.client.message_protocol import check_encodable, embed
from dispatch.core.json_values import plain, to_json
from dispatch.exceptions import InvalidArguments

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from(
        ["", "=", "~", "null", "no", "1:30", "0o7", "1_000", "2026-01-01", "<<", "- a", "\x85", "\ufeff"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def in_order(value):
    """A text that tells 1 from 1.0 and not in which order an object's keys came, which YAML sorts."""
    return json.dumps(value, sort_keys=True)


@given(st.sampled_from(["yaml", "msgpack"]), st.dictionaries(texts, values, max_size=4))
def test_what_a_worker_reads_is_what_it_would_read_of_json(serializer, kwargs):
    stored = json.loads(to_json(plain(kwargs)))
    check_encodable(serializer, [], stored, embed((), ()))
    content_type, encoding, written = dumps(([], stored, embed((), ())), serializer=serializer)
    read = loads(written, content_type, encoding, accept={content_type})
    assert in_order(read) == in_order([[], stored, embed((), ())])


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1])
def test_a_number_beyond_64_bits_is_refused_for_msgpack_and_for_no_other(number):
    for serializer in ("json", "yaml"):
        check_encodable(serializer, [number], {}, embed((), ()))
    with pytest.raises(InvalidArguments, match=r"cannot be written as msgpack: .*or as json"):
        check_encodable("msgpack", [number], {}, embed((), ()))


def test_what_a_link_brings_is_looked_at_too():
    with pytest.raises(InvalidArguments, match="msgpack"):
        check_encodable("msgpack", [], {}, embed([{"task": "a", "kwargs": {"number": 2**64}}], ()))


def test_what_is_nested_too_deep_for_a_library_is_refused():
    value: list = []
    for _ in range(400):
        value = [value]
    check_encodable("msgpack", value, {}, embed((), ()))
    with pytest.raises(InvalidArguments, match=r"cannot be written as yaml: .*recursion"):
        check_encodable("yaml", value, {}, embed((), ()))
