from __future__ import annotations

import datetime as dt
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.core.call import OWN_HEADERS, STORED, Call, due, expiry
from dispatch.core.routing import Target
from dispatch.exceptions import InvalidOption, SendError

NOW = dt.datetime(2024, 6, 1, 12, tzinfo=dt.UTC)
NAIVE = dt.datetime(2024, 6, 1)  # noqa: DTZ001 - that is what is refused
SECONDS = ("countdown", "expires", "time_limit", "soft_time_limit")
TEXTS = ("queue", "exchange", "routing_key", "serializer", "compression", "shadow", "reply_to")

seconds = st.floats(0, 1e8) | st.integers(0, 10**8)
moments = st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001


@pytest.mark.parametrize("option", SECONDS)
@pytest.mark.parametrize("value", [-1, -0.001, float("nan"), float("inf"), 1e10, "5", True, [5]], ids=repr)
def test_seconds_must_be_a_number_from_zero_up(option, value):
    with pytest.raises(InvalidOption, match=f"^{option} must be a number of seconds"):
        Call("t", **{option: value})


@pytest.mark.parametrize("option", SECONDS)
@given(value=seconds)
def test_any_sensible_number_of_seconds_is_accepted(option, value):
    assert getattr(Call("t", **{option: value}), option) == value


@pytest.mark.parametrize("option", ["eta", "expires"])
def test_a_moment_needs_a_timezone_and_the_error_says_how_to_get_one(option):
    with pytest.raises(InvalidOption, match=rf"{option} 2024-06-01 00:00:00 has no timezone.*make_aware"):
        Call("t", **{option: NAIVE})


@pytest.mark.parametrize("value", ["2024-06-01T00:00:00Z", 5, dt.date(2024, 6, 1)], ids=repr)
def test_an_eta_must_be_a_datetime(value):
    with pytest.raises(InvalidOption, match="eta must be a datetime"):
        Call("t", eta=value)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"eta": NOW, "countdown": 1}, "eta and countdown"),
        ({"eta": NOW, "countdown": 0}, "eta and countdown"),
        ({"queue": "q", "exchange": "e"}, "queue and exchange"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, complaint):
    with pytest.raises(InvalidOption, match=complaint):
        Call("t", **options)


@pytest.mark.parametrize("value", [-1, 256, 3.0, "3", True], ids=repr)
def test_a_priority_is_a_whole_number_that_amqp_can_carry(value):
    with pytest.raises(InvalidOption, match="priority must be a whole number from 0 to 255"):
        Call("t", priority=value)


@pytest.mark.parametrize("value", ["abc", b"abc", bytearray(b"abc"), {"a": 1}, {1}, 5], ids=repr)
def test_args_must_be_a_list_or_a_tuple(value):
    with pytest.raises(InvalidOption, match="args must be a list or a tuple"):
        Call("t", value)


@pytest.mark.parametrize("option", ["kwargs", "headers"])
@pytest.mark.parametrize("value", [[("a", 1)], "a", 5], ids=repr)
def test_kwargs_and_headers_must_be_dictionaries(option, value):
    with pytest.raises(InvalidOption, match=f"{option} must be a dictionary"):
        Call("t", **{option: value})


@pytest.mark.parametrize("value", ["", "abc", 5, b"x" * 16], ids=repr)
def test_a_task_id_must_be_a_uuid(value):
    with pytest.raises(InvalidOption, match="is not a UUID"):
        Call("t", task_id=value)


@given(st.uuids())
def test_a_task_id_may_be_a_uuid_or_its_text(task_id):
    assert Call("t", task_id=task_id).task_id == task_id
    assert uuid.UUID(Call("t", task_id=str(task_id)).task_id) == task_id


@pytest.mark.parametrize("option", TEXTS)
@pytest.mark.parametrize("value", [5, b"x", ["x"]], ids=repr)
def test_names_must_be_texts(option, value):
    with pytest.raises(InvalidOption, match=f"{option} must be a text"):
        Call("t", **{option: value})


@pytest.mark.parametrize("option", ["name", *TEXTS])
@pytest.mark.parametrize("value", ["a\x00b", "a\ud800"], ids=ascii)
def test_names_hold_only_what_a_database_stores(option, value):
    with pytest.raises(InvalidOption, match=f"{option} holds a character that no database stores"):
        Call(**{"name": "t", option: value})


