"""The options of a call as a real worker understands them, on Redis and RabbitMQ.

The web side is this process, with a relay that is stepped by hand. One worker serves the tests of a broker.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kombu
import pytest
from celery import Celery
from django.utils import timezone

from dispatch import api
from dispatch.client.message_protocol import Envelope
from dispatch.core.manifest import sealed
from dispatch.core.message import Message
from dispatch.models import OutboxMessage, Queue, Route, TaskDefinition
from dispatch.relay import Relay
from project.stack import Stack
from tests.support.brokers import delete_queue
from tests.support.stacks import eventually

pytestmark = pytest.mark.slow

SUMMARIZE = "worker.tasks.llm.summarize_note"
LINKS = "worker.tasks.link.preview_links"
FAIL = "worker.tasks.ops.fail_on_demand"
ARGUMENTS = {"note_id": "7", "text": "Zoë sleeps. 猫 too. 🐈"}
SERIALIZERS = ["json", "yaml", "msgpack"]
TYPES = {"yaml": "application/x-yaml", "msgpack": "application/x-msgpack", "json": "application/json"}


@dataclass
class Site:
    """A broker with queues of the test's own, and a worker of one process that takes one message at a time."""

    kind: str
    url: str
    results: str
    directory: Path
    queues: Mapping[str, Mapping[str, Any]]
    environment: Mapping[str, str]

    def __post_init__(self) -> None:
        self.queue = next(iter(self.queues))
        self.stack = Stack(
            self.directory, database_url="", broker_url=self.url, result_backend_url=self.results, start=()
        )
        self.stack.routing_file.write_text(sealed(self._routing()))
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        self.worker = self.stack["worker"]
        self.worker.command[:] = ["env", *variables, *self.worker.command, "--concurrency", "1"]

    def start(self) -> None:
        if not self.worker.running:
            self.stack.start("worker", timeout=60)

    def stop(self) -> None:
        self.worker.stop()

    def _routing(self) -> dict[str, Any]:
        queues = [{"name": name, "arguments": dict(given)} for name, given in self.queues.items()]
        return {"routing": 1, "default_queue": self.queue, "exchanges": [], "queues": queues, "tasks": {}}


@pytest.fixture(scope="module")
def empty_redis(redis_server: str) -> tuple[str, str]:
    """Two empty databases: for messages, and for results."""
    import redis

    urls = (f"{redis_server}/6", f"{redis_server}/7")
    for url in urls:
        with redis.Redis.from_url(url) as client:
            client.flushdb()
    return urls


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, empty_redis: tuple[str, str]
) -> Iterator[Site]:
    redis_url, results = empty_redis
    url = redis_url if request.param == "redis" else request.getfixturevalue("own_rabbitmq_url")
    directory = tmp_path_factory.mktemp(request.param)
    queue = f"dispatch-{directory.name}-{time.time_ns()}"
    queues = {queue: {"x-max-priority": 9}}
    accept = ",".join(SERIALIZERS)
    with running(request.param, url, results, directory, queues, ACCEPT_CONTENT=accept) as site:
        yield site


@contextmanager
def running(
    kind: str,
    url: str,
    results: str,
    directory: Path,
    queues: Mapping[str, Mapping[str, Any]],
    **variables: str,
) -> Iterator[Site]:
    """A site that leaves neither process nor queue behind; its first queue is the default one."""
    site = Site(kind, url, results, directory, queues, variables)
    try:
        yield site
    finally:
        site.stop()
        if kind == "rabbitmq":
            delete_queue(url, *queues)


@pytest.fixture
def configure(broker_settings: Callable[..., None], transactional_db: None) -> Callable[..., None]:
    """Return a function that points DISPATCH to a site, and registers its queues and the worker's tasks."""

    def point(site: Site, **conf: Any) -> None:
        entry = {"URL": site.url, "RESULT_BACKEND": site.results, "CONF": conf}
        broker_settings("", brokers={"default": entry}, SERIALIZERS=SERIALIZERS, BROKER_TIMEOUT=5.0)
        for name, given in site.queues.items():
            Queue.objects.create(
                name=name,
                is_default=name == site.queue,
                max_priority=given.get("x-max-priority"),
                queue_type=given.get("x-queue-type", "classic"),
            )
        for name in (SUMMARIZE, LINKS, FAIL):
            TaskDefinition.objects.create(name=name)

    return point


@pytest.fixture
def site(shared: Site, configure: Callable[..., None]) -> Site:
    configure(shared)
    return shared


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """Content type and compression of each message, as it is written."""
    seen: list[tuple[str, str | None]] = []
    write = Envelope.body

    def record(self: Envelope, message: Message) -> bytes:
        seen.append((self.content_type, self.headers.get("compression")))
        return write(self, message)

    monkeypatch.setattr(Envelope, "body", record)
    return seen


def finished(message: OutboxMessage, *, seconds: float = 60) -> Any:
    """Wait for the worker, and return Celery's own result."""
    result = api.result(message)
    eventually(result.ready, seconds=seconds)
    return result


