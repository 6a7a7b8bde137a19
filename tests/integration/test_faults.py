"""A broker that is down, stalls, or breaks in the middle: saves do not notice, and messages arrive afterwards."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from unittest.mock import Mock

import pytest
import redis
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dispatch.api import Call, send_many, send_task
from dispatch.models import OutboxMessage, TaskDefinition
from dispatch.relay import Relay
from dispatch.results import Collector
from project.notes.models import Note
from tests.integration.conftest import TIMEOUT, Broker, Fragile
from tests.support.brokers import task_ids
from tests.support.registry import ARGUMENTS, TASK, make_queue, make_registry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


def retry(relay: Relay) -> int:
    """Let the breakers' waits pass."""
    relay.breakers._open_until.clear()
    return relay.step()


@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_saves_open_no_socket_and_messages_arrive_when_the_broker_is_back(
    fragile: Fragile, relay: Relay, fault: str
) -> None:
    getattr(fragile.proxy, fault)()
    before = fragile.proxy.connections
    for number in range(3):
        Note.objects.create(title=f"note {number}")
    assert fragile.proxy.connections == before

    assert relay.step() == 0
    rows = OutboxMessage.objects.all()
    assert [(row.status, row.attempts) for row in rows] == [("pending", 0)] * 3
    assert "cannot be reached" in " ".join(row.last_error for row in rows)
    assert relay.step() == 0, "a broker that failed just now is left alone for a while"

    fragile.proxy.open()
    assert retry(relay) == 3
    assert sorted(task_ids(fragile.url, fragile.queue)) == sorted(str(row.pk) for row in rows)


@pytest.mark.parametrize("fault", ["cut", "stall", "swallow_replies"])
def test_a_connection_that_breaks_between_messages_loses_none(
    fragile: Fragile, relay: Relay, fault: str
) -> None:
    first = send_task(TASK, kwargs=ARGUMENTS)
    assert relay.step() == 1
    later = send_many(Call(TASK, kwargs=ARGUMENTS) for _ in range(3))
    getattr(fragile.proxy, fault)()
    relay.step()
    fragile.proxy.open()
    for _ in range(50):
        retry(relay)
        if not OutboxMessage.objects.exclude(status="published").exists():
            break
        time.sleep(0.05)
    received = task_ids(fragile.url, fragile.queue)
    assert set(received) == {str(first.pk), *(str(message.pk) for message in later)}
    assert len(received) <= 4 + 1, "only the message that was in flight may be there twice"


def test_a_broker_that_is_down_for_long_makes_no_dead_messages(fragile: Fragile, relay: Relay) -> None:
    fragile.proxy.cut()
    send_task(TASK, kwargs=ARGUMENTS)
    for _ in range(20):
        retry(relay)
    assert OutboxMessage.objects.get().status == "pending"


def test_a_broker_that_is_down_does_not_harm_another(
    fragile: Fragile, redis_server: str, broker_settings: Callable[..., None], relay: Relay, settings: object
) -> None:
    brokers = dict(settings.DISPATCH["BROKERS"])  # type: ignore[attr-defined]
    good = f"{redis_server}/3"
    broker_settings(brokers["default"]["URL"], BROKER_TIMEOUT=TIMEOUT, brokers={"good": {"URL": good}})
    make_queue("there", broker="good")
    TaskDefinition.objects.create(name="elsewhere", queue=None)
    fragile.proxy.cut()
    waiting = send_task(TASK, kwargs=ARGUMENTS)
    passing = send_task("elsewhere", queue="there")
    assert relay.step() == 1
    assert task_ids(good, "there") == [str(passing.pk)]
    waiting.refresh_from_db()
    assert waiting.status == "pending"


def test_no_password_reaches_a_row_or_a_log(
    broker_settings: Callable[..., None], caplog: pytest.LogCaptureFixture, relay: Relay
) -> None:
    for url in ("redis://user:s3cret@127.0.0.1:1/0", "amqp://user:s3cret@127.0.0.1:1//"):
        broker_settings(url)
        make_queue(f"queue{OutboxMessage.objects.count()}", is_default=not OutboxMessage.objects.exists())
        TaskDefinition.objects.get_or_create(name="any")
        send_task("any")
        relay.step()
        relay.close()
        relay.breakers._open_until.clear()
    errors = " ".join(OutboxMessage.objects.values_list("last_error", flat=True))
    assert "cannot be reached" in errors
    assert "s3cret" not in errors + caplog.text


