"""What RabbitMQ may answer to a batch, in any order and grouping that it is free to choose."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from types import SimpleNamespace

import pytest
from amqp.exceptions import ChannelError, FrameSyntaxError, NotFound
from hypothesis import given
from hypothesis import strategies as st

from dispatch.client import amqp_confirms
from dispatch.client.amqp_confirms import Confirming
from dispatch.client.broker_connection import Attempt, Fate, Parcel, Session
from dispatch.conf import Broker
from dispatch.core.message import Message, Shared
from dispatch.core.routing import Queue, RoutingTable, Target
from dispatch.exceptions import BrokerUnavailable, DeliveryUnknown, MessageRefused, QueueUnavailable

DESTINATION = RoutingTable([Queue("llm", "default")], [], [], "llm").destination(Target(queue="llm"))


class FakeConnection:
    """Gives the answers that were prepared, one per look, and then an error."""

    connection_errors, channel_errors = (ConnectionError, FrameSyntaxError), (ChannelError,)

    def __init__(self, *answers):
        self.answers = list(answers)
        self.transport = self
        self.on_wire = []
        self.broken = None

    def write(self, frames):
        if self.broken is not None and self.broken in frames.decode():
            raise BrokenPipeError("broken pipe")
        self.on_wire += frames.decode()

    def drain_events(self, timeout):
        assert timeout > 0, "py-amqp reads on for ever in the middle of a frame"
        answer = self.answers.pop(0) if self.answers else TimeoutError("timed out")
        if isinstance(answer, Exception):
            raise answer
        answer()


class FakeSession(Session):
    """A session whose messages fail as told: ``failures`` by task id."""

    def __init__(self, failures=None):
        connection = FakeConnection()
        channel = SimpleNamespace(events=defaultdict(set), confirm_select=lambda: None, connection=connection)
        super().__init__(Broker("default", "amqp://host"), connection, channel, channel, None, None)
        self.failures = failures or {}

    def of(self, parcel):
        """Stand for the frames: a message's are the digit of its id."""
        if error := self.failures.get(parcel.message.task_id):
            raise error
        return parcel.message.task_id.encode()

    def say(self, event, *args):
        for callback in self.channel.events[event]:
            callback(*args)


def attempts(count):
    shared, texts = Shared(task="a"), {"args": "[]", "kwargs": "{}", "args_repr": "", "kwargs_repr": ""}
    return [Attempt(Parcel(Message(shared, task_id=str(n), **texts), DESTINATION)) for n in range(count)]


def confirming(session):
    found = Confirming(session)
    found.frames = session
    return found


def publish(session, batch, *answers):
    session.connection.answers = list(answers)
    confirming(session).publish(batch, until=float("inf"))
    return [attempt.answer for attempt in batch]


def returned(session, task_id):
    message = SimpleNamespace(properties={"correlation_id": task_id})
    session.say("basic_return", ChannelError("NO_ROUTE"), "", "llm", message)


@given(st.data(), st.integers(1, 12))
def test_each_message_gets_its_own_answer_however_the_broker_groups_them(data, count):
    wishes = data.draw(
        st.lists(st.sampled_from(["taken", "full", "unroutable"]), min_size=count, max_size=count)
    )
    session, answers = FakeSession(), []
    left = list(range(1, count + 1))
    for number, wish in enumerate(wishes, 1):
        if wish == "unroutable":
            answers.append(partial(returned, session, str(number - 1)))
    while left:
        number = data.draw(st.sampled_from(left))
        kind = "basic_nack" if wishes[number - 1] == "full" else "basic_ack"
        below = [each for each in left if each <= number]
        alike = all((wishes[each - 1] == "full") == (kind == "basic_nack") for each in below)
        multiple = alike and data.draw(st.booleans())
        answers.append(partial(session.say, kind, number, multiple))
        left = [each for each in left if each not in (below if multiple else [number])]
    found = publish(session, attempts(count), *answers)
    kinds = {"full": QueueUnavailable, "unroutable": MessageRefused}
    for wish, answer in zip(wishes, found, strict=True):
        assert answer is Fate.TAKEN if wish == "taken" else type(answer) is kinds[wish]
    assert not session.is_over


@pytest.mark.parametrize(
    "error", [FrameSyntaxError("a type that AMQP has not"), OverflowError("too large")], ids=repr
)
def test_a_message_that_cannot_be_written_takes_no_number(error):
    session = FakeSession({"1": error})
    found = publish(session, attempts(3), lambda: session.say("basic_ack", 2, True))
    assert (found[0], found[2]) == (Fate.TAKEN, Fate.TAKEN)
    assert isinstance(found[1], MessageRefused)
    assert session.connection.on_wire == ["0", "2"]


def test_numbers_go_on_with_the_next_batch():
    session, batch = FakeSession(), attempts(3)
    way = confirming(session)
    session.connection.answers = [
        lambda: session.say("basic_ack", 2, True),
        lambda: session.say("basic_ack", 3, False),
    ]
    way.publish(batch[:2], float("inf"))
    way.publish(batch[2:], float("inf"))
    assert [attempt.answer for attempt in batch] == [Fate.TAKEN] * 3


def test_what_was_answered_before_the_connection_broke_is_known_and_what_was_not_sent_too(monkeypatch):
    monkeypatch.setattr(amqp_confirms, "PART_BYTES", 0)
    session = FakeSession()
    session.connection.broken = "2"
    found = publish(session, attempts(4), lambda: session.say("basic_ack", 1, False))
    assert found[0] is Fate.TAKEN
    assert [type(answer) for answer in found[1:]] == [DeliveryUnknown, DeliveryUnknown, BrokerUnavailable]
    assert session.is_over
    assert session.is_lost


def test_a_closed_channel_leaves_several_unknown():
    session = FakeSession()
    error = NotFound("no exchange 'x'")
    found = publish(session, attempts(3), lambda: session.say("basic_ack", 1, False), error)
    assert found[0] is Fate.TAKEN
    assert [type(answer) for answer in found[1:]] == [DeliveryUnknown] * 2
    assert all("closed the channel while it took the message" in str(answer) for answer in found[1:])
    assert session.is_over
    assert not session.is_lost


def test_a_closed_channel_refuses_the_only_message_that_can_be_meant():
    session = FakeSession()
    [found] = publish(session, attempts(1), NotFound("no exchange 'x'"))
    assert isinstance(found, MessageRefused)


def test_an_odd_error_of_a_lost_connection_does_not_reach_the_relay():
    session = FakeSession()
    found = publish(session, attempts(2), AttributeError("'NoneType' object has no attribute 'read_frame'"))
    assert [type(answer) for answer in found] == [DeliveryUnknown] * 2
    assert session.is_over


def test_a_broker_that_goes_on_without_confirming_is_left_when_the_time_is_up():
    session, batch = FakeSession(), attempts(1)
    session.connection.answers = [lambda: None] * 3
    confirming(session).publish(batch, until=0.0)
    assert isinstance(batch[0].answer, DeliveryUnknown)