def run_at(message: OutboxMessage) -> dt.datetime:
    """When the worker was done with a message, by its own clock."""
    moment: dt.datetime = finished(message).date_done
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def is_summarised(message: OutboxMessage) -> bool:
    result = finished(message)
    return result.state == "SUCCESS" and result.result["summary"] == "Zoë sleeps. 猫 too."


# -- when ---------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["countdown", "eta"])
def test_a_message_that_is_not_due_waits_in_the_outbox_and_not_in_the_worker(
    site: Site, relay: Relay, option: str
) -> None:
    site.start()
    due = timezone.now() + dt.timedelta(seconds=2)
    message = api.send_task(SUMMARIZE, kwargs=ARGUMENTS, **{option: 2 if option == "countdown" else due})
    assert relay.drain() == 0
    assert str(message.pk) not in site.worker.output()
    assert eventually(relay.drain) == 1
    assert run_at(message) >= due


def test_with_deliver_eta_the_worker_has_the_message_at_once_and_waits(site: Site, relay: Relay) -> None:
    site.start()
    due = timezone.now() + dt.timedelta(seconds=4)
    waiting = api.send_task(SUMMARIZE, kwargs=ARGUMENTS, eta=due, deliver_eta=True)
    assert relay.drain() == 1
    eventually(lambda: f"[{waiting.pk}] received" in site.worker.output())
    other = api.send_task(SUMMARIZE, kwargs=ARGUMENTS)
    assert relay.drain() == 1
    assert run_at(other) < due, "who waits keeps no one else waiting"
    assert run_at(waiting) >= due


def test_what_expires_while_the_worker_holds_it_is_not_run(site: Site, relay: Relay) -> None:
    site.start()
    message = api.send_task(SUMMARIZE, kwargs=ARGUMENTS, countdown=3, expires=1, deliver_eta=True)
    assert relay.drain() == 1
    eventually(lambda: f"[{message.pk}] received" in site.worker.output())
    assert finished(message).state == "REVOKED"
    assert f"{message.pk}] succeeded" not in site.worker.output()


def test_what_expires_in_the_broker_is_not_run(site: Site, relay: Relay) -> None:
    """RabbitMQ drops it by itself; from Redis it reaches the worker, which revokes it."""
    site.stop()
    expired = api.send_task(SUMMARIZE, kwargs=ARGUMENTS, expires=1)
    lasting = api.send_task(SUMMARIZE, kwargs=ARGUMENTS, expires=600)
    assert relay.drain() == 2
    time.sleep(1.2)
    site.start()
    assert is_summarised(lasting)
    assert f"{expired.pk}] succeeded" not in site.worker.output()
    if site.kind == "redis":
        assert finished(expired).state == "REVOKED"
    else:
        assert str(expired.pk) not in site.worker.output()


def test_a_countdown_keeps_no_worker_of_a_quorum_queue_waiting(
    configure: Callable[..., None],
    relay: Relay,
    rabbitmq_url: str,
    unique: str,
    empty_redis: tuple[str, str],
    tmp_path: Path,
) -> None:
    queues = {unique: {"x-queue-type": "quorum"}}
    with running("rabbitmq", rabbitmq_url, empty_redis[1], tmp_path, queues) as site:
        configure(site)
        site.start()
        due = timezone.now() + dt.timedelta(seconds=3)
        later = api.send_task(SUMMARIZE, kwargs=ARGUMENTS, eta=due)
        now = api.send_task(SUMMARIZE, kwargs=ARGUMENTS)
        assert relay.drain() == 1
        assert run_at(now) < due
        assert eventually(relay.drain) == 1
        assert run_at(later) >= due


# -- how it is written --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["yaml", "msgpack"])
def test_the_worker_reads_what_call_task_or_broker_wrote_in_another_serializer(
    shared: Site, configure: Callable[..., None], relay: Relay, wire: list[Any], name: str
) -> None:
    configure(shared, task_serializer=name)
    shared.start()
    TaskDefinition.objects.filter(name=LINKS).update(serializer=name)
    messages = [
        api.send_task(SUMMARIZE, kwargs=ARGUMENTS),
        api.send_task(SUMMARIZE, kwargs=ARGUMENTS, serializer="json"),
        api.send_task(LINKS, kwargs=ARGUMENTS),
    ]
    assert relay.drain() == 3
    assert [finished(message).state for message in messages] == ["SUCCESS"] * 3
    assert is_summarised(messages[0])
    assert [kind for kind, _ in wire] == [TYPES[name], TYPES["json"], TYPES[name]]


def test_a_call_or_a_task_may_ask_for_a_serializer_that_is_not_the_brokers(
    site: Site, relay: Relay, wire: list[Any]
) -> None:
    site.start()
    TaskDefinition.objects.filter(name=SUMMARIZE).update(serializer="msgpack")
    messages = [
        api.send_task(SUMMARIZE, kwargs=ARGUMENTS),
        api.send_task(SUMMARIZE, kwargs=ARGUMENTS, serializer="yaml"),
    ]
    assert relay.drain() == 2
    assert all(map(is_summarised, messages))
    assert [kind for kind, _ in wire] == [TYPES["msgpack"], TYPES["yaml"]]


