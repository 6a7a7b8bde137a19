"""Rows 7, 8 and 12 on RabbitMQ: a node of the tests' own that raises an alarm, refuses, and crashes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import kombu
import pytest

from dispatch.models import OutboxMessage
from tests.support.own_servers import OwnRabbitMQ, own_rabbitmq
from tests.support.registry import make_queue
from tests.support.sites import Site, statuses
from tests.support.stacks import eventually

pytestmark = [pytest.mark.slow, pytest.mark.one_database]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRabbitMQ]:
    with own_rabbitmq(tmp_path_factory.mktemp("rabbitmq"), "max_message_size = 200000") as server:
        yield server


@pytest.fixture
def site(node: OwnRabbitMQ, make_site: Callable[..., Site]) -> Site:
    return make_site(node.url)


def errors(**where: object) -> set[str]:
    return set(
        OutboxMessage.objects.filter(**where).exclude(last_error="").values_list("last_error", flat=True)
    )


# -- row 7 ----------------------------------------------------------------------------------------


def test_a_memory_alarm_ends_each_publish_in_time_and_hangs_no_relay(site: Site, node: OwnRabbitMQ) -> None:
    relay = site.relay()
    site.ledger.commit()
    site.settled()
    node.ctl("set_vm_memory_high_watermark", "0.000001")
    try:
        site.ledger.commit(5)
        eventually(errors, seconds=20)
        relay.signal(signal.SIGTERM)
        assert relay.wait(20) == 0, relay.tail()
        assert statuses()["claimed"] == 0
    finally:
        node.ctl("set_vm_memory_high_watermark", "0.8")
    site.relay()
    site.settled()
    attempts = max(OutboxMessage.objects.values_list("attempts", flat=True))
    site.ledger.audit(duplicates=attempts - 1)


# -- row 8 ----------------------------------------------------------------------------------------


def test_what_one_queue_or_message_is_refused_for_stands_on_it_and_the_others_flow(
    site: Site, node: OwnRabbitMQ
) -> None:
    name = site.queue
    full, differing, forbidden = f"{name}-full", f"{name}-differing", f"{name}-forbidden"
    make_queue(full, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    make_queue(differing)
    make_queue(forbidden)
    with kombu.Connection(node.url) as connection:
        kombu.Queue(differing, durable=True, max_length=5).bind(connection.channel()).queue_declare()
    node.ctl("set_permissions", "guest", f"^(?!{forbidden}).*", f"^(?!{forbidden}).*", ".*")
    try:
        refused = {queue: site.ledger.commit(3, queue=queue) for queue in (full, differing, forbidden)}
        site.relay(MAX_ATTEMPTS=2)
        [oversize] = site.ledger.commit(padding=200_000)
        flowing = [*site.ledger.commit(20), *site.ledger.commit(20)]
        eventually(
            lambda: not OutboxMessage.objects.filter(pk__in=flowing).exclude(status="published").exists()
        )
        eventually(lambda: OutboxMessage.objects.get(pk=oversize).status == "dead")
        eventually(lambda: all(errors(queue=queue) for queue in refused))
        told = {queue: " ".join(errors(queue=queue)) for queue in refused}
        assert "is it full?" in told[full]
        assert "inequivalent arg 'x-max-length'" in told[differing]
        assert "may not declare it" in told[forbidden]
        assert "larger than configured max size" in " ".join(errors(pk=oversize))
        assert not OutboxMessage.objects.filter(queue__in=refused, status="dead").exists()
    finally:
        node.ctl("set_permissions", "guest", ".*", ".*", ".*")
    with kombu.Connection(node.url) as connection:
        connection.channel().queue_delete(differing)

    def all_but_the_full_one() -> bool:
        site.ledger.take(node.url, full)  # as a worker does: there is room for the next
        return not OutboxMessage.objects.filter(status__in=["pending", "claimed"]).exists()

    eventually(all_but_the_full_one)
    site.ledger.take(node.url, full, differing, forbidden, site.queue)
    site.ledger.audit(duplicates=1, affected=1, missing=[oversize])


# -- row 12 ---------------------------------------------------------------------------------------


def test_a_node_that_is_killed_and_restarted_loses_nothing_that_it_confirmed(
    site: Site, node: OwnRabbitMQ
) -> None:
    site.relay(RELAY_BATCH_SIZE=50)
    site.ledger.commit(500)
    eventually(lambda: statuses()["published"] > 0)
    node.crash()
    site.ledger.commit(100)
    site.ledger.roll_back(10)
    node.start()
    site.ledger.commit(100)
    site.settled(60)
    site.ledger.audit(duplicates=1)