SLIPS = [
    " {}://user:s3cret@127.0.0.1:1/0",
    "{}:///user:s3cret@127.0.0.1:1/0",
    "{}:///:s3cret@127.0.0.1:1/0",
    "{}://127.0.0.1:1/user:s3cret@0",
    "{}://user:s3cret/x@127.0.0.1:1/0",
    "{}://user:s3cret#x@127.0.0.1:1/0",
    "{}://user:s3cret?x@127.0.0.1:1/0",
    "{}://user:x@s3cret@127.0.0.1:1/0",
    "{}://user:[s3cret@127.0.0.1:1/0",
]


@pytest.mark.one_database
@pytest.mark.parametrize("scheme", ["redis", "amqp", "sentinel"])
@pytest.mark.parametrize("slip", SLIPS)
def test_no_password_of_a_url_with_a_slip_is_told_by_row_log_command_or_page(
    scheme: str,
    slip: str,
    broker_settings: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    relay: Relay,
    admin_client: Client,
) -> None:
    url = slip.format(scheme)
    broker_settings(url, url, BROKER_TIMEOUT=TIMEOUT, REGISTRY_TTL=0)
    make_queue("llm", is_default=True)
    TaskDefinition.objects.create(name="any")
    message = send_task("any")
    relay.step()
    message.refresh_from_db()
    assert message.status == "pending"
    assert "has a URL that cannot be used" in message.last_error
    OutboxMessage.objects.update(status="published", published_at=timezone.now())
    Collector().sweep()
    printed = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("dispatch", "queues", "list", stdout=printed, stderr=printed, skip_checks=True)
    page = admin_client.get(reverse("admin:dispatch_queue_seen"), {"queue": ["llm"]}).content.decode()
    problems = "".join(f"{each.msg}{each.hint}" for each in run_checks())
    assert problems.count("does not parse cleanly") == 2
    assert "cannot be used" in caplog.text
    told = [message.last_error, caplog.text, printed.getvalue(), str(caught.value), page, problems]
    assert not [text for text in told if "s3cret" in text]


def test_what_a_library_quotes_of_credentials_outside_of_urls_is_told_by_nobody(
    broker_settings: Callable[..., None], relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = {"broker_transport_options": {"sentinel_kwargs": {"password": "s3cret"}}}
    broker_settings("", brokers={"default": {"URL": "redis://127.0.0.1:1/0", "CONF": conf}})
    make_queue("llm", is_default=True)
    TaskDefinition.objects.create(name="any")
    message = send_task("any")
    quoting = ConnectionError("bad answer to AUTH 's3cret', s3cret:6379, S3CRET")
    monkeypatch.setattr("dispatch.client.celery_apps.open_up", Mock(side_effect=quoting))
    relay.step()
    message.refresh_from_db()
    assert "bad answer to AUTH '***', ***:6379, ***" in message.last_error


def fill_up(client: redis.Redis) -> Callable[[], object]:
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1")
    return lambda: client.config_set("maxmemory", "0")


def become_a_replica(client: redis.Redis) -> Callable[[], object]:
    client.replicaof("127.0.0.1", "1")
    return lambda: client.replicaof("NO", "ONE")


def miss_its_replica(client: redis.Redis) -> Callable[[], object]:
    client.config_set("min-replicas-to-write", "1")
    return lambda: client.config_set("min-replicas-to-write", "0")


@pytest.mark.parametrize("refuse_all", [fill_up, become_a_replica, miss_its_replica])
def test_a_redis_that_takes_nothing_from_anyone_makes_no_dead_messages(
    own_redis: redis.Redis, relay: Relay, refuse_all: Callable[[redis.Redis], Callable[[], object]]
) -> None:
    make_registry()
    messages = send_many(Call(TASK, kwargs=ARGUMENTS) for _ in range(3))
    repair = refuse_all(own_redis)
    for _ in range(5):
        assert retry(relay) == 0
    rows = OutboxMessage.objects.all()
    assert {(row.status, row.attempts) for row in rows} == {("pending", 0)}
    assert "Broker 'default'" in " ".join(row.last_error for row in rows)
    repair()
    assert retry(relay) == 3
    assert own_redis.llen("llm") == len(messages)


@pytest.mark.parametrize("options", [{"compression": "brotli"}, {"serializer": "nope"}], ids=str)
def test_a_codec_that_is_not_installed_is_that_rows_own_failure(
    broker: Broker, relay: Relay, options: dict[str, str]
) -> None:
    first = send_task(TASK, kwargs=ARGUMENTS)
    later = send_many(Call(TASK, kwargs=ARGUMENTS) for _ in range(3))
    OutboxMessage.objects.filter(pk=first.pk).update(options=options)
    assert relay.step() == 3
    assert task_ids(broker.url, broker.queue) == [str(message.pk) for message in later]
    first.refresh_from_db()
    assert (first.status, first.attempts) == ("pending", 1)
    assert first.last_error
    assert relay.breakers.open("broker") == set(), "the broker is not to blame"
