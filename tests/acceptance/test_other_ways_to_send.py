"""Tasks that are declared with django.tasks, and those of a Celery app that exists, reach the worker and come back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from project.stack import Stack
from tests.support.stacks import eventually, in_django, system

pytestmark = pytest.mark.slow

SETTINGS = "tests.support.declared_settings"


@pytest.fixture
def stack(tmp_path: Path, redis_url: str, results_url: str) -> Iterator[Stack]:
    url = f"sqlite:///{tmp_path}/web.sqlite3"
    with system(tmp_path, url, redis_url, results_url, "worker", "relay", "results") as stack:
        yield stack


def test_a_task_of_django_tasks_is_run_by_the_worker(stack: Stack) -> None:
    pytest.importorskip("django.tasks", reason="Django has tasks from 6.0 on")
    declared = "    from tests.support.declared_tasks import summarize_note\n"
    result_id = in_django(
        stack,
        f"{declared}    answer(summarize_note.using(priority=50).enqueue('1', text='Cats sleep.').id)",
        settings=SETTINGS,
    )
    look = f"""
    loaded = "dispatch.contrib.django_tasks" in sys.modules  # so that the collector tells Django's signal
{declared}
    found = summarize_note.get_result({result_id!r})
    answer(found.is_finished and [found.status, found.return_value, found.attempts, loaded])
    """
    status, returned, attempts, loaded = eventually(lambda: in_django(stack, look, settings=SETTINGS))
    assert (status, returned["summary"], attempts, loaded) == ("SUCCESSFUL", "Cats sleep.", 1, True)


def test_a_call_of_an_existing_celery_app_is_run_by_the_worker(stack: Stack) -> None:
    status, returned, message = in_django(
        stack,
        """
    from celery import Celery
    from dispatch.conf import conf
    from dispatch.contrib.celery import OutboxTask
    broker = conf.brokers["default"]
    app = Celery("shop", broker=broker.url, backend=broker.result_backend, set_as_current=False)

    @app.task(name="worker.tasks.llm.summarize_note", base=OutboxTask)
    def summarize_note(note_id, text):
        raise AssertionError("this is the worker's")

    result = summarize_note.delay("1", text="Cats sleep.")
    returned = result.get(timeout=60)
    answer([result.status, returned, OutboxMessage.objects.filter(pk=result.id).exists()])
    """,
    )
    assert (status, returned["summary"], message) == ("SUCCESS", "Cats sleep.", True)
