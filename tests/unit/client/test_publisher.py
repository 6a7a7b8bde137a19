from __future__ import annotations

import datetime as dt
import json
from unittest.mock import Mock

import kombu
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.exceptions import OperationalError

from dispatch.client import celery_apps
from dispatch.client import publisher as publishing
from dispatch.client.broker_connection import Attempt
from dispatch.client.publisher import Fate, Parcel, Publisher
from dispatch.conf import Broker
from dispatch.core.message import Message, Shared
from dispatch.core.routing import Queue, RoutingTable, Target
from dispatch.exceptions import BrokerUnavailable, DeliveryUnknown, MessageRefused, QueueUnavailable
from tests.support.brokers import read_all

MEMORY = Broker("default", "memory://")
TABLE = RoutingTable([Queue("llm", "default")], [], [], "llm")
DESTINATION = TABLE.destination(Target(queue="llm"))
SECRET = "s3cr3t"
#: Nothing listens there, so that a connection is refused at once.
NOWHERE = "127.0.0.1:1"


def message(**columns):
    own = {"task_id": "6c1e", "args": "[]", "kwargs": "{}", "args_repr": "", "kwargs_repr": ""}
    own |= {name: columns.pop(name) for name in Message._fields if name in columns}
    return Message(Shared(task="tasks.a", **columns), **own)


def publish(broker=MEMORY, **columns):
    Publisher(broker).publish(message(**columns), DESTINATION, TABLE)


def published(**columns):
    publish(**columns)
    [found] = read_all("memory://", "llm")
    return found


def test_the_json_texts_are_put_on_the_wire_letter_by_letter():
    found = published(args='[1e16, 10000000000000000, 1.0, "é"]', kwargs='{"z":1,"a":2}')
    assert bytes(found.body).decode() == (
        '[[1e16, 10000000000000000, 1.0, "é"], {"z":1,"a":2}, '
        '{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'
    )
    assert (found.content_type, found.content_encoding) == ("application/json", "utf-8")


def test_the_reprs_are_those_of_the_message_and_not_celerys():
    headers = published(kwargs='{"token": "x"}', args_repr="('***',)", kwargs_repr="{'token': '***'}").headers
    assert (headers["argsrepr"], headers["kwargsrepr"]) == ("('***',)", "{'token': '***'}")


def test_a_yaml_message_holds_the_same_values(broker_settings):
    broker_settings("memory://", SERIALIZERS=["json", "yaml"])
    found = published(serializer="yaml", args='[1, "é"]', kwargs='{"a": null}')
    assert found.content_type == "application/x-yaml"
    found.accept = {found.content_type}
    assert found.decode()[:2] == [[1, "é"], {"a": None}]


@pytest.mark.parametrize("level", ["message", "broker"])
def test_a_message_is_never_pickled(level):
    broker = (
        Broker("default", "memory://", conf={"task_serializer": "pickle"}) if level == "broker" else MEMORY
    )
    with pytest.raises(MessageRefused, match="pickle"):
        publish(broker, serializer="pickle" if level == "message" else None)


def test_what_a_message_does_not_say_its_broker_does(broker_settings):
    broker_settings("memory://", SERIALIZERS=["json", "yaml", "msgpack"])
    own = {"task_serializer": "yaml", "task_compression": "gzip"}
    broker = Broker("default", "memory://", conf=own)
    publish(broker)
    publish(broker, serializer="msgpack", compression="bzip2")
    found = [(each.content_type, each.headers["compression"]) for each in read_all("memory://", "llm")]
    assert found == [
        ("application/x-yaml", "application/x-gzip"),
        ("application/x-msgpack", "application/x-bz2"),
    ]


def test_expired_messages_are_given_no_time():
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    assert published(expires=past).properties["expiration"] == "0"


@pytest.fixture
def opened(monkeypatch):
    """The brokers to which a connection was opened, in order."""
    brokers, connect = [], celery_apps.connection
    monkeypatch.setattr(celery_apps, "connection", lambda broker: brokers.append(broker) or connect(broker))
    return brokers


