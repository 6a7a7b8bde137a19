"""Chains and groups by name: the messages that Celery's own canvas would have sent, and what becomes of each step."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import kombu
import pytest
from celery import Celery, chain, group
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dispatch import outbox
from dispatch.api import (
    Call,
    InvalidArguments,
    InvalidOption,
    SendError,
    send_chain,
    send_group,
    send_task,
)
from dispatch.core.json_values import DEPTH
from dispatch.core.routing import Destination
from dispatch.models import Binding, Exchange, OutboxMessage, Route
from dispatch.models.database import database_now
from dispatch.models.outbox_message import new_task_id
from dispatch.outbox.retention import Pruning, first_id
from dispatch.outbox.transfer import better_place, transfer
from dispatch.registry import current
from dispatch.relay import Relay
from dispatch.relay.claims import claim
from dispatch.relay.parcels import Parcels
from dispatch.relay.settling import Outcome, settle
from dispatch.signals import messages_drafted
from tests.integration.conftest import Broker
from tests.support.brokers import body, read_all
from tests.support.failpoints import filled_in, is_settle
from tests.support.registry import ARGUMENTS, TASK, make_queue, make_registry, make_task, waiting

Status = OutboxMessage.Status
FIRST = Call(TASK, kwargs=ARGUMENTS)
on_redis = pytest.mark.parametrize("broker", ["redis"], indirect=True)
NEXT = Call(TASK, kwargs={"text": "More."})
PLACE = Destination("default", "llm", ("llm",), "", "llm", None)


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


@pytest.fixture
def app(broker: Broker) -> Celery:
    app = Celery("shop", broker=broker.url, backend="cache+memory://", set_as_current=False, fixups=[])
    app.conf.task_default_queue = broker.queue
    return app


def statuses(*messages: OutboxMessage) -> list[str]:
    rows = OutboxMessage.objects.in_bulk([message.pk for message in messages])
    return [rows[message.pk].status for message in messages]


def without(mapping: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in names}


def shown(message: kombu.Message) -> list[Any]:
    """What must not differ: all but who sent it, and where an answer would go; an unset ``ignore_result`` is False in
    Celery 5.5 and None in later ones.
    """
    args, kwargs, embedded = body(message)
    for step in embedded["chain"] or ():
        step["options"].pop("reply_to", None)
    headers = without(message.headers, "origin", "argsrepr", "kwargsrepr")
    headers["ignore_result"] = bool(headers["ignore_result"])
    return [headers, args, kwargs, embedded]


@pytest.mark.one_database
def test_the_messages_of_a_chain_are_what_celerys_would_be(app: Celery, broker: Broker, relay: Relay) -> None:
    make_task("shop.stamped", parameters={})
    later: dict[str, Any] = {"countdown": 5.0, "expires": 60, "time_limit": 9, "ignore_result": False}
    later |= {"headers": {"tenant": "a"}, "serializer": "json", "compression": "gzip", "soft_time_limit": 5}
    later |= {"shadow": "other", "reply_to": "", "delivery_mode": 1}
    linked = dict(app.signature("shop.stamped", [1], immutable=True, queue="urgent"))
    first, second, third = (str(new_task_id()) for _ in range(3))
    send_chain(
        [
            Call(TASK, kwargs=ARGUMENTS, task_id=first, priority=3),
            Call(TASK, [], {"text": "More."}, task_id=second, link=linked, link_error=linked, **later),
            Call(
                "shop.stamped",
                [1],
                task_id=third,
                queue=broker.queue,
                immutable=True,
                stamps={"by": "me"},
            ),
        ]
    )
    assert relay.drain() == 1
    [found] = read_all(broker.url, broker.queue)
    number = 6 if broker.kind == "redis" else 3
    signature = app.signature
    chain(
        signature(TASK, kwargs=ARGUMENTS).set(task_id=first, priority=number),
        signature(TASK, kwargs={"text": "More."}).set(
            task_id=second, queue=broker.queue, link=[linked], link_error=[linked], **later
        ),
        signature("shop.stamped", (1,), immutable=True).set(
            task_id=third, queue=broker.queue, stamped_headers=["by"], by="me"
        ),
        app=app,
    ).apply_async()
    [expected] = read_all(broker.url, broker.queue)
    assert shown(found) == shown(expected)
    assert found.properties["priority"] == expected.properties["priority"]


@pytest.mark.one_database
def test_the_messages_of_a_group_are_what_celerys_would_be(app: Celery, broker: Broker, relay: Relay) -> None:
    sent = send_group([FIRST, FIRST])
    assert relay.drain() == 2
    found = read_all(broker.url, broker.queue)
    ids = [str(message.pk) for message in sent]
    parts = (app.signature(TASK, kwargs=ARGUMENTS).set(task_id=task_id) for task_id in ids)
    group(parts, app=app).apply_async(task_id=sent[0].options["group_id"])
    expected = read_all(broker.url, broker.queue)
    assert sorted(map(shown, found), key=str) == sorted(map(shown, expected), key=str)


@pytest.mark.one_database
def test_the_messages_of_a_group_of_one_plan_tell_their_places(broker: Broker, relay: Relay) -> None:
    send_group([FIRST] * 20)
    send_task(TASK, kwargs=ARGUMENTS)
    relay.drain()
    places = [message.headers["group_index"] for message in read_all(broker.url, broker.queue)]
    assert sorted(place for place in places if place is not None) == [*range(20)]


@pytest.mark.one_database
@on_redis
def test_the_messages_of_a_group_are_worked_out_once(broker: Broker) -> None:
    send_group([FIRST] * 3)
    parcels = Parcels(current())
    messages = [parcels.of(row).message for row in claim("default", 3, 60)]
    assert len({id(message.shared) for message in messages}) == 1
    assert sorted(message.headers["group_index"] for message in messages) == [0, 1, 2]


@pytest.mark.one_database
@on_redis
@pytest.mark.parametrize("place", [-1, 1 << 31, True, "first", [5]], ids=str)
def test_the_messages_that_have_another_place_by_hand_are_published_without_one(
    broker: Broker, relay: Relay, place: Any
) -> None:
    waiting(broker.queue, args='["1", "."]', options={"group_id": "a", "group_index": place})
    assert relay.drain() == 1
    [message] = read_all(broker.url, broker.queue)
    assert message.headers["group_index"] is None


@pytest.mark.one_database
@on_redis
def test_the_messages_name_a_steps_queue_and_priority_as_its_worker_does(broker: Broker) -> None:
    make_task("shop.urgent", parameters={}, queue=make_queue("urgent", default_priority=9))
    [first, _] = send_chain([FIRST, Call("shop.urgent")])
    [step] = first.options["chain"]
    assert without(step["options"], "task_id") == {"queue": "urgent", "priority": 0}


@pytest.mark.one_database
@on_redis
def test_the_messages_name_a_steps_queue_where_the_broker_has_no_exchanges(broker: Broker) -> None:
    exchange = Exchange.objects.create(name="events", type="topic")
    for name, key in (("one", "a.*"), ("two", "#.z")):
        Binding.objects.create(queue=make_queue(name), exchange=exchange, routing_key=key)
    step = Call(TASK, [], {"text": "."}, exchange="events", routing_key="a.b")
    [first, _] = send_chain([FIRST, step])
    assert first.options["chain"][0]["options"]["queue"] == "one"
    with pytest.raises(InvalidOption, match=r"exchange 'events' reaches 2 queues"):
        send_chain([FIRST, replace(step, routing_key="a.z")])


@pytest.mark.one_database
@on_redis
def test_the_messages_hold_what_a_steps_own_definition_says_unless_the_call_does(broker: Broker) -> None:
    own = {"countdown": 5.0, "expires": 60.0, "time_limit": 9.0, "ignore_result": True, "serializer": "json"}
    make_task("shop.own", parameters={}, queue=make_queue("own"), **own)
    first, *steps = send_chain([FIRST, Call("shop.own"), Call("shop.own", countdown=0, ignore_result=False)])
    said = [without(step["options"], "task_id") for step in first.options["chain"][::-1]]
    assert said == [own | {"queue": "own"}, own | {"queue": "own", "countdown": 0, "ignore_result": False}]
    assert [step.ignore_result for step in steps] == [True, False]


@pytest.mark.one_database
@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
def test_the_messages_name_a_steps_exchange_where_the_broker_has_some(broker: Broker) -> None:
    exchange = Exchange.objects.create(name="events", type="topic")
    Binding.objects.create(queue=make_queue("all"), exchange=exchange, routing_key="#")
    [first, _] = send_chain([FIRST, Call(TASK, [], {"text": "."}, exchange="events", routing_key="a.b")])
    [step] = first.options["chain"]
    assert without(step["options"], "task_id") == {"exchange": "events", "routing_key": "a.b"}


@on_redis
def test_the_messages_carry_the_arguments_of_later_steps_as_they_were_given(
    broker: Broker, relay: Relay
) -> None:
    make_task("shop.open", parameters={})
    deep: list[Any] = []
    for _ in range(DEPTH - 2):
        deep = [deep]
    given = [[1e22, -0.0, deep], {"text": {"zz": 1, "a": 10.5, "bb": 1e16}}]
    send_chain([FIRST, Call("shop.open", *given)])
    assert relay.drain() == 1
    [message] = read_all(broker.url, broker.queue)
    [step] = body(message)[2]["chain"]
    assert json.dumps([step["args"], step["kwargs"]]) == json.dumps(given)


@on_redis
def test_the_messages_carry_headers_that_listeners_add_to_each_step(broker: Broker, relay: Relay) -> None:
    def add(messages: list[OutboxMessage], **_: Any) -> None:
        for number, message in enumerate(messages):
            message.headers = {**message.headers, "number": number}

    messages_drafted.connect(add)
    try:
        send_chain([FIRST, NEXT, NEXT])
    finally:
        messages_drafted.disconnect(add)
    relay.drain()
    [message] = read_all(broker.url, broker.queue)
    steps = body(message)[2]["chain"]
    assert [message.headers["number"], *(step["options"]["headers"]["number"] for step in steps)] == [0, 2, 1]


@on_redis
def test_the_messages_are_written_by_the_serializer_of_their_first_step(
    broker: Broker, relay: Relay, settings: Any
) -> None:
    settings.DISPATCH = {**settings.DISPATCH, "SERIALIZERS": ["json", "msgpack", "yaml"]}
    make_task("shop.open", parameters={})
    large = Call("shop.open", [2**70], queue=broker.queue)
    with pytest.raises(InvalidArguments, match="cannot be written as msgpack") as raised:
        send_chain([FIRST, replace(NEXT, serializer="msgpack"), large])
    assert raised.value.__notes__ == [f"They are those of the steps behind {TASK}, which it carries."]
    send_chain([replace(FIRST, serializer="yaml", compression="gzip"), large])
    assert relay.drain() == 1
    [message] = read_all(broker.url, broker.queue)
    message.accept = {"application/x-yaml"}
    assert message.decode()[2]["chain"][0]["args"] == [2**70]


@on_redis
def test_the_steps_wait_in_their_chain_until_a_broker_has_its_first_message(
    broker: Broker, relay: Relay
) -> None:
    first, second, third = send_chain([FIRST, NEXT, NEXT])
    assert statuses(first, second, third) == ["pending", "chained", "chained"]
    assert (second.root_id, second.args) == (first.pk, "[null]")
    assert relay.drain() == 1
    assert statuses(first, second, third) == ["published"] * 3
    second.refresh_from_db()
    assert second.published_at
    assert second.published_to["queue"] == broker.queue
    assert {*OutboxMessage.objects.awaiting_result()} == {first, second, third}


@on_redis
def test_the_steps_are_of_the_relay_that_published_the_first_last(broker: Broker) -> None:
    first, second = send_chain([FIRST, NEXT])
    [slow] = claim("default", 10, lease=60)
    OutboxMessage.objects.update(lease_expires_at=database_now() - dt.timedelta(seconds=1))
    relay = Relay()
    assert relay.drain() == 1
    relay.close()
    published = OutboxMessage.objects.get(pk=second.pk).published_at
    assert settle("default", [Outcome(slow, Status.PENDING, "late")]) == []
    assert statuses(first, second) == ["published"] * 2
    assert OutboxMessage.objects.get(pk=second.pk).published_at == published


@on_redis
def test_the_steps_are_published_once_the_database_is_back(broker: Broker, relay: Relay) -> None:
    chains = [send_chain([FIRST, NEXT, NEXT]) for _ in range(3)]
    failing = [OperationalError("could not serialize access")] * 3

    def fail(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        answer = execute(sql, params, many, context)
        if failing and is_settle(filled_in(sql, params)) and "chained" in filled_in(sql, params):
            raise failing.pop()
        return answer

    with connection.execute_wrapper(fail):
        while failing:
            with contextlib.suppress(OperationalError):
                relay.step()
    relay.step()
    assert len(read_all(broker.url, broker.queue)) == 3
    assert {*statuses(*[message for each in chains for message in each])} == {"published"}


@on_redis
def test_the_steps_of_many_chains_are_noted_by_one_statement(broker: Broker) -> None:
    steps = [step for _ in range(3) for step in send_chain([FIRST, NEXT, NEXT])[1:]]
    rows = claim("default", 10, lease=60)
    outcomes = [Outcome(row, Status.PUBLISHED, counted=True, destination=PLACE) for row in rows]
    with CaptureQueriesContext(connection) as alone:
        settle("default", outcomes[:1])
    with CaptureQueriesContext(connection) as others:
        settle("default", outcomes[1:])
    assert len(others) == len(alone)
    assert {*statuses(*steps)} == {"published"}


@on_redis
def test_the_steps_stay_what_they_became_when_their_first_is_published_again(
    broker: Broker, relay: Relay
) -> None:
    first, second = send_chain([FIRST, NEXT])
    relay.drain()
    past = timezone.now() - dt.timedelta(days=1)
    OutboxMessage.objects.filter(pk=second.pk).update(handled_at=past, published_at=past)
    OutboxMessage.objects.filter(pk=first.pk).update(status=Status.DEAD)  # by a relay that had lost its lease
    outbox.requeue(OutboxMessage.objects.filter(pk=first.pk))
    assert relay.drain() == 1
    second.refresh_from_db()
    assert (second.status, second.handled_at, second.published_at) == ("published", past, past)


@on_redis
def test_the_steps_of_a_chain_that_is_cancelled_wait_until_it_is_requeued(
    broker: Broker, relay: Relay
) -> None:
    first, second = send_chain([FIRST, NEXT])
    chained = OutboxMessage.objects.filter(pk=second.pk)
    assert outbox.cancel(OutboxMessage.objects.filter(pk=first.pk)) == 1
    assert (outbox.cancel(chained), outbox.requeue(chained), relay.drain()) == (0, 0, 0)
    assert statuses(first, second) == ["cancelled", "chained"]
    assert outbox.requeue(OutboxMessage.objects.filter(pk=first.pk)) == 1
    assert relay.drain() == 1
    assert statuses(first, second) == ["published"] * 2


@on_redis
def test_the_steps_go_with_a_chain_that_is_rerouted_to_another_broker(
    broker: Broker, relay: Relay, settings: Any
) -> None:
    _first, second = send_chain([FIRST, NEXT])
    settings.DISPATCH = {
        **settings.DISPATCH,
        "BROKERS": {**settings.DISPATCH["BROKERS"], "other": {"URL": broker.url}},
    }
    Route.objects.update(queue=make_queue(f"{broker.queue}-other", broker="other"))
    relay.drain()
    second.refresh_from_db()
    assert (second.status, second.broker, second.published_to) == ("published", "other", None)


@on_redis
def test_the_steps_wait_again_when_their_first_message_is_moved(broker: Broker, relay: Relay) -> None:
    first, second, third = send_chain([FIRST, NEXT, NEXT])
    relay.drain()
    OutboxMessage.objects.filter(pk=third.pk).update(handled_at=timezone.now())
    Route.objects.update(queue=make_queue(f"{broker.queue}-better"))
    first.refresh_from_db()
    transfer(first)
    assert statuses(first, second, third) == ["pending", "chained", "published"]
    assert relay.drain() == 1
    assert statuses(first, second) == ["published"] * 2


@on_redis
def test_the_steps_cannot_be_moved_to_another_queue_since_only_the_worker_has_all_its_arguments(
    broker: Broker, relay: Relay
) -> None:
    first, second = send_chain([FIRST, NEXT])
    relay.drain()
    Route.objects.update(queue=make_queue("better"))
    for message in (first, second):
        message.refresh_from_db()
    assert better_place(first)
    assert better_place(second) is None


@on_redis
def test_the_steps_that_somebody_wrote_by_hand_end_on_the_message_that_carries_them(
    broker: Broker, relay: Relay
) -> None:
    odd: list[Any] = [
        "a",
        5,
        [5],
        [{"task": 5}],
        [{"task": "a"}],
        [{"task": "a", "options": {"task_id": 5}}],
    ]
    rows = [
        waiting(broker.queue, args="[]", kwargs='{"note_id": "1", "text": "."}', options={"chain": each})
        for each in odd
    ]
    good = send_task(TASK, kwargs=ARGUMENTS)
    relay.drain()
    assert statuses(good, *rows) == ["published", *["dead"] * len(rows)]
    rows[0].refresh_from_db()
    assert rows[0].last_error.startswith("The stored message cannot be read")


@pytest.mark.one_database
@pytest.mark.django_db
class TestACall:
    @pytest.fixture(autouse=True)
    def registry(self) -> None:
        make_registry()

    @pytest.mark.parametrize(
        ("step", "told"),
        [
            (Call(TASK), r"argument 'text' is missing"),
            (Call(TASK, ["x"], {"text": "."}), r"'text' is given twice"),
            (Call(TASK, kwargs=ARGUMENTS), r"'note_id' is given twice"),
            (Call(TASK, [5]), r"/args/1"),
            (Call(TASK, kwargs={"text": "."}, immutable=True), r"'note_id' is missing"),
            (Call("shop.named", kwargs={"a": 1}), r"at most 0 accepted"),
            (Call(TASK, [], {"text": "."}, eta=timezone.now()), r"Give countdown in seconds"),
            (Call(TASK, [], {"text": "."}, expires=timezone.now()), r"Give expires in seconds"),
            (Call("shop.misspelt"), r"No task 'shop.misspelt'"),
        ],
        ids=lambda each: each.name if isinstance(each, Call) else None,
    )
    def test_of_a_later_step_is_checked_but_for_the_result_it_is_given(self, step: Call, told: str) -> None:
        make_task(
            "shop.named", parameters={"properties": {"a": {"type": "integer"}}, "additionalProperties": False}
        )
        with pytest.raises(SendError, match=told) as raised:
            send_chain([FIRST, step])
        [note] = raised.value.__notes__
        assert note.startswith(f"It is step 2 of a chain, {step.name}")
        assert ("first argument by position" in note) is not step.immutable
        assert not OutboxMessage.objects.exists()

    def test_of_a_later_step_without_a_schema_takes_anything(self) -> None:
        make_task("shop.open", parameters={})
        make_task(
            "shop.variadic", parameters={"x-variadic": {"type": "integer"}, "additionalProperties": False}
        )
        send_chain([FIRST, Call("shop.open", [1], {"a": 2}), Call("shop.variadic", [1])])
        assert OutboxMessage.objects.count() == 3

    def test_names_no_sensitive_value(self) -> None:
        make_task("shop.secret", sensitive_parameters=["text"])
        with pytest.raises(InvalidArguments) as raised:
            send_chain([FIRST, Call("shop.secret", [5_551_234])])
        assert "5551234" not in str(raised.value)

    def test_of_another_broker_is_refused(self, settings: Any) -> None:
        settings.DISPATCH = {
            **settings.DISPATCH,
            "BROKERS": {"default": {"URL": "memory://"}, "other": {"URL": "memory://"}},
        }
        make_queue("far", broker="other")
        with pytest.raises(InvalidOption, match=r"goes to broker 'other', and the chain begins on 'default'"):
            send_chain([FIRST, Call(TASK, [], {"text": "."}, queue="far")])

    def test_of_a_broker_that_is_none_is_refused(self) -> None:
        queue = make_queue("lost", broker="gone")
        make_task("shop.lost", parameters={}, queue=queue)
        with pytest.raises(InvalidOption, match=r"no broker 'gone'"):
            send_chain([Call("shop.lost"), Call("shop.lost")])

    def test_to_many_workers_is_refused(self) -> None:
        Exchange.objects.create(name="all", type="fanout")
        with pytest.raises(InvalidOption, match=r"is a broadcast"):
            send_chain([Call(TASK, kwargs=ARGUMENTS, exchange="all"), NEXT])

    def test_alone_or_none_is_no_chain(self) -> None:
        assert send_chain([]) == send_group([]) == []
        [alone] = send_chain([FIRST])
        assert (alone.status, alone.options, alone.root_id) == ("pending", {}, None)

    def test_with_an_id_that_is_used_is_refused(self) -> None:
        taken = send_task(TASK, kwargs=ARGUMENTS)
        for send in (send_chain, send_group):
            with pytest.raises(InvalidOption, match="is used already"):
                send([FIRST, Call(TASK, [], {**NEXT.kwargs, **ARGUMENTS}, task_id=taken.pk, immutable=True)])

    def test_waits_as_long_as_its_worker_counts(self) -> None:
        _, second = send_chain([FIRST, Call(TASK, [], {"text": "."}, countdown=60, expires=90)])
        assert (second.available_at - second.created_at, second.expires_at) == (dt.timedelta(), None)
        assert second.options == {"countdown": 60, "expires": 90}

    def test_that_a_worker_of_quorum_queues_would_wait_for_is_refused(self, settings: Any) -> None:
        settings.DISPATCH = {**settings.DISPATCH, "BROKERS": {"default": {"URL": "amqp://"}}}
        make_queue("steps", queue_type="quorum")
        send_chain([replace(FIRST, countdown=60), NEXT])
        with pytest.raises(
            InvalidOption, match=rf"A countdown of {TASK} cannot be used .* Give it countdown=0"
        ):
            send_chain([FIRST, replace(NEXT, countdown=60)])


@pytest.mark.django_db
def test_a_step_is_pruned_after_its_chain_is_gone_and_never_before() -> None:
    make_registry()
    past, kept = timezone.now() - dt.timedelta(days=9), {"cancelled": dt.timedelta(days=7)}
    root, second, alone = (first_id(past + dt.timedelta(seconds=n)) for n in range(3))
    first, _ = send_chain([replace(FIRST, task_id=root), replace(NEXT, task_id=second)])
    OutboxMessage.objects.update(available_at=past, created_at=past)
    send_task(TASK, kwargs=ARGUMENTS, task_id=alone)
    assert sum(Pruning("default", kept).steps()) == 0
    outbox.cancel(OutboxMessage.objects.filter(pk=first.pk))
    OutboxMessage.objects.filter(pk=first.pk).update(available_at=past)
    assert sum(Pruning("default", kept).steps()) == 1
    assert sum(Pruning("default", kept).steps()) == 1
    assert OutboxMessage.objects.get().pk == alone
