"""A RabbitMQ account that may publish, and declare nothing: what is there is used as it is."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import kombu
import pytest

from dispatch import queues
from dispatch.api import send_task
from dispatch.models import Binding, Exchange, OutboxMessage
from dispatch.relay import Relay
from tests.support import servers
from tests.support.brokers import task_ids
from tests.support.registry import ARGUMENTS, TASK, make_queue, make_registry

pytestmark = pytest.mark.one_database

CONTROL = shutil.which("rabbitmqctl") or ""


def control(*arguments: str) -> None:
    subprocess.run([CONTROL, "-q", *arguments], check=True, capture_output=True)


@dataclass(frozen=True)
class Site:
    """A vhost of the test's own: the URL of who may do everything there, and of who may only publish."""

    owner: str
    publisher: str


@pytest.fixture
def site(rabbitmq_url: str, unique: str) -> Iterator[Site]:
    if not CONTROL:
        servers.missing("no rabbitmqctl was found")
    address = urlsplit(rabbitmq_url)
    control("add_vhost", unique)
    control("add_user", unique, "s3cret")
    control("set_permissions", "-p", unique, str(address.username), ".*", ".*", ".*")
    control("set_permissions", "-p", unique, unique, "", ".*", "")
    host = f"{address.hostname}:{address.port}/{unique}"
    yield Site(f"amqp://{address.username}:{address.password}@{host}", f"amqp://{unique}:s3cret@{host}")
    control("delete_user", unique)
    control("delete_vhost", unique)


@pytest.fixture
def relay(site: Site, broker_settings: Callable[..., None], transactional_db: None) -> Iterator[Relay]:
    broker_settings(site.publisher)
    make_registry(queue="plain")
    relay = Relay()
    yield relay
    relay.close()


def declare(url: str, queue: kombu.Queue) -> None:
    with kombu.Connection(url) as connection:
        queue.bind(connection.channel()).declare()


def test_a_queue_that_exists_is_published_to_by_an_account_that_may_not_declare(
    site: Site, relay: Relay
) -> None:
    declare(site.owner, kombu.Queue("plain", kombu.Exchange("another's"), "key"))
    sent = [send_task(TASK, kwargs=ARGUMENTS) for _ in range(2)]
    assert relay.step() == 2
    assert task_ids(site.owner, "plain") == [str(message.pk) for message in sent]


def test_an_exchange_and_its_bindings_that_exist_are_used_too(site: Site, relay: Relay) -> None:
    exchange = Exchange.objects.create(name="notes", type="topic")
    Binding.objects.create(exchange=exchange, queue=make_queue("bound"), routing_key="note.#")
    declare(site.owner, kombu.Queue("bound", kombu.Exchange("notes", "topic"), "note.#"))
    message = send_task(TASK, kwargs=ARGUMENTS, exchange="notes", routing_key="note.saved")
    assert relay.step() == 1
    assert task_ids(site.owner, "bound") == [str(message.pk)]


def test_a_queue_that_does_not_exist_waits_alone_and_the_error_says_who_can_declare_it(
    site: Site, relay: Relay
) -> None:
    make_queue("missing")
    declare(site.owner, kombu.Queue("plain"))
    waiting = send_task(TASK, kwargs=ARGUMENTS, queue="missing")
    passing = send_task(TASK, kwargs=ARGUMENTS)
    assert relay.step() == 1
    assert task_ids(site.owner, "plain") == [str(passing.pk)]
    row = OutboxMessage.objects.get(pk=waiting.pk)
    assert (row.status, row.attempts) == ("pending", 0)
    assert "ACCESS_REFUSED" in row.last_error
    assert (
        "`manage.py dispatch queues declare` with one that has the permission to configure" in row.last_error
    )


def test_the_overview_shows_such_an_account_what_waits(site: Site, relay: Relay) -> None:
    declare(site.owner, kombu.Queue("plain"))
    send_task(TASK, kwargs=ARGUMENTS)
    relay.step()
    [line] = queues.overview("default", ["plain"])
    assert (line.seen.state, line.seen.ready) == ("ok", 1)