def test_a_publisher_holds_one_connection_until_it_is_closed(opened):
    publisher = Publisher(MEMORY)
    for _ in range(3):
        publisher.publish(message(), DESTINATION, TABLE)
    assert len(opened) == 1
    publisher.close()
    publisher.close()
    publisher.publish(message(), DESTINATION, TABLE)
    assert len(opened) == 2
    assert len(read_all("memory://", "llm")) == 4


# -- batches ------------------------------------------------------------------

sizes = st.integers(0, 2 * publishing.BATCH_BYTES) | st.integers(0, 9)


@given(st.lists(st.tuples(sizes, st.booleans()), max_size=8), st.integers(1, 4))
def test_batches_hold_every_message_once_in_order_and_keep_to_their_bounds(drawn, limit):
    given = [Parcel(message(args="x" * size), DESTINATION, alone) for size, alone in drawn]
    waiting, parts = [Attempt(parcel) for parcel in given], []
    while waiting:
        parts.append(publishing._first(waiting, limit))
        waiting = waiting[len(parts[-1]) :]
    assert [attempt.parcel for part in parts for attempt in part] == given
    for part in parts:
        assert 1 <= len(part) <= limit
        assert len(part) == 1 or not any(attempt.parcel.alone for attempt in part)
        assert len(part) == 1 or sum(len(a.parcel.message.args) for a in part) <= publishing.BATCH_BYTES


def test_a_batch_tells_what_became_of_each_message():
    batch = [
        Parcel(message(task_id=str(n), **{"compression": "zzip"} if n == 1 else {}), DESTINATION)
        for n in range(3)
    ]
    first, second, third = Publisher(MEMORY).publish_batch(batch, TABLE)
    assert (first, third) == (Fate.TAKEN, Fate.TAKEN)
    assert isinstance(second, MessageRefused)
    assert [found.headers["id"] for found in read_all("memory://", "llm")] == ["0", "2"]


def test_what_is_not_begun_before_the_time_is_up_is_not_tried():
    replies = iter([True, False])
    batch = [Parcel(message(), DESTINATION)] * 3
    found = Publisher(MEMORY).publish_batch(batch, TABLE, go_on=lambda: next(replies))
    assert found == [Fate.TAKEN, Fate.UNTRIED, Fate.UNTRIED]
    assert len(read_all("memory://", "llm")) == 1


def test_after_the_broker_was_lost_nothing_more_is_tried(monkeypatch):
    monkeypatch.setattr(kombu.Producer, "publish", Mock(side_effect=ConnectionResetError("reset")))
    lost, *rest = Publisher(MEMORY).publish_batch([Parcel(message(), DESTINATION)] * 3, TABLE)
    assert isinstance(lost, DeliveryUnknown)
    assert rest == [Fate.UNTRIED] * 2


def test_an_error_that_nobody_foresaw_leaves_what_is_known_of_the_others_and_does_not_show_a_password(
    monkeypatch, caplog
):
    publish = publishing.OneByOne.publish

    def fail_at_the_second(way, attempts, until):
        if attempts[0].parcel.message.task_id == "1":
            raise KeyError(f"redis://user:{SECRET}@host")
        publish(way, attempts, until)

    monkeypatch.setattr(publishing.OneByOne, "publish", fail_at_the_second)
    batch = [Parcel(message(task_id=str(number)), DESTINATION) for number in range(3)]
    first, second, third = Publisher(MEMORY).publish_batch(batch, TABLE)
    assert (first, third) == (Fate.TAKEN, Fate.UNTRIED)
    assert isinstance(second, DeliveryUnknown)
    assert "KeyError" in str(second)
    assert "in fail_at_the_second" in caplog.text
    assert SECRET not in caplog.text + str(second)


def test_of_a_broker_that_is_not_there_each_message_is_told():
    batch = [Parcel(message(), DESTINATION)] * 3
    found = Publisher(Broker("bulk", f"redis://{NOWHERE}/0")).publish_batch(batch, TABLE)
    assert [type(answer) for answer in found] == [BrokerUnavailable] * 3


