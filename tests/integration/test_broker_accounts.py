"""What `dispatch acl` prints, given to real servers: each process does its work under its account, and nothing else."""

from __future__ import annotations

import io
import shlex
import shutil
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import kombu
import pytest
import redis
from amqp.exceptions import AccessRefused
from celery import Celery
from django.core.management import call_command

from dispatch import queues
from dispatch.api import send_task
from dispatch.client import queue_admin, queue_state, redis_persistence, worker_control
from dispatch.client.result_notices import Notices
from dispatch.conf import conf
from dispatch.models import Binding, Exchange, OutboxMessage, Route
from dispatch.models.database import database_now
from dispatch.relay import Relay
from dispatch.results import Collector
from tests.support import servers
from tests.support.brokers import task_ids
from tests.support.rabbitmqctl import PASSWORD, Site, control, own_vhost
from tests.support.registry import ARGUMENTS, TASK, make_queue, make_registry, make_task

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]


def printed(program: str) -> list[str]:
    """Return the lines of `dispatch acl` that are for a program."""
    output = io.StringIO()
    call_command("dispatch", "acl", stdout=output)
    return [line for line in output.getvalue().splitlines() if line.startswith(program)]


# -- Redis -------------------------------------------------------------------------------------------


@pytest.fixture
def accounts(own_redis: redis.Redis, broker_settings: Callable[..., None]) -> Callable[[str], redis.Redis]:
    """Return a function that makes an account the one of the settings, and returns a client that has it."""
    cli = shutil.which("redis-cli")
    if cli is None:
        servers.missing("redis-cli was not found")
    make_registry(queue="llm with a space")
    Exchange.objects.create(name="news", type="fanout")
    url = conf.brokers["default"].url
    broker_settings(url, url)
    lines = printed("ACL")
    address = urlsplit(url)
    told = subprocess.run(
        [cli, "-p", str(address.port)], input="\n".join(lines), capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["OK"] * 3

    def become(role: str) -> redis.Redis:
        own_redis.execute_command("ACL", "SETUSER", f"dispatch-{role}", f">{PASSWORD}")
        own = f"redis://dispatch-{role}:{PASSWORD}@{address.hostname}:{address.port}/0"
        broker_settings(own, own)
        return redis.Redis.from_url(own)

    return become


def missed(client: redis.Redis) -> set[str]:
    """Return what was refused so far; that redis-py may not tell its own name harms nobody."""
    return {entry["object"] for entry in client.acl_log()} - {"client", "client|setinfo"}


def refused(ask: Callable[..., Any], *arguments: Any) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        ask(*arguments)


def test_a_relay_publishes_under_its_account_of_redis_and_does_nothing_else(
    accounts: Callable[[str], redis.Redis], own_redis: redis.Redis
) -> None:
    with accounts("relay") as client, own_redis.pubsub(ignore_subscribe_messages=True) as hearer:
        hearer.psubscribe("/0.news*")
        sent = [send_task(TASK, kwargs=ARGUMENTS, priority=priority) for priority in (0, 5, 9, None)]
        send_task(TASK, kwargs=ARGUMENTS, exchange="news", routing_key="a.b")
        assert Relay().drain() == 5
        assert not missed(own_redis)
        keys = own_redis.keys()
        assert len(keys) == 3
        assert sum(map(own_redis.llen, keys)) == len(sent)
        assert {each["channel"] for each in islice(hearer.listen(), 2)} == {b"/0.news", b"/0.news/a.b"}
        name = "llm with a space"
        for ask in (client.rpop, client.llen, client.delete, client.get):
            refused(ask, name)
        refused(client.lpush, "another", "x")
        refused(client.publish, "/0.celery.pidbox", "x")
        refused(client.config_get, "requirepass")


def test_a_collector_reads_results_under_its_account_and_nothing_else(
    accounts: Callable[[str], redis.Redis], own_redis: redis.Redis
) -> None:
    message = send_task(TASK, kwargs=ARGUMENTS)
    OutboxMessage.objects.filter(pk=message.pk).update(status="published", published_at=database_now())
    worker = Celery("worker", backend=conf.brokers["default"].url, set_as_current=False)
    with accounts("collector") as client:
        stop = threading.Event()
        notices = Notices(stop)
        notices.listen()
        while not own_redis.pubsub_numpat():
            pass
        worker.backend.store_result(str(message.pk), 1, "SUCCESS")
        assert notices.heard.wait(10)
        stop.set()
        notices.close()
        assert Collector().sweep() == 1
        assert not missed(own_redis)
        key = f"celery-task-meta-{message.pk}"
        for ask in (client.get, client.delete, client.lpop):
            refused(ask, key)
        refused(client.mget, ["llm with a space"])
        refused(client.execute_command, "PSUBSCRIBE", "*")
    worker.close()


def test_the_admin_looks_at_queues_and_works_on_them_under_its_account_and_publishes_nothing(
    accounts: Callable[[str], redis.Redis], own_redis: redis.Redis
) -> None:
    _, moved = (send_task(TASK, kwargs=ARGUMENTS) for _ in range(2))
    Relay().drain()
    name = "llm with a space"
    with accounts("admin") as client:
        assert [outcome.error for outcome in queues.declare(None)] == ["", ""]
        assert {line.queue: line.seen.ready for line in queues.overview("default")} == {"default": 0, name: 2}
        assert [peeked.task for peeked in queues.peek(name, 1)] == [TASK]
        with queue_state.opened(conf.brokers["default"]) as link:
            assert redis_persistence.persistence(link)
            assert (waiting := queue_admin.find(link, name, str(moved.pk)))
            assert queue_admin.remove(link, waiting)
        assert [outcome.messages for outcome in queues.purge([name])] == [1]
        assert [outcome.error for outcome in queues.delete([name])] == [""]
        assert missed(own_redis) <= {"config", "config|get"}
        refused(client.lpush, name, "x")
        refused(client.lrange, "another", 0, 1)
        refused(client.publish, "/0.news", "x")


# -- RabbitMQ ----------------------------------------------------------------------------------------


ALIAS = uuid.uuid4().hex[:12]
RELAY, ADMIN, PUBLISHER = (f"dispatch-{role}-{ALIAS}" for role in ("relay", "admin", "publisher"))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A vhost of these tests' own; the publisher may publish, and declare nothing."""
    with own_vhost(RELAY, ADMIN, PUBLISHER) as site:
        control(("set_permissions", "-p", site.vhost, PUBLISHER, "", ".*", ""))
        yield site


@pytest.fixture
def log_in(site: Site, broker_settings: Callable[..., None]) -> Callable[..., None]:
    """Return a function that puts an account into the settings of broker ``ALIAS``."""

    def log_in(user: str, **keys: Any) -> None:
        broker_settings("memory://", brokers={ALIAS: {"URL": site.url(user)}}, **keys)

    return log_in


def is_refused(url: str, ask: Callable[[Any], Any]) -> bool:
    """Tell whether RabbitMQ refuses what is asked of it on a channel that confirms what is published."""
    with kombu.Connection(url, transport_options={"confirm_publish": True}) as connection:
        try:
            ask(connection.channel())
        except AccessRefused:
            return True
        return False


def publish(exchange: str, key: str) -> Callable[[Any], Any]:
    return lambda channel: kombu.Producer(channel, auto_declare=False).publish(
        "x", exchange=exchange, routing_key=key, retry=False
    )


def test_relay_and_admin_do_their_work_under_their_accounts_of_rabbitmq_and_nothing_else(
    site: Site, log_in: Callable[..., None]
) -> None:
    exchange = Exchange.objects.create(name="notes", type="topic", broker=ALIAS)
    Binding.objects.create(exchange=exchange, queue=make_queue("bound", broker=ALIAS), routing_key="note.#")
    Route.objects.create(pattern="*", exchange=exchange, routing_key="note.saved")
    make_task()
    log_in(ADMIN, BROKER_TIMEOUT=1)
    control(*map(shlex.split, (line.removeprefix("rabbitmqctl ") for line in printed("rabbitmqctl"))))
    assert [outcome.error for outcome in queues.declare(None)] == [""]
    log_in(RELAY)
    sent = [send_task(TASK, kwargs=ARGUMENTS) for _ in range(2)]
    assert Relay().drain() == 2
    log_in(ADMIN, BROKER_TIMEOUT=1)
    assert [line.seen.ready for line in queues.overview("default")] == [2]
    assert [peeked.task_id for peeked in queues.peek("bound", 1)] == [str(sent[0].pk)]
    with queue_state.opened(conf.brokers[ALIAS]) as link:
        assert worker_control.consumed(link) == {}
    assert not is_refused(site.url(RELAY), publish("notes", "note.read"))
    assert is_refused(site.url(RELAY), publish("notes", "another.key"))
    assert is_refused(site.url(RELAY), publish("", "bound"))
    assert is_refused(site.url(RELAY), publish("amq.topic", "note.read"))
    assert is_refused(site.url(RELAY), lambda channel: channel.basic_get("bound"))
    assert is_refused(site.url(RELAY), lambda channel: channel.queue_purge("bound"))
    assert is_refused(site.url(RELAY), lambda channel: channel.queue_declare("another"))
    assert is_refused(site.url(ADMIN), publish("notes", "note.read"))
    assert is_refused(site.url(ADMIN), lambda channel: channel.queue_declare("another"))
    assert [outcome.messages for outcome in queues.purge(["bound"])] == [3]
    assert [outcome.error for outcome in queues.delete(["bound"])] == [""]


def test_a_relay_that_names_queues_publishes_to_those_of_the_vhost_under_its_account_and_does_nothing_else(
    site: Site, log_in: Callable[..., None], unique: str
) -> None:
    Route.objects.create(pattern="*", queue=make_queue(unique, broker=ALIAS))
    make_task()
    log_in(RELAY)
    control(
        *(shlex.split(line.removeprefix("rabbitmqctl ")) for line in printed("rabbitmqctl") if RELAY in line)
    )
    for name in (unique, "others"):
        declare(site.owner, kombu.Queue(name))
    send_task(TASK, kwargs=ARGUMENTS)
    assert Relay().drain() == 1
    url = site.url(RELAY)
    assert not is_refused(url, publish("", "others"))  # as the note beside the account says
    assert is_refused(url, publish("amq.direct", unique))
    assert is_refused(url, lambda channel: channel.basic_get(unique))
    assert is_refused(url, lambda channel: channel.queue_purge(unique))
    assert is_refused(url, lambda channel: channel.queue_declare("another"))


@pytest.fixture
def publisher(site: Site, unique: str, broker_settings: Callable[..., None]) -> Iterator[Relay]:
    broker_settings(site.url(PUBLISHER))
    make_registry(queue=unique)
    relay = Relay()
    yield relay
    relay.close()


def declare(url: str, queue: kombu.Queue) -> None:
    with kombu.Connection(url) as connection:
        queue.bind(connection.channel()).declare()


def test_a_queue_that_exists_is_published_to_by_an_account_that_may_not_declare(
    site: Site, publisher: Relay, unique: str
) -> None:
    declare(site.owner, kombu.Queue(unique, kombu.Exchange("another's"), "key"))
    sent = [send_task(TASK, kwargs=ARGUMENTS) for _ in range(2)]
    assert publisher.step() == 2
    assert task_ids(site.owner, unique) == [str(message.pk) for message in sent]


def test_an_exchange_and_its_bindings_that_exist_are_used_too(site: Site, publisher: Relay) -> None:
    exchange = Exchange.objects.create(name="notes", type="topic")
    Binding.objects.create(exchange=exchange, queue=make_queue("bound"), routing_key="note.#")
    declare(site.owner, kombu.Queue("bound", kombu.Exchange("notes", "topic"), "note.#"))
    message = send_task(TASK, kwargs=ARGUMENTS, exchange="notes", routing_key="note.saved")
    assert publisher.step() == 1
    assert task_ids(site.owner, "bound") == [str(message.pk)]


def test_a_queue_that_does_not_exist_waits_alone_and_the_error_says_who_can_declare_it(
    site: Site, publisher: Relay, unique: str
) -> None:
    make_queue("missing")
    declare(site.owner, kombu.Queue(unique))
    waiting = send_task(TASK, kwargs=ARGUMENTS, queue="missing")
    passing = send_task(TASK, kwargs=ARGUMENTS)
    assert publisher.step() == 1
    assert task_ids(site.owner, unique) == [str(passing.pk)]
    row = OutboxMessage.objects.get(pk=waiting.pk)
    assert (row.status, row.attempts) == ("pending", 0)
    assert "ACCESS_REFUSED" in row.last_error
    assert (
        "`manage.py dispatch queues declare` with one that has the permission to configure" in row.last_error
    )


def test_the_overview_shows_such_an_account_what_waits(site: Site, publisher: Relay, unique: str) -> None:
    declare(site.owner, kombu.Queue(unique))
    send_task(TASK, kwargs=ARGUMENTS)
    publisher.step()
    [line] = queues.overview("default", [unique])
    assert (line.seen.state, line.seen.ready) == ("ok", 1)
