"""Routes that are Python: router callables of DISPATCH["ROUTERS"]."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dispatch import registry
from dispatch.api import NoDestination, send_task
from dispatch.models import OutboxMessage, Queue, Route, TaskDefinition
from dispatch.relay import Relay
from project.notes.models import Note
from tests.support.backlog import restamp
from tests.support.registry import ARGUMENTS, TASK, make_queue, make_registry, make_task, make_trigger
from tests.support.routers import AS_ENTITIES, BY_LENGTH, FAILING, ROUTERS

pytestmark = pytest.mark.django_db(transaction=True)
LONG = {"note_id": "1", "text": "a text of more than twenty characters"}


@pytest.fixture(autouse=True)
def task(broker_settings: Callable[..., None], transactional_db: None) -> TaskDefinition:
    broker_settings("memory://", ROUTERS=ROUTERS)
    definition = make_registry()
    Route.objects.update(position=10)
    make_queue("long")
    return definition


def route_by(path: str) -> Route:
    return Route.objects.create(pattern=path, kind="callable", position=1)


def test_a_router_reads_the_arguments_and_leaves_the_rest_to_the_next_route() -> None:
    route_by(BY_LENGTH)
    assert send_task(TASK, kwargs=LONG).queue == "long"
    assert send_task(TASK, kwargs=ARGUMENTS).queue == "llm"


def test_a_router_may_answer_with_kombus_own_objects() -> None:
    route_by(AS_ENTITIES)
    assert send_task(TASK, kwargs=ARGUMENTS).queue == "long"


def test_the_relay_publishes_to_where_the_router_says_with_its_priority() -> None:
    route_by(BY_LENGTH)
    send_task(TASK, kwargs=LONG)
    relay = Relay()
    assert relay.drain() == 1
    published = OutboxMessage.objects.get().published_to
    assert (published["queue"], published["priority"]) == ("long", 2)


def test_a_route_before_the_router_decides_without_it() -> None:
    route_by(FAILING)
    Route.objects.exclude(kind="callable").update(position=0)
    assert send_task(TASK, kwargs=ARGUMENTS).queue == "llm"


def test_a_router_that_fails_refuses_the_send_and_is_named() -> None:
    route_by(FAILING)
    with pytest.raises(NoDestination, match=r"failing failed for task .*LookupError: the tenants cannot be"):
        send_task(TASK, kwargs=ARGUMENTS)
    assert not OutboxMessage.objects.exists()


def test_a_router_that_fails_makes_a_dead_message_of_a_trigger_and_the_save_stands(
    task: TaskDefinition,
) -> None:
    make_trigger(task, "created")
    route_by(FAILING)
    Note.objects.create(title="A")
    assert "LookupError" in OutboxMessage.objects.get(status="dead").last_error


def test_a_router_that_fails_later_is_told_on_the_row_and_the_relay_goes_on() -> None:
    Route.objects.create(pattern="other.*", queue=Queue.objects.get(name="long"), position=0)
    make_task("other.do")
    send_task(TASK, kwargs=ARGUMENTS)
    other = send_task("other.do", kwargs=ARGUMENTS)
    route_by(FAILING)
    relay = Relay()
    assert relay.step() == 1
    waiting = OutboxMessage.objects.exclude(pk=other.pk).get()
    assert (waiting.status, waiting.attempts) == ("pending", 1)
    assert "LookupError" in waiting.last_error


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("tests.support.routers.LISTED_NOWHERE", "is not listed"),
        ("tests.support.no_such_module.router", "cannot be imported"),
        ("tests.support.routers.ROUTERS", "must be callable"),
    ],
)
def test_a_router_that_cannot_be_used_is_left_out_and_the_others_work(
    path: str, reason: str, broker_settings: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    listed = [] if reason == "is not listed" else [path]
    broker_settings("memory://", ROUTERS=listed)
    route_by(path)
    assert send_task(TASK, kwargs=ARGUMENTS).queue == "llm"
    assert f"{path!r} is left out" in caplog.text
    assert reason in caplog.text


def test_messages_of_one_task_move_each_by_its_own_arguments() -> None:
    for kwargs in (LONG, ARGUMENTS, LONG):
        send_task(TASK, kwargs=kwargs)
    route_by(BY_LENGTH)
    assert restamp("default", registry.current()) == 2
    assert OutboxMessage.objects.filter(queue="long").count() == 2
    assert OutboxMessage.objects.filter(queue="llm").count() == 1
