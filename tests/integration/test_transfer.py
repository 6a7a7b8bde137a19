"""A published message that sits where it does not belong is moved, on a Redis, and nothing is lost on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.utils import timezone

from dispatch.api import send_task
from dispatch.client import queue_admin
from dispatch.exceptions import BrokerUnavailable, QueueUnavailable
from dispatch.models import OutboxMessage, Route, TaskDefinition
from dispatch.outbox import transfer
from dispatch.relay import Relay
from tests.support.brokers import task_ids
from tests.support.registry import ARGUMENTS, TASK, make_queue, make_registry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]


@pytest.fixture
def relay(redis_url: str, broker_settings: Callable[..., None], transactional_db: None) -> Iterator[Relay]:
    broker_settings(redis_url, BROKER_TIMEOUT=2)
    make_registry("wrong")
    relay = Relay()
    yield relay
    relay.close()


def published(relay: Relay, number: int = 3) -> list[OutboxMessage]:
    """Messages in the queue "wrong", which their task is led away from afterwards."""
    for at in range(number):
        send_task(TASK, kwargs=ARGUMENTS, priority=at)
    relay.step()
    Route.objects.update(queue=make_queue("right"))
    return list(OutboxMessage.objects.order_by("id"))


def test_one_message_is_taken_from_among_others_and_published_where_it_belongs(
    relay: Relay, redis_url: str
) -> None:
    first, second, third = published(relay)
    assert transfer.is_movable(second)
    assert transfer.transfer(second).queue == "right"
    second.refresh_from_db()
    assert (second.status, second.queue, second.published_to) == ("pending", "right", None)
    assert relay.step() == 1
    assert task_ids(redis_url, "right") == [str(second.pk)]
    assert sorted(task_ids(redis_url, "wrong")) == sorted([str(first.pk), str(third.pk)])
    second.refresh_from_db()
    assert transfer.better_place(second) is None


def test_what_a_worker_took_stays_published(
    relay: Relay, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [message] = published(relay, 1)
    monkeypatch.setattr(queue_admin, "remove", lambda link, waiting: False)  # it was there a moment ago
    with pytest.raises(QueueUnavailable, match="a worker has it"):
        transfer.transfer(message)
    message.refresh_from_db()
    assert (message.status, message.lease_token, message.published_to["queue"]) == (
        "published",
        None,
        "wrong",
    )
    task_ids(redis_url, "wrong")
    monkeypatch.undo()
    with pytest.raises(QueueUnavailable, match="a worker has it"):
        transfer.transfer(message)


def test_a_message_whose_result_came_meanwhile_is_left_in_its_queue(relay: Relay, redis_url: str) -> None:
    [message] = published(relay, 1)
    OutboxMessage.objects.update(handled_at=timezone.now())
    with pytest.raises(QueueUnavailable, match="a worker has it"):
        transfer.transfer(message)  # as it was read before
    assert task_ids(redis_url, "wrong") == [str(message.pk)]


def test_a_message_that_names_another_one_is_not_taken_for_it(relay: Relay, redis_url: str) -> None:
    [message] = published(relay, 1)
    other = send_task(TASK, kwargs=ARGUMENTS, queue="wrong", headers={"about": str(message.pk)}, priority=0)
    relay.step()
    transfer.transfer(message)
    assert task_ids(redis_url, "wrong") == [str(other.pk)]


def test_a_broker_that_is_lost_at_the_removal_leaves_the_message_to_a_relay(
    relay: Relay, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [message] = published(relay, 1)

    def lose(link: object, waiting: object) -> bool:
        raise BrokerUnavailable("Lost.")

    monkeypatch.setattr(queue_admin, "remove", lose)
    with pytest.raises(BrokerUnavailable):
        transfer.transfer(message)
    message.refresh_from_db()
    assert (message.status, message.lease_expires_at is None) == ("claimed", False)


def test_what_is_where_it_belongs_or_cannot_be_resolved_is_not_moved(relay: Relay, redis_url: str) -> None:
    [message] = published(relay, 1)
    TaskDefinition.objects.all().delete()
    assert transfer.better_place(message) is None
    with pytest.raises(QueueUnavailable, match="where it belongs"):
        transfer.transfer(message)
    OutboxMessage.objects.update(published_to="odd")
    message.refresh_from_db()
    assert transfer.place_of(message) == ("", "")