@pytest.mark.parametrize("option", ["stamps", "link", "link_error"])
@pytest.mark.parametrize("value", ["a\x00b", "a\ud800"], ids=ascii)
def test_what_is_stored_beside_the_arguments_holds_only_what_a_database_stores(option, value):
    given = {"tenant": value} if option == "stamps" else {"task": "next", "kwargs": {"a": value}}
    with pytest.raises(SendError, match="which no JSON reader accepts"):
        Call("t", **{option: given}).options()


@pytest.mark.parametrize("header", sorted(OWN_HEADERS))
def test_celerys_own_headers_are_refused(header):
    with pytest.raises(InvalidOption, match=f"header '{header}' is Celery's own"):
        Call("t", headers={"trace": "1", header: "x"})


@pytest.mark.parametrize(
    "shape",
    [
        {"kwargs": [("token", "S3CRET")]},
        {"kwargs": "S3CRET"},
        {"args": "S3CRET"},
        {"headers": ["S3CRET"]},
        {"link": {"kwargs": {"token": "S3CRET"}}},
        {"link": [["S3CRET"]]},
    ],
    ids=str,
)
def test_no_value_is_quoted_where_the_shape_is_wrong(shape):
    with pytest.raises(InvalidOption) as refused:
        Call("t", **shape).options()
    assert "S3CRET" not in str(refused.value)


def test_the_tasks_name_must_be_a_text():
    with pytest.raises(InvalidOption, match="name must be a text"):
        Call(len)


def test_whether_to_ignore_the_result_is_yes_or_no():
    with pytest.raises(InvalidOption, match="ignore_result must be True, False or None"):
        Call("t", ignore_result="no")


def test_an_option_that_does_not_exist_is_a_type_error():
    with pytest.raises(TypeError, match="que"):
        Call("t", que="llm")


def test_a_refusal_can_be_caught_as_the_error_of_any_send():
    with pytest.raises(SendError):
        Call("t", priority=256)


def test_options_left_out_are_not_stored_and_false_is_not_left_out():
    assert Call("t").options() == {}
    assert Call("t", ignore_result=False, time_limit=0).options() == {"ignore_result": False, "time_limit": 0}


def test_every_stored_option_is_one_that_a_call_takes():
    values = {"ignore_result": True, "time_limit": 1, "soft_time_limit": 1, "delivery_mode": 1}
    values |= {"compression": "gzip"}
    options = {name: values.get(name, "text") for name in STORED}
    assert Call("t", **options).options() == options


def test_a_calls_target_is_what_it_says_of_the_destination():
    assert Call("t", exchange="e", routing_key="k", priority=3).target == Target(None, "e", "k", 3)


@given(seconds, moments)
def test_a_countdown_counts_from_now(countdown, now):
    assert due(countdown, None, now) == now + dt.timedelta(seconds=countdown)


@given(moments, moments)
def test_an_eta_is_the_moment_itself(eta, now):
    assert due(None, eta, now) == eta


@given(seconds, moments)
def test_expires_in_seconds_counts_from_now(expires, now):
    assert expiry(expires, now) == now + dt.timedelta(seconds=expires)


def test_expires_may_be_a_moment_and_left_out_means_never():
    assert expiry(NOW, NOW) == NOW
    assert expiry(None, NOW) is None


def test_expires_zero_is_now_not_never():
    assert expiry(0, NOW) == NOW


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"link": 5}, "link must be a task's name"),
        ({"stamps": {"eta": "x"}}, "stamp 'eta' has the name of an option"),
        ({"exchange": "media", "routing_key": "é" * 128}, "longer than the 255 bytes"),
    ],
)
def test_what_only_the_broker_or_the_worker_would_refuse_is_refused_at_once(options, complaint):
    with pytest.raises(InvalidOption, match=complaint):
        Call("t", **options)


@pytest.mark.parametrize("value", [True, False, 0, 3, "1"], ids=repr)
def test_a_delivery_mode_is_one_or_two(value):
    with pytest.raises(InvalidOption, match="delivery_mode must be 1"):
        Call("t", delivery_mode=value)


@pytest.mark.parametrize("name", [None, 1, "a\0"], ids=repr)
def test_a_name_that_is_no_text_is_refused(name):
    with pytest.raises(InvalidOption, match="name"):
        Call(name)