def test_the_worker_unpacks_what_call_task_or_broker_compressed(
    shared: Site, configure: Callable[..., None], relay: Relay, wire: list[Any]
) -> None:
    configure(shared, task_compression="gzip")
    shared.start()
    TaskDefinition.objects.filter(name=LINKS).update(compression="lzma")
    codecs = ("zlib", "bzip2", "lzma", "zstd")
    messages = [api.send_task(SUMMARIZE, kwargs=ARGUMENTS, compression=codec) for codec in codecs]
    messages += [api.send_task(LINKS, kwargs=ARGUMENTS), api.send_task(SUMMARIZE, kwargs=ARGUMENTS)]
    messages += [api.send_task(SUMMARIZE, kwargs=ARGUMENTS, serializer="msgpack")]
    assert relay.drain() == len(messages)
    assert [finished(message).state for message in messages] == ["SUCCESS"] * len(messages)
    assert is_summarised(messages[-1])
    kinds = [compression.rpartition("/")[2] for _, compression in wire]
    assert kinds == ["x-gzip", "x-bz2", "x-lzma", "zstd", "x-lzma", "x-gzip", "x-gzip"]


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.write_text, (self.path, "pickle ran"))


def test_the_worker_refuses_a_pickle_that_someone_else_has_sent(
    site: Site, relay: Relay, tmp_path: Path
) -> None:
    site.start()
    canary = tmp_path / "canary"
    stranger = Celery(broker=site.url, set_as_current=False, fixups=[])
    stranger.send_task(
        SUMMARIZE, ["7", Canary(canary)], serializer="pickle", queue=kombu.Queue(site.queue), declare=[]
    )
    eventually(lambda: "Refusing to deserialize untrusted content of type pickle" in site.worker.output())
    message = api.send_task(SUMMARIZE, kwargs=ARGUMENTS)
    assert relay.drain() == 1
    assert is_summarised(message)
    assert not canary.exists()


# -- in which order -----------------------------------------------------------------------


def test_what_waits_is_run_by_urgency_and_the_call_wins_over_task_route_and_queue(
    site: Site, relay: Relay
) -> None:
    site.stop()
    Queue.objects.update(default_priority=0)
    queue = Queue.objects.get()
    Route.objects.create(pattern="worker.tasks.link.*", kind="glob", priority=1, queue=queue)
    Route.objects.create(pattern="worker.tasks.ops.*", kind="glob", priority=3)
    TaskDefinition.objects.filter(name=LINKS).update(priority=6)
    sent = {
        key: [
            api.send_task(name, kwargs=ARGUMENTS | given, priority=priority).pk
            for given in ({"note_id": "1"}, {"note_id": "2"})
        ]
        for key, name, priority in (
            ("queue", SUMMARIZE, None),
            ("route", FAIL, None),
            ("task", LINKS, None),
            ("call", LINKS, 9),
        )
    }
    assert relay.drain() == 8
    site.start()
    moments = {key: [run_at(OutboxMessage.objects.get(pk=pk)) for pk in pks] for key, pks in sent.items()}
    order = [moments[key] for key in ("call", "task", "route", "queue")]
    assert list(itertools.chain(*order)) == sorted(itertools.chain(*order))


def test_relay_and_worker_with_the_same_redis_options_understand_each_other(
    configure: Callable[..., None],
    relay: Relay,
    empty_redis: tuple[str, str],
    unique: str,
    tmp_path: Path,
) -> None:
    """Ten steps keep ten priorities apart, where kombu's default four do not; "sorted" empties queues by name."""
    import redis

    url, results = empty_redis
    first, second = f"{unique}-a", f"{unique}-b"
    options = {"priority_steps": list(range(10)), "sep": ":", "queue_order_strategy": "sorted"}
    environment = {"BROKER_TRANSPORT_OPTIONS": json.dumps(options)}
    queues: dict[str, Mapping[str, Any]] = {second: {}, first: {}}
    with running("redis", url, results, tmp_path, queues, **environment) as site:
        configure(site, broker_transport_options=options)
        sent = {
            (9 - priority, queue, turn): api.send_task(
                SUMMARIZE, kwargs=ARGUMENTS, queue=queue, priority=priority
            )
            for queue, priorities in ((second, [4, 4]), (first, [*range(10), 4, 4]))
            for turn, priority in enumerate(priorities)
        }
        assert relay.drain() == 14
        with redis.Redis.from_url(url, decode_responses=True) as client:
            assert set(client.keys(f"{first}*")) == {first} | {f"{first}:{step}" for step in range(1, 10)}
        site.start()
        done = {key: run_at(message) for key, message in sent.items()}
    assert sorted(done, key=lambda key: done[key]) == sorted(sent)
