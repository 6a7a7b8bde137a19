"""Processes killed at the worst moment, and brokers that go away, with everything real."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from project.stack import Stack
from tests.support.proxy import Proxy
from tests.support.stacks import eventually, fresh_database, in_django, system

pytestmark = pytest.mark.slow

NOTE = """
    note = Note.objects.create(kind="text", title="T", body="Cats sleep. Dogs bark. Cats win.")
    answer([note.pk, OutboxMessage.objects.get().pk])
"""
SUMMARIES = 'answer(list(Note.objects.exclude(summary="").values_list("pk", flat=True)))'


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with fresh_database(request.param, tmp_path) as url:
        yield url


def executions(stack: Stack, task_id: str) -> int:
    """How often the worker ran a task, by its log."""
    return (stack.directory / "worker.log").read_text().count(f"[{task_id}] succeeded")


def test_a_relay_killed_between_publish_and_settle_sends_again_with_the_same_id(
    database_url: str, tmp_path: Path, redis_url: str, results_url: str
) -> None:
    with system(tmp_path, database_url, redis_url, results_url, "worker") as stack:
        note, task_id = in_django(stack, NOTE)
        killed = """
            settings.DISPATCH = {**settings.DISPATCH, "RELAY_LEASE": 1}
            from dispatch.relay import Relay, settling
            settling.settle = lambda *args: os._exit(9)  # the failpoint: the broker has it, the row does not know
            Relay().drain()
        """
        in_django(stack, killed, expect=9)
        eventually(lambda: executions(stack, task_id) == 1)
        assert in_django(stack, "answer(OutboxMessage.objects.get().status)") == "claimed"
        time.sleep(1.1)  # the lease runs out
        stack.start("relay", "results")
        eventually(lambda: executions(stack, task_id) == 2)
        eventually(lambda: in_django(stack, SUMMARIES) == [note])
        assert in_django(
            stack, "answer([TaskResult.objects.count(), OutboxMessage.objects.get().status])"
        ) == [
            1,
            "published",
        ]


def test_a_collector_killed_between_result_and_receiver_handles_it_once(
    database_url: str, tmp_path: Path, redis_url: str, results_url: str
) -> None:
    with system(tmp_path, database_url, redis_url, results_url, "worker", "relay") as stack:
        note, task_id = in_django(stack, NOTE)
        eventually(lambda: executions(stack, task_id) == 1)
        killed = """
            from dispatch.results import Collector
            from dispatch.signals import task_finished
            task_finished.send = lambda **kwargs: os._exit(9)  # the failpoint: TaskResult is written
            while True:
                Collector().sweep()
        """
        in_django(stack, killed, expect=9)
        look = "answer([TaskResult.objects.count(), bool(OutboxMessage.objects.get().handled_at)])"
        assert in_django(stack, look) == [0, False]
        stack.start("results")
        eventually(lambda: in_django(stack, SUMMARIES) == [note])
        assert in_django(stack, look) == [1, True]


@pytest.mark.parametrize("fault", ["cut", "stall"])
@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_messages_saved_while_the_broker_is_away_arrive_when_it_is_back(
    request: pytest.FixtureRequest, tmp_path: Path, results_url: str, kind: str, fault: str
) -> None:
    url: str = request.getfixturevalue(f"{kind}_url")
    port = urlsplit(url).port
    assert port
    proxy = Proxy(port)
    behind = url.replace(f":{port}", f":{proxy.port}")
    try:
        with (
            fresh_database("sqlite", tmp_path) as database_url,
            system(tmp_path, database_url, behind, results_url, "relay", "results") as stack,
        ):
            getattr(proxy, fault)()
            before = proxy.connections
            save = """
                notes = [Note.objects.create(kind="text", title=str(n), body="Cats sleep.") for n in range(3)]
                answer([note.pk for note in notes])
            """
            stack["relay"].stop()
            pks = in_django(stack, save)
            assert proxy.connections == before, "a save opens no broker socket"
            stack.start("relay")
            time.sleep(1)
            assert in_django(stack, SUMMARIES) == []
            proxy.open()
            stack.start("worker")
            eventually(lambda: sorted(in_django(stack, SUMMARIES)) == sorted(pks), seconds=60)
            assert in_django(stack, 'answer(OutboxMessage.objects.filter(status="dead").count())') == 0
    finally:
        proxy.close()


def test_sigterm_stops_relay_and_collector_with_their_work_done(
    tmp_path: Path, redis_url: str, results_url: str
) -> None:
    with (
        fresh_database("sqlite", tmp_path) as database_url,
        system(tmp_path, database_url, redis_url, results_url, "relay", "results") as stack,
    ):
        in_django(stack, "answer([str(Note.objects.create(title=str(n)).pk) for n in range(50)])")
        stack["relay"].stop()
        stack["results"].stop()
        assert (stack["relay"].returncode, stack["results"].returncode) == (0, 0)
        statuses = in_django(
            stack, 'answer(sorted(set(OutboxMessage.objects.values_list("status", flat=True))))'
        )
        assert set(statuses) <= {"pending", "published"}


def test_an_unknown_name_and_a_wrong_argument_are_raised_at_once(
    tmp_path: Path, redis_url: str, results_url: str
) -> None:
    with (
        fresh_database("sqlite", tmp_path) as database_url,
        system(tmp_path, database_url, redis_url, results_url) as stack,
    ):
        script = """
            errors = []
            for name, kwargs in [("worker.tasks.llm.summarise_note", {}),
                                 ("worker.tasks.llm.summarize_note", {"note_id": "1", "text": 5})]:
                try:
                    api.send_task(name, kwargs=kwargs)
                except api.SendError as error:
                    errors.append([type(error).__name__, str(error)])
            answer([errors, OutboxMessage.objects.count()])
        """
        (unknown, wrong), stored = in_django(stack, script)
        assert unknown[0] == "UnknownTask"
        assert "did you mean 'worker.tasks.llm.summarize_note'" in unknown[1]
        assert wrong == ["InvalidArguments", "5 is not of type 'string' (at /kwargs/text)."]
        assert stored == 0
