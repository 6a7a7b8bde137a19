"""Redis and RabbitMQ in one registry: each message to its own, and neither harmed by the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from dispatch.api import send_task
from dispatch.models import OutboxMessage
from dispatch.relay import Relay
from tests.support.brokers import delete_queue, read_all, task_ids
from tests.support.proxy import Proxy
from tests.support.registry import ARGUMENTS, TASK, make_queue, make_registry

pytestmark = pytest.mark.one_database


@dataclass(frozen=True)
class Side:
    """One of the two brokers, behind a proxy, with a queue of its own."""

    url: str
    proxy: Proxy
    queue: str

    @property
    def proxied(self) -> str:
        return self.url.replace(f":{urlsplit(self.url).port}", f":{self.proxy.port}")


@pytest.fixture
def sides(
    redis_url: str,
    rabbitmq_url: str,
    unique: str,
    broker_settings: Callable[..., None],
    transactional_db: None,
) -> Iterator[dict[str, Side]]:
    with ExitStack() as stack:
        found = {}
        for kind, url in (("redis", redis_url), ("rabbitmq", rabbitmq_url)):
            proxy = Proxy(urlsplit(url).port or 0)
            stack.callback(proxy.close)
            found[kind] = Side(url, proxy, f"{unique}-{kind}")
        stack.callback(delete_queue, rabbitmq_url, found["rabbitmq"].queue)
        brokers = {"rabbit": {"URL": found["rabbitmq"].proxied}}
        broker_settings(found["redis"].proxied, brokers=brokers, BROKER_TIMEOUT=0.5)
        make_registry()
        make_queue(found["redis"].queue)
        make_queue(found["rabbitmq"].queue, broker="rabbit", max_priority=10)
        yield found


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


def send(side: Side, priority: int | None = None) -> str:
    return str(send_task(TASK, kwargs=ARGUMENTS, queue=side.queue, priority=priority).pk)


def test_each_broker_gets_its_own_messages_with_its_own_number_for_a_priority(
    sides: dict[str, Side], relay: Relay
) -> None:
    sent = {kind: [send(side, priority) for priority in (2, 10)] for kind, side in sides.items()}
    assert relay.drain() == 4
    received = {
        kind: [
            (message.headers["id"], message.properties["priority"])
            for message in read_all(side.url, side.queue)
        ]
        for kind, side in sides.items()
    }
    lazy, urgent = sent["redis"]
    assert received["redis"] == [(urgent, 0), (lazy, 7)], "0 is the most urgent, and 10 counts as 9"
    lazy, urgent = sent["rabbitmq"]
    assert received["rabbitmq"] == [(urgent, 10), (lazy, 2)], "the range is the queue's"


@pytest.mark.parametrize("fault", ["cut", "stall"])
@pytest.mark.parametrize(("down", "up"), [("redis", "rabbitmq"), ("rabbitmq", "redis")])
def test_one_that_is_down_holds_up_no_message_of_the_other_and_gets_its_own_when_it_is_back(
    sides: dict[str, Side], relay: Relay, down: str, up: str, fault: str
) -> None:
    first = [send(side) for side in sides.values()]
    assert relay.step() == len(first)
    getattr(sides[down].proxy, fault)()
    waiting = [send(sides[down]) for _ in range(3)]
    passing = [send(sides[up]) for _ in range(3)]
    for _ in range(3):
        relay.step()
    assert task_ids(sides[up].url, sides[up].queue)[1:] == passing
    assert set(OutboxMessage.objects.filter(pk__in=waiting).values_list("status", flat=True)) == {"pending"}

    sides[down].proxy.open()
    for _ in range(20):
        relay.breakers._open_until.clear()  # let the waits pass
        OutboxMessage.objects.filter(status="pending").update(available_at="2025-01-01 00:00Z")
        relay.step()
    found = task_ids(sides[down].url, sides[down].queue)
    assert set(found[1:]) == set(waiting)
    assert len(found) <= 5, "only a message that was in flight may be there twice"
