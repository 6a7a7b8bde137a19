"""A worker that has Django in it and writes to django-db itself is supported too."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from project.stack import Process
from tests.support.stacks import eventually, fresh_database, in_django, system

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
def test_a_result_that_the_worker_wrote_to_django_db_is_handled_once(
    tmp_path: Path, redis_url: str, kind: str
) -> None:
    with (
        fresh_database(kind, tmp_path) as database_url,
        system(tmp_path, database_url, redis_url, "django-db", "relay", "results") as stack,
    ):
        celery = Path(sys.executable).with_name("celery")
        worker = Process(
            "django-worker",
            [celery, "-A", "tests.support.django_worker", "worker", "-Q", "llm", "-c", "1", "-l", "INFO"],
            log=tmp_path / "django-worker.log",
            ready=lambda process: " ready." in process.log.read_text(),
            env=stack.web_environment,
            cwd=ROOT,
        )
        try:
            worker.start()
            worker.wait_ready(30)
            note = in_django(
                stack, 'answer(Note.objects.create(kind="text", title="T", body="Cats win.").pk)'
            )
            look = """
                message = OutboxMessage.objects.get()
                answer([list(Note.objects.values_list("pk", "summary")), bool(message.handled_at),
                        list(TaskResult.objects.values_list("task_id", "status")) == [(str(message.pk), "SUCCESS")]])
            """
            eventually(lambda: in_django(stack, look) == [[[note, "CATS WIN."]], True, True])
        finally:
            worker.stop()
