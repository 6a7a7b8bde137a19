"""Queues that appear and go while workers run, on both brokers, with the worker's own virtualenv."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from project.stack import ProcessDied, Stack
from tests.support.brokers import delete_queue
from tests.support.stacks import eventually, fresh_database, in_django

pytestmark = pytest.mark.slow

FAILING = "worker.tasks.ops.fail_on_demand"
SEND = """
    message = api.send_task("{task}", kwargs={{"note_id": "1", "reason": "it was asked to", "retries": 1}})
    answer([str(message.pk), message.queue])
"""
RESULT = 'answer(TaskResult.objects.filter(task_id="{id}").values_list("status", "result").first())'
NEW_QUEUE = """
    from dispatch.models import Binding, Exchange, Queue, Route
    queue = Queue.objects.create(name="{name}", arguments={arguments})
    for key in {keys}:
        exchange, _ = Exchange.objects.get_or_create(name="{name}.topic", type="topic")
        Binding.objects.create(queue=queue, exchange=exchange, routing_key=key)
    Route.objects.create(pattern="worker.tasks.ops.*", kind="glob", queue=queue)
"""
QUEUE_GONE = """
    from dispatch.models import Queue, Route
    Route.objects.all().delete()
    Queue.objects.filter(name="{name}").delete()
"""


@dataclass(frozen=True)
class Site:
    """A running worker that consumes one queue, and a registry beside it."""

    stack: Stack
    home: str
    new: str

    @property
    def worker(self) -> str:
        """The worker's node name."""
        found = re.search(r"(\S+@\S+) ready", self.stack["worker"].output())
        assert found, self.stack["worker"].output()
        return found[1]

    def queues(self, *arguments: str) -> str:
        return self.stack.manage("dispatch", "queues", *arguments)

    def apply(self, *arguments: str) -> str:
        """Apply to this worker only: others of the same code may run on a shared server."""
        return self.queues("apply", "--worker", self.worker, *arguments)

    def consumers(self) -> dict[str, int]:
        lines = json.loads(self.queues("list", "--format", "json"))
        return {line["queue"]: line["consumers"] for line in lines}

    def run_a_failing_task(self) -> tuple[str, str]:
        """Send a task that tries twice, and return its queue and its result."""
        task_id, queue = in_django(self.stack, SEND.format(task=FAILING))
        self.stack.manage("dispatch", "relay", "--once")

        def result() -> list[str] | None:
            self.stack.check()
            self.stack.manage("dispatch", "results", "--once")
            found: list[str] | None = in_django(self.stack, RESULT.format(id=task_id))
            return found

        status, outcome = eventually(result)
        assert status == "FAILURE"
        return queue, outcome


@pytest.fixture(params=["redis", "rabbitmq"])
def site(request: pytest.FixtureRequest, tmp_path: Path, unique: str, results_url: str) -> Iterator[Site]:
    url = str(request.getfixturevalue(f"{request.param}_url"))
    with running(url, tmp_path, unique, results_url) as site:
        yield site


@contextmanager
def running(
    url: str, directory: Path, unique: str, results_url: str, *, start: bool = True
) -> Iterator[Site]:
    """A stack of its own with one queue, and its worker unless it is to be started later."""
    home, new = f"{unique}-home", f"{unique}-new"
    with fresh_database("sqlite", directory) as database_url:
        stack = Stack(
            directory, database_url=database_url, broker_url=url, result_backend_url=results_url, start=()
        )
        try:
            with stack:
                _prepare(stack, home)
                if start:
                    stack["worker"].command.append("worker.pool_restarts=yes")
                    stack.start("worker")
                yield Site(stack, home, new)
        finally:
            if url.startswith("amqp"):
                delete_queue(url, home, new, f"{new}.topic")


def _prepare(stack: Stack, home: str) -> None:
    stack.manage("migrate")
    manifest = stack.directory / "manifest.json"
    stack.write_manifest(manifest)
    stack.manage("dispatch", "manifest", "sync", str(manifest))
    in_django(
        stack, f'from dispatch.models import Queue; Queue.objects.create(name="{home}", is_default=True)'
    )
    stack.manage("dispatch", "routes", "export", str(stack.routing_file))