# -- failures -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "raised", "complaint"),
    [
        (ConnectionResetError("reset"), DeliveryUnknown, "was lost while it took the message: reset"),
        (OperationalError("odd"), MessageRefused, "refused the message for 'llm': odd"),
        (RuntimeError("odd"), MessageRefused, "The message cannot be encoded: odd"),
        (RuntimeError(), MessageRefused, "The message cannot be encoded: RuntimeError"),
    ],
    ids=repr,
)
def test_a_failure_is_told_by_what_it_means_for_the_message_and_a_new_connection_is_opened(
    error, raised, complaint, opened, monkeypatch
):
    def fail(*args, **kwargs):
        raise error

    publisher = Publisher(MEMORY)
    with monkeypatch.context() as broken:
        broken.setattr(kombu.Producer, "publish", fail)
        with pytest.raises(raised, match=complaint):
            publisher.publish(message(), DESTINATION, TABLE)
    publisher.publish(message(), DESTINATION, TABLE)
    assert len(opened) == 2
    assert len(read_all("memory://", "llm")) == 1


@pytest.mark.parametrize("columns", [{"compression": "zzip"}, {"serializer": "morse"}], ids=str)
def test_what_cannot_be_encoded_is_the_messages_own_failure(columns):
    with pytest.raises(MessageRefused):
        publish(**columns)


@pytest.mark.parametrize("url", [f"redis://{NOWHERE}/0", f"amqp://{NOWHERE}//"])
def test_a_broker_that_is_not_there_is_told_by_its_alias(url):
    with pytest.raises(BrokerUnavailable, match="Broker 'bulk' cannot be reached"):
        publish(Broker("bulk", url))


schemes = st.sampled_from(["redis", "amqp"])
#: Characters that a URL's password may hold as they are (RFC 3986, userinfo), and some that it must not.
harmless = st.text("abcXYZ019-._~!$&'()*+,=@:%", max_size=6)
misplaced = st.sampled_from(["/", "#", "?", "[", "]"])


@given(schemes, harmless)
def test_no_password_is_in_the_error_of_a_broker_that_is_not_there(scheme, odd):
    with pytest.raises(BrokerUnavailable) as caught:
        publish(Broker("default", f"{scheme}://user:{odd}{SECRET}{odd}@{NOWHERE}/"))
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


@given(schemes, misplaced)
def test_a_password_that_makes_the_url_unreadable_is_not_in_the_error_either(scheme, odd):
    with pytest.raises(BrokerUnavailable) as caught:
        publish(Broker("default", f"{scheme}://user:{SECRET}{odd}x@{NOWHERE}/"))
    assert SECRET not in str(caught.value)


def test_a_transport_that_does_not_exist_is_a_broker_that_cannot_be_reached():
    with pytest.raises(BrokerUnavailable, match="has a URL that cannot be used"):
        publish(Broker("default", "carrierpigeon://host"))


@pytest.mark.parametrize(
    ("place", "raised"),
    [
        ((kombu.Connection, "ensure_connection"), BrokerUnavailable),
        ((kombu.Connection, "channel"), BrokerUnavailable),
        ((kombu.Producer, "publish"), DeliveryUnknown),
    ],
    ids=str,
)
def test_an_error_that_quotes_the_url_is_told_without_its_password(place, raised, monkeypatch):
    url = f"redis://user:p@ss:{SECRET}@host:6379/0"

    def fail(*args, **kwargs):
        raise ConnectionError(f"cannot connect to {url}, nor to {url}")

    monkeypatch.setattr(*place, fail)
    with pytest.raises(raised) as caught:
        publish()
    assert "***" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_the_body_is_valid_json_whatever_the_texts_hold():
    found = published(args='["\\u2028\\"]"]', kwargs='{"a]": "[{"}')
    assert json.loads(found.body)[:2] == [['\u2028"]'], {"a]": "[{"}]


def test_a_queue_that_was_refused_stays_refused_where_the_broker_is_lost_afterwards(monkeypatch):
    table = RoutingTable([Queue("bad", "default"), Queue("llm", "default")], [], [], "llm")
    errors = {"bad": QueueUnavailable("other arguments"), "llm": BrokerUnavailable("lost")}

    def declare(session, destination):
        raise errors[destination.queue]

    monkeypatch.setattr(publishing.Session, "declare", declare)
    monkeypatch.setattr(publishing.OneByOne, "limit", 3)
    batch = [Parcel(message(), table.destination(Target(queue=name))) for name in ("bad", "llm", "llm")]
    found = Publisher(MEMORY).publish_batch(batch, table)
    assert found == [errors["bad"], errors["llm"], errors["llm"]]
