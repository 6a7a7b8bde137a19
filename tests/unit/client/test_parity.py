"""The message is what Celery's own ``send_task`` would have published, field by field."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from celery import Celery
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st
from kombu import VERSION

from dispatch.client.publisher import Publisher
from dispatch.conf import Broker
from dispatch.core.call import OWN_HEADERS, Call
from dispatch.core.json_values import plain, to_json
from dispatch.core.message import Message, Shared, represent
from dispatch.core.routing import Queue, RoutingTable, Target
from tests.support.brokers import read_all

#: What may differ: who sent it, where an answer would go, and what logs show (which dispatch masks).
MAY_DIFFER = {"origin", "argsrepr", "kwargsrepr"}
OWN_PROPERTIES = {"reply_to", "delivery_tag", "expiration"}
TABLE = RoutingTable([Queue("llm", "default")], [], [], None)

#: Before 5.7 kombu has zstd by another module.
COMPRESSIONS = ["gzip", "zlib", "bzip2", "lzma", *(["zstd"] if VERSION >= (5, 7) else [])]

celery = Celery(broker="memory://", set_as_current=False, fixups=[])
publisher = Publisher(Broker("default", "memory://"))

texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
moments = st.datetimes(
    dt.datetime(2100, 1, 1),  # noqa: DTZ001 - hypothesis adds the timezone
    dt.datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=5, minutes=30))]),
)
options = st.fixed_dictionaries(
    {},
    optional={
        "eta": moments,
        "expires": moments,
        "time_limit": st.integers(1, 10**6) | st.floats(0.1, 1e6),
        "soft_time_limit": st.integers(1, 10**6),
        "ignore_result": st.booleans(),
        "serializer": st.sampled_from(["json", "yaml"]),
        "compression": st.sampled_from(COMPRESSIONS),
        "shadow": texts,
        "delivery_mode": st.sampled_from([1, 2]),
        "headers": st.dictionaries(st.sampled_from(["trace", "tenant", "shadow"]), texts, max_size=2),
    },
)


def celerys(name, args, kwargs, task_id, priority, options):
    given = options if priority is None else {**options, "priority": priority}
    celery.send_task(name, args, kwargs, task_id=task_id, queue="llm", **given)
    [found] = read_all("memory://", "llm")
    return found


def ours(name, args, kwargs, task_id, priority, options):
    shared = {key: value for key, value in options.items() if key != "expires"}
    message = Message(
        Shared(task=name, **shared),
        task_id=task_id,
        args=to_json(plain(args)),
        kwargs=to_json(plain(kwargs)),
        args_repr=represent(args),
        kwargs_repr=represent(kwargs),
        expires=options.get("expires"),
    )
    publisher.publish(message, TABLE.destination(Target(queue="llm", priority=priority)), TABLE)
    [found] = read_all("memory://", "llm")
    return found


def without(fields, mapping):
    return {key: value for key, value in mapping.items() if key not in fields}


def headers(message):
    """The headers that must not differ; an unset ``ignore_result`` is False in Celery 5.5 and None in later ones."""
    unset = {"ignore_result": message.headers["ignore_result"] or None}
    return without(MAY_DIFFER, message.headers) | unset


@given(
    args=st.lists(values, max_size=3),
    kwargs=st.dictionaries(texts, values, max_size=3),
    task_id=st.uuids().map(str),
    priority=st.none() | st.integers(0, 255),
    options=options,
)
def test_a_message_equals_celerys_own(args, kwargs, task_id, priority, options):
    call = ("worker.tasks.llm.summarize_note", args, kwargs, task_id, priority, options)
    with override_settings(
        DISPATCH={"BROKERS": {"default": {"URL": "memory://"}}, "SERIALIZERS": ["json", "yaml"]}
    ):
        expected, found = celerys(*call), ours(*call)
    assert found.headers.keys() == expected.headers.keys()
    assert headers(found) == headers(expected)
    assert found.properties.keys() == expected.properties.keys()
    assert without(OWN_PROPERTIES, found.properties) == without(OWN_PROPERTIES, expected.properties)
    assert (found.content_type, found.content_encoding) == (expected.content_type, expected.content_encoding)
    assert found.delivery_info == expected.delivery_info
    for message in (expected, found):
        message.accept = {"application/json", "application/x-yaml"}
    assert repr(found.decode()) == repr(expected.decode())


def test_a_message_lives_as_long_in_the_broker_as_celerys_own():
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    call = ("tasks.a", [], {}, "6c1e", None, {"expires": expires})
    left = [int(published.properties["expiration"]) for published in (celerys(*call), ours(*call))]
    assert left[0] == pytest.approx(left[1], abs=60_000)  # milliseconds


SIGNATURE = celery.signature("tasks.next", args=(1,), kwargs={"a": "b"}, options={"queue": "later"})


@pytest.mark.parametrize(
    ("theirs", "given"),
    [
        ({"link": celery.signature("tasks.next")}, {"link": "tasks.next"}),
        ({"link": SIGNATURE}, {"link": dict(SIGNATURE)}),
        (
            {"link": [SIGNATURE, celery.signature("tasks.next", immutable=True)]},
            {"link": [dict(SIGNATURE), {"task": "tasks.next", "immutable": True}]},
        ),
        ({"link_error": celery.signature("tasks.failed")}, {"link_error": ["tasks.failed"]}),
        ({"stamped_headers": ["tenant"], "tenant": "a"}, {"stamps": {"tenant": "a"}}),
    ],
    ids=["name", "signature", "several", "link_error", "stamps"],
)
def test_links_and_stamps_are_written_as_celery_writes_them(theirs, given):
    expected = celerys("tasks.a", [1], {}, "6c1e", None, theirs)
    found = ours("tasks.a", [1], {}, "6c1e", None, Call("tasks.a", **given).options())
    assert headers(found) == headers(expected)
    assert json.loads(found.body) == json.loads(expected.body)


def test_no_header_of_protocol_2_can_be_replaced_by_a_caller():
    assert celerys("tasks.a", [], {}, "6c1e", None, {}).headers.keys() <= OWN_HEADERS


def test_the_comparison_sees_every_field_of_protocol_2():
    headers = celerys("tasks.a", [], {}, "6c1e", None, {}).headers
    assert headers.keys() == {
        "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id",
        "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers",
        "stamps",
    }  # fmt: skip
