"""Exchanges in front of workers: two of them, each with queues of its own, started from the exported routing."""

from __future__ import annotations

import re
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kombu
import pytest
import redis

from project.stack import Process, Stack
from tests.support import servers
from tests.support.brokers import delete_queue
from tests.support.stacks import eventually, fresh_database, in_django, prepare

pytestmark = pytest.mark.slow

RABBITMQ = pytest.mark.parametrize("site", ["rabbitmq"], indirect=True)

LIGHT, FAILING = "worker.tasks.link.preview_links", "worker.tasks.ops.fail_on_demand"
ARGUMENTS = {LIGHT: {"note_id": "1", "text": "no link"}, FAILING: {"note_id": "1", "retries": 1}}
REGISTRY = """
    import io
    from dispatch.models import Binding, Exchange, Queue
    unique, kinds = {unique!r}, {kinds!r}
    queues = {{side: Queue.objects.create(name=f"{{unique}}-{{side}}", is_default=side == "left")
               for side in ("left", "right")}}
    exchanges = {{kind: Exchange.objects.create(name=f"{{unique}}-{{kind}}", type=kind) for kind in kinds}}
    for kind, side, key, arguments in {bindings!r}:
        if kind in exchanges:
            Binding.objects.create(
                exchange=exchanges[kind], queue=queues[side], routing_key=key, arguments=arguments)
    shared = Exchange.objects.create(name=f"{{unique}}-shared", type="fanout")
    Binding.objects.create(exchange=shared, queue=queues["left"])
    named = Exchange.objects.create(name=f"{{unique}}-named", type="fanout", broadcast=False)
    for queue in queues.values():
        Binding.objects.create(exchange=named, queue=queue)
    found = {{}}
    for side, queue in queues.items():
        call_command("dispatch", "worker-command", queue.name, "--format", "json", stdout=(told := io.StringIO()))
        [found[side]] = json.loads(told.getvalue())
"""
BINDINGS = [
    ("topic", "left", "media.#", {}),
    ("topic", "left", "*.report", {}),
    ("topic", "right", "audio.*", {}),
    ("topic", "right", "media.audio", {}),
    ("direct", "left", "both", {}),
    ("direct", "right", "both", {}),
    ("direct", "right", "only", {}),
    ("headers", "left", "", {"x-match": "all", "format": "pdf"}),
    ("headers", "right", "", {"x-match": "any", "format": "png", "kind": "image"}),
]
SEND = """
    with transaction.atomic():
        answer([str(api.send_task(name, kwargs=kwargs, **options).pk) for name, kwargs, options in {calls!r}])
"""
GET = """
    message = api.send_task({name!r}, kwargs={kwargs!r})
    found = api.result(message.pk)
    answer([found.get(timeout=20), found.id == str(message.pk), message.queue])
"""


@dataclass
class Site:
    """A registry with exchanges of every type, a relay, and two workers that consume one queue each."""

    kind: str
    url: str
    results_url: str
    unique: str
    stack: Stack
    launches: dict[str, Any] = field(default_factory=dict)
    workers: dict[str, Process] = field(default_factory=dict)

    def start(self, side: str) -> None:
        """Start a worker as `dispatch worker-command` says."""
        _, *arguments = shlex.split(self.launches[side]["command"])
        celery = self.stack["worker"].command[0]
        quick = ["--without-gossip", "--without-mingle", "--concurrency", "1", "--loglevel", "INFO"]
        self.workers[side] = Process(
            side,
            [celery, *arguments, *quick],
            log=self.stack.directory / f"{side}.log",
            ready=lambda process: " ready." in process.output(),
            env=self.stack.worker_environment,
            cwd=self.stack.directory,
        )
        self.workers[side].start()

    def send(self, *options: dict[str, Any], task: str = LIGHT) -> list[str]:
        """Send a task once for each options, in one transaction, and return the ids."""
        return in_django(self.stack, SEND.format(calls=[(task, ARGUMENTS[task], each) for each in options]))

    def to(self, exchange: str, *keys: str, task: str = LIGHT) -> list[str]:
        return self.send(
            *({"exchange": f"{self.unique}-{exchange}", "routing_key": key} for key in keys), task=task
        )

    def received(self, task_id: str) -> dict[str, int]:
        """Count how often each running worker received a message."""
        counted = {
            side: process.output().count(f"[{task_id}] received") for side, process in self.workers.items()
        }
        return {side: number for side, number in counted.items() if number}

    def expect(self, wanted: dict[str, dict[str, int]]) -> None:
        """Wait for these messages to be received so often, and see that no further copy comes."""
        eventually(
            lambda: all(self.received(task_id) == counts for task_id, counts in wanted.items()), seconds=20
        )
        time.sleep(0.5)
        assert {task_id: self.received(task_id) for task_id in wanted} == wanted

    def own_queues(self, side: str) -> list[str]:
        return re.findall(r"\.> (bcast\.\S+)", self.workers[side].output())

    def exists(self, queue: str) -> bool:
        if self.kind == "redis":
            client = redis.Redis.from_url(self.url)
            tables = [
                client.smembers(key) for key in client.keys("_kombu.binding.*") if client.type(key) == b"set"
            ]
            return bool(client.exists(queue)) or any(
                queue.encode() in member for table in tables for member in table
            )
        with kombu.Connection(self.url) as connection, suppress(*connection.channel_errors):
            connection.channel().queue_declare(queue, passive=True)
            return True
        return False

    def stored_results(self) -> list[str]:
        keys = redis.Redis.from_url(self.results_url).keys("celery-task-meta-*")
        return [key.decode().removeprefix("celery-task-meta-") for key in keys]


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis_server: str
) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp(f"exchanges-{request.param}")
    for number in (5, 6):
        redis.Redis.from_url(f"{redis_server}/{number}").flushdb()
    url = f"{redis_server}/5" if request.param == "redis" else servers.RABBITMQ.require()
    with running(request.param, url, f"{redis_server}/6", directory) as site:
        yield site


