"""In which order brokers really give out what waits, against what :mod:`dispatch.core.priority_order` says."""

from __future__ import annotations

import pytest

from dispatch import registry
from dispatch.api import send_task
from dispatch.models import Queue
from dispatch.registry import priority_warnings
from dispatch.relay import Relay
from tests.integration.conftest import Broker
from tests.support.brokers import read_all
from tests.support.registry import ARGUMENTS, TASK

pytestmark = pytest.mark.one_database

NUMBERS = (*range(13), 255)
SENT = [None, *NUMBERS, None, *reversed(NUMBERS)]


def received(broker: Broker, **columns: object) -> tuple[list[int | None], list[int | None]]:
    """Return the priorities in the order in which the queue gave them out, and in the order that is foretold."""
    Queue.objects.filter(name=broker.queue).update(**columns)
    messages = [send_task(TASK, kwargs=ARGUMENTS, **({} if p is None else {"priority": p})) for p in SENT]
    relay = Relay()
    assert relay.drain() == len(SENT)
    relay.close()
    by_id = {str(message.pk): priority for message, priority in zip(messages, SENT, strict=True)}
    got = [by_id[message.headers["id"]] for message in read_all(broker.url, broker.queue)]
    rank = priority_warnings.ordering(registry.current().table.queues[broker.queue]).rank
    return got, sorted(SENT, key=rank, reverse=True)


def test_a_queue_gives_out_what_the_ordering_foretells(broker: Broker) -> None:
    got, foretold = received(broker, max_priority=9)
    assert got == foretold


@pytest.mark.parametrize("highest", [5, 10, 255])
def test_what_is_above_the_highest_priority_counts_as_it(broker: Broker, highest: int) -> None:
    got, foretold = received(broker, max_priority=highest)
    assert got == foretold


def test_without_a_highest_priority_rabbitmq_keeps_the_order_of_sending(broker: Broker) -> None:
    got, foretold = received(broker)
    assert got == foretold
    assert (got == SENT) == (broker.kind == "rabbitmq")


@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
def test_a_quorum_queue_does_what_its_caveat_says_of_this_version(broker: Broker) -> None:
    got, foretold = received(broker, queue_type="quorum")
    assert got in (SENT, foretold)
