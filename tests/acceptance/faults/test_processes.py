"""Rows 15 and 17: forks, and collectors that are killed, restarted and doubled."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from celery import Celery
from django.conf import settings as project
from django_celery_results.models import TaskResult

from dispatch.models import OutboxMessage
from dispatch.models.database import database_now
from project.notes.models import Note
from project.stack.stack import ROOT
from tests.support.sites import Site, environment
from tests.support.stacks import eventually

pytestmark = pytest.mark.slow

# -- row 15 ---------------------------------------------------------------------------------------

FORKS = """
import os, sys
import django
django.setup()
from django.db import connections
from dispatch.relay import Relay

PORT = format(int(sys.argv[1]), "04X")

def sockets():
    "The sockets of this process that lead to the broker, by their inodes."
    names = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    mine = {os.readlink(name) for name in names if os.path.lexists(name)}
    rows = [line.split() for line in open("/proc/net/tcp").readlines()[1:]]
    return {row[9] for row in rows if row[2].endswith(":" + PORT) and f"socket:[{row[9]}]" in mine}

def publish(relay):
    before = sockets()
    relay.step()
    return sockets() - before

relay = Relay()
mine = publish(relay)
assert mine
connections.close_all()
children = []
for _ in range(3):
    if not (child := os.fork()):
        fresh = Relay()
        theirs = publish(fresh)
        fresh.close()
        os._exit(0 if theirs and not theirs & mine else 1)
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
assert codes == [0, 0, 0], codes
relay.step()
relay.close()
"""


@pytest.mark.one_database
def test_after_a_fork_each_process_publishes_over_a_connection_of_its_own(site: Site) -> None:
    site.ledger.commit(50)
    done = subprocess.run(
        [sys.executable, "-c", FORKS, str(urlsplit(site.url).port)],
        env=environment({**project.DISPATCH, "RELAY_BATCH_SIZE": 10}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    site.settled(0)
    site.ledger.audit(duplicates=0)


# -- row 17 ---------------------------------------------------------------------------------------

RESULTS = 300


@pytest.fixture
def worker(redis_site: Site, settings: object) -> Iterator[Celery]:
    """Something that stores results, and 300 messages that await one."""
    backend = redis_site.url.rpartition("/")[0] + "/5"
    brokers = {"default": {**settings.DISPATCH["BROKERS"]["default"], "RESULT_BACKEND": backend}}
    settings.DISPATCH = {**settings.DISPATCH, "BROKERS": brokers, "RESULTS_POLL_INTERVAL": 0.05}
    redis_site.ledger.commit(RESULTS)
    OutboxMessage.objects.update(status="published", published_at=database_now())
    app = Celery("worker", backend=backend, set_as_current=False)
    yield app
    app.close()


@pytest.mark.parametrize("receivers", ["count_results()", "no_receivers()"])
def test_each_result_is_stored_and_handled_once_whatever_becomes_of_collectors(
    redis_site: Site, worker: Celery, receivers: str
) -> None:
    site = redis_site
    ids = iter(site.ledger.committed)

    def finish(number: int) -> None:
        for _ in range(number):
            worker.backend.store_result(next(ids), {"summary": "short"}, "SUCCESS")

    finish(100)
    for failpoint in ("before(is_result, kill)", "after(is_result, kill)", "after(is_mark, kill)"):
        assert site.start("results", failpoint=f"{receivers}; {failpoint}").wait() < 0
    doubled = [site.start("results", failpoint=receivers) for _ in range(2)]
    finish(100)
    eventually(lambda: TaskResult.objects.count() > 100)
    doubled[0].kill()
    finish(50)
    site.start("results", failpoint=receivers)
    finish(50)
    eventually(lambda: not OutboxMessage.objects.filter(handled_at=None).exists())
    for process in site.running:
        process.stop()
    assert TaskResult.objects.filter(status="SUCCESS").count() == TaskResult.objects.count() == RESULTS
    told = sorted(Note.objects.values_list("title", flat=True))
    assert told == (sorted(site.ledger.committed) if receivers == "count_results()" else [])
