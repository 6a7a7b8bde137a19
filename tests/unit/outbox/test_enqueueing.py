from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone

from dispatch import registry
from dispatch.api import send_task
from dispatch.core.call import Call
from dispatch.exceptions import InvalidArguments, UnreadableMessage
from dispatch.models import Route, TaskDefinition
from dispatch.outbox import call_of, enqueueing
from tests.support.registry import ARGUMENTS, TASK, make_queue, make_registry
from tests.support.routers import BY_ETA, BY_LENGTH, ROUTERS

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def task() -> None:
    make_registry()


def plans() -> int:
    return len(registry.current().plans)


def send(**options: Any) -> Any:
    return send_task(TASK, kwargs=ARGUMENTS, **options)


def test_a_way_to_send_a_task_is_worked_out_once_and_others_for_themselves() -> None:
    assert [send().queue, send().queue, send(queue="default").queue] == ["llm", "llm", "default"]
    assert plans() == 2


@pytest.mark.parametrize(
    "option",
    [
        {"countdown": 5}, {"eta": timezone.now() + dt.timedelta(hours=1)}, {"expires": 60}, {"headers": {"a": "b"}},
        {"task_id": "0190f3a2-0000-7000-8000-000000000000"},
    ],
    ids=lambda option: next(iter(option)),
)  # fmt: skip
def test_what_differs_from_call_to_call_is_no_part_of_the_plan(option: dict[str, Any]) -> None:
    plain, special = send(), send(**option)
    assert plans() == 1
    assert special.options == plain.options == {}
    assert (special.queue, special.task_name) == (plain.queue, plain.task_name)


@pytest.mark.parametrize("option", [{"link": TASK}, {"link_error": [TASK]}, {"stamps": {"a": "b"}}], ids=str)
def test_what_is_no_key_makes_no_plan_that_is_kept(option: dict[str, Any]) -> None:
    assert send(**option).options.keys() == option.keys()
    assert plans() == 0
    assert send().options == {}


def test_messages_share_no_options() -> None:
    first = send(shadow="s")
    first.options["shadow"] = "another"
    first.headers["a"] = "b"
    assert (send(shadow="s").options, send(shadow="s").headers) == ({"shadow": "s"}, {})


def test_ever_new_routing_keys_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enqueueing, "MOST_PLANS", 3)
    shadows = [f"shadow {at}" for at in range(10)]
    assert [send(shadow=shadow).options["shadow"] for shadow in shadows] == shadows
    assert plans() <= 3


def test_where_a_router_reads_the_arguments_no_plan_is_kept(settings: Any) -> None:
    settings.DISPATCH = {**settings.DISPATCH, "ROUTERS": ROUTERS}
    make_queue("long")
    Route.objects.update(position=10)
    Route.objects.create(pattern=BY_LENGTH, kind="callable", position=1)
    assert [send_task(TASK, kwargs={"note_id": "1", "text": text}).queue for text in ("a" * 30, "a")] == [
        "long",
        "llm",
    ]
    assert plans() == 0


def test_a_change_of_the_registry_forgets_all_plans() -> None:
    assert send().queue == "llm"
    Route.objects.get().delete()
    assert send().queue == "default"


def test_a_serializer_that_is_no_longer_allowed_is_refused_though_the_plan_is_kept(settings: Any) -> None:
    from dispatch.exceptions import InvalidOption

    settings.DISPATCH = {**settings.DISPATCH, "SERIALIZERS": ["json", "yaml"]}
    send(serializer="yaml")
    settings.DISPATCH = {**settings.DISPATCH, "SERIALIZERS": ["json"]}
    with pytest.raises(InvalidOption, match="serializer 'yaml' is not allowed"):
        send(serializer="yaml")


def test_arguments_given_beside_a_call_are_checked_and_sent_instead_of_its_own() -> None:
    call, snapshot, now = Call(TASK, kwargs={"wrong": 1}), registry.current(), timezone.now()
    row = enqueueing.draft(call, enqueueing.CODE, snapshot, now, ((), ARGUMENTS)).row
    assert (row.args, row.kwargs) == ("[]", '{"note_id":"1","text":"Hello."}')
    with pytest.raises(InvalidArguments):
        enqueueing.draft(call, enqueueing.CODE, snapshot, now)


def test_a_router_is_told_of_an_eta_that_the_worker_waits_for(settings: Any) -> None:
    """It is told again when the message is published: both times it has to answer the same."""
    settings.DISPATCH = {**settings.DISPATCH, "ROUTERS": [BY_ETA]}
    make_queue("late")
    Route.objects.update(position=10)
    Route.objects.create(pattern=BY_ETA, kind="callable", position=1)
    assert send(countdown=60, deliver_eta=True).queue == "late"
    assert [send(countdown=60).queue, send().queue] == ["llm", "llm"]


class Odd:
    """What JSON cannot hold, under a key that is part of a secret."""


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ({"s3cr3t": {"s3cr3t": Odd()}}, "a Odd at /kwargs/token cannot be sent"),
        ({"s3cr3t": [float("nan")]}, "nan at /kwargs/token is not"),
        ({"s3cr3t": "\0"}, "the text at /kwargs/token holds"),
        ({"s3cr3t\0": 1}, "a key of the object at /kwargs/token holds"),
        ({("s3cr3t",): 1}, "a key of the object at /kwargs/token is a tuple"),
        ({b"s3cr3t": 1}, "a key of the object at /kwargs/token is a bytes"),
        ({"s3cr3t": {"__type__": 1, "__value__": 2}}, "the object at /kwargs/token has"),
    ],
    ids=["type", "number", "text", "key", "tuple", "bytes", "envelope"],
)
def test_no_key_inside_a_sensitive_argument_is_quoted(token: Any, told: str) -> None:
    TaskDefinition.objects.create(name="push", sensitive_parameters=["token"])
    with pytest.raises(InvalidArguments) as caught:
        send_task("push", kwargs={"token": token})
    assert told in str(caught.value)
    assert "s3cr3t" not in f"{caught.value} {caught.value.pointer}"
    with pytest.raises(InvalidArguments) as caught:
        send_task(TASK, link={"task": "push", "kwargs": {"token": token}}, kwargs=ARGUMENTS)
    assert "/link/kwargs/token" in str(caught.value)
    assert "s3cr3t" not in f"{caught.value} {caught.value.pointer}"


def test_of_an_argument_that_is_not_sensitive_the_whole_way_is_told() -> None:
    TaskDefinition.objects.create(name="push", sensitive_parameters=["token"])
    with pytest.raises(InvalidArguments, match="a Odd at /kwargs/body/key/0 cannot"):
        send_task("push", kwargs={"body": {"key": [Odd()]}})


def test_no_key_inside_an_argument_of_a_stored_row_is_quoted() -> None:
    message = send_task(TASK, kwargs=ARGUMENTS)
    message.kwargs = '{"text": {"s3cr3t": {"__type__": 1, "__value__": 2}}}'
    with pytest.raises(UnreadableMessage, match="the object at /kwargs/text has") as caught:
        call_of(message)
    assert "s3cr3t" not in str(caught.value)