@contextmanager
def running(kind: str, url: str, results_url: str, directory: Path) -> Iterator[Site]:
    unique = f"dispatch-test-{directory.name}-{time.time_ns():x}"
    names = ["topic", "direct", "fanout", *(["headers"] if kind == "rabbitmq" else [])]
    with fresh_database("sqlite", directory) as database_url:
        stack = Stack(
            directory, database_url=database_url, broker_url=url, result_backend_url=results_url, start=()
        )
        site = Site(kind, url, results_url, unique, stack)
        try:
            with stack:
                site.launches = prepare(stack, REGISTRY.format(unique=unique, kinds=names, bindings=BINDINGS))
                for side in ("left", "right"):
                    site.start(side)
                stack.start("relay")
                for process in site.workers.values():
                    process.wait_ready(30)
                yield site
        finally:
            for process in site.workers.values():
                process.signal(signal.SIGTERM)
            for process in site.workers.values():
                process.stop()
            if kind == "rabbitmq":
                delete_queue(url, *(f"{unique}-{name}" for name in ("left", "right", "shared", *names)))


def test_a_task_sent_by_name_is_run_by_the_worker_and_gives_its_result(site: Site) -> None:
    result, same_id, queue = in_django(site.stack, GET.format(name=LIGHT, kwargs=ARGUMENTS[LIGHT]))
    assert result["note_id"] == "1"
    assert same_id
    assert queue == f"{site.unique}-left"


def test_a_topic_message_reaches_each_worker_whose_queue_is_bound_to_its_key_once(site: Site) -> None:
    two_bindings, no_word, one_word, both = site.to(
        "topic", "media.report", "media", "audio.x", "media.audio"
    )
    site.expect(
        {
            two_bindings: {"left": 1},
            no_word: {"left": 1},
            one_word: {"right": 1},
            both: {"left": 1, "right": 1},
        }
    )


def test_a_direct_exchange_reaches_every_queue_that_is_bound_with_the_key(site: Site) -> None:
    both, only = site.to("direct", "both", "only")
    site.expect({both: {"left": 1, "right": 1}, only: {"right": 1}})


@RABBITMQ
def test_a_headers_exchange_reaches_the_workers_whose_bindings_ask_for_them(site: Site) -> None:
    exchange = f"{site.unique}-headers"
    pdf, image = site.send(
        {"exchange": exchange, "headers": {"format": "pdf"}},
        {"exchange": exchange, "headers": {"format": "doc", "kind": "image"}},
    )
    site.expect({pdf: {"left": 1}, image: {"right": 1}})


def test_a_task_that_came_over_a_topic_exchange_is_retried_and_fails_visibly(site: Site) -> None:
    [task_id] = site.to("topic", "audio.x", task=FAILING)
    site.expect({task_id: {"right": 2}})
    eventually(lambda: task_id in site.stored_results())


def test_a_broadcast_reaches_each_worker_once_whatever_queues_it_was_started_with(site: Site) -> None:
    without_key, with_key = site.to("fanout", "", "any")
    site.expect({task_id: {"left": 1, "right": 1} for task_id in (without_key, with_key)})
    assert not {without_key, with_key} & set(site.stored_results())


def test_a_broadcast_reaches_a_queue_of_the_registry_beside_the_workers_own(site: Site) -> None:
    [task_id] = site.to("shared", "")
    site.expect({task_id: {"left": 2, "right": 1}})


def test_a_fanout_that_is_no_broadcast_reaches_each_named_queue_once(site: Site) -> None:
    [task_id] = site.to("named", "any")
    site.expect({task_id: {"left": 1, "right": 1}})


def test_a_broadcast_that_fails_is_tried_again_by_the_same_worker_alone(site: Site) -> None:
    [task_id] = site.to("fanout", "", task=FAILING)
    site.expect({task_id: {"left": 2, "right": 2}})


def test_the_workers_own_queues_are_no_business_of_the_registry(site: Site) -> None:
    assert all(len(site.own_queues(side)) == 3 for side in site.workers)
    worker = re.search(r"(\S+@\S+) ready", site.workers["left"].output())
    assert worker
    assert "Nothing to do" in site.stack.manage("dispatch", "queues", "apply", "--yes", "--worker", worker[1])


def test_a_worker_that_stops_leaves_nothing_and_the_others_hear_the_next_broadcast(site: Site) -> None:
    own = site.own_queues("right")
    assert any(map(site.exists, own))
    gone = site.workers.pop("right")
    gone.stop()
    eventually(lambda: not any(map(site.exists, own)), seconds=10)

    [task_id] = site.to("fanout", "")
    site.expect({task_id: {"left": 1}})

    site.start("right")
    site.workers["right"].wait_ready(30)
    site.expect({task_id: {"left": 1}})