def test_a_running_worker_takes_a_new_queue_and_leaves_it_when_it_is_gone(site: Site) -> None:
    assert site.consumers() == {site.home: 1}
    assert "Nothing to do" in site.apply("--yes")

    in_django(
        site.stack, NEW_QUEUE.format(name=site.new, arguments={"x-max-priority": 9}, keys=("a.#", "b.*"))
    )
    shown = site.apply("--dry-run")
    assert re.search(rf"{re.escape(site.worker)} +\+ consume +{site.new} +default +0", shown), shown
    assert site.consumers()[site.new] == 0, "a dry run tells nobody"

    assert f"{site.worker} consumes {site.new}." in site.apply("--yes")
    assert site.consumers() == {site.home: 1, site.new: 1}
    queue, outcome = site.run_a_failing_task()
    assert queue == site.new
    assert "it was asked to" in outcome, "the retry, too, finds its way to the new queue"

    in_django(site.stack, QUEUE_GONE.format(name=site.new))
    assert f"{site.worker} has left {site.new}." in site.apply("--yes")
    assert "Nothing to do" in site.apply("--yes")
    assert site.run_a_failing_task()[0] == site.home


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_a_worker_of_a_single_process_is_renewed_too(
    request: pytest.FixtureRequest, broker: str, tmp_path: Path, unique: str, results_url: str
) -> None:
    url = str(request.getfixturevalue(f"{broker}_url"))
    with running(url, tmp_path, unique, results_url, start=False) as site:
        site.stack["worker"].command += ["--concurrency", "1", "worker.pool_restarts=yes"]
        site.stack.start("worker")
        in_django(site.stack, NEW_QUEUE.format(name=site.new, arguments={}, keys=()))
        shown = site.apply("--yes")
        assert "keeps its processes" not in shown
        queue, outcome = site.run_a_failing_task()
        assert queue == site.new
        assert "it was asked to" in outcome


def test_a_queue_that_the_worker_would_declare_otherwise_is_not_given_to_it(
    tmp_path: Path, unique: str, rabbitmq_url: str, results_url: str
) -> None:
    """RabbitMQ refuses the worker's declaration then, and Celery's worker ends of that."""
    with running(rabbitmq_url, tmp_path, unique, results_url, start=False) as site:
        in_django(site.stack, NEW_QUEUE.format(name=site.new, arguments={}, keys=()))
        site.stack.manage("dispatch", "routes", "export", str(site.stack.routing_file))
        change = f'from dispatch.models import Queue; Queue.objects.filter(name="{site.new}").update(max_priority=9)'
        in_django(site.stack, change)
        site.stack["worker"].command += ["-Q", site.home]
        site.stack.start("worker")

        with pytest.raises(
            ProcessDied, match=r"arguments \{\} instead of \{'x-max-priority': 9\}.*restart it"
        ):
            site.apply("--yes")
        site.stack.check()
        assert site.consumers() == {site.home: 1, site.new: 0}


def test_a_worker_whose_processes_may_not_be_renewed_is_named_with_the_remedy(
    tmp_path: Path, unique: str, redis_url: str, results_url: str
) -> None:
    with running(redis_url, tmp_path, unique, results_url, start=False) as site:
        site.stack["worker"].command.append("worker.pool_restarts=no")
        site.stack.start("worker")
        in_django(site.stack, NEW_QUEUE.format(name=site.new, arguments={}, keys=()))
        assert "Set worker_pool_restarts = True" in site.apply("--yes")
        assert site.consumers() == {site.home: 1, site.new: 1}


def test_the_printed_command_starts_a_worker_for_the_queues(
    tmp_path: Path, unique: str, redis_url: str, results_url: str
) -> None:
    with running(redis_url, tmp_path, unique, results_url, start=False) as site:
        in_django(site.stack, NEW_QUEUE.format(name=site.new, arguments={}, keys=()))
        site.stack.manage("dispatch", "routes", "export", str(site.stack.routing_file))
        [launch] = json.loads(site.stack.manage("dispatch", "worker-command", site.new, "--format", "json"))
        celery, *arguments = shlex.split(launch["command"])
        assert celery == "celery"
        site.stack["worker"].command[1:] = [*arguments, "--loglevel", "INFO"]
        site.stack.start("worker")
        assert site.consumers() == {site.home: 0, site.new: 1}
