"""Runs Django's own test suites with dispatch installed: being there changes nothing for models without triggers.

They come with Django's source distribution on PyPI, of the version that is installed. One test of them asserts that no
app listens to any signal: it is expected to fail.

Where Django has tasks, its tests of them are run too, with our backend in the place of Django's DummyBackend.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import django

from tests.support.servers import POSTGRESQL

SUITES = [
    "asgi",
    "async",
    "basic",
    "bulk_create",
    "delete",
    "delete_regress",
    "force_insert_update",
    "handlers",
    "m2m_and_m2o",
    "m2m_intermediary",
    "m2m_multiple",
    "m2m_recursive",
    "m2m_regress",
    "m2m_signals",
    "m2m_through",
    "m2m_through_regress",
    "many_to_many",
    "model_inheritance",
    "model_inheritance_regress",
    "multiple_database",
    "prefetch_related",
    "queries",
    "save_delete_hooks",
    "signals",
    "test_utils",
    "transaction_hooks",
    "transactions",
    "update",
    "update_only_fields",
]
EXPECTED = {
    "test_disconnect_in_dispatch (signals.tests.SignalTests.test_disconnect_in_dispatch)",
    # These change what DummyBackend holds in its memory,
    "test_refresh_result (tasks.test_dummy_backend.DummyBackendTestCase.test_refresh_result)",
    "test_refresh_result_async (tasks.test_dummy_backend.DummyBackendTestCase.test_refresh_result_async)",
    # and this one asks synchronously in a coroutine, where Django refuses any query.
    "test_refresh_result (tasks.test_tasks.TaskTestCase.test_refresh_result)",
}
#: Our backend, with what Django's tests ask of DummyBackend beside the interface.
BACKEND = """

from dispatch.contrib.django_tasks import DispatchBackend
from dispatch.models import OutboxMessage, Queue, TaskDefinition

class DummyBackend(DispatchBackend):
    results = []

    def enqueue(self, task, args, kwargs):
        Queue.objects.get_or_create(name="default", is_default=True)
        TaskDefinition.objects.get_or_create(name=task.module_path)
        result = super().enqueue(task, args, kwargs)
        self.results.append(self.get_result(result.id))
        return result

    def clear(self):
        self.results.clear()
        OutboxMessage.objects.all().delete()
"""
SETTINGS = """
from test_sqlite import *
DISPATCH = {"BROKERS": {"default": {"URL": "memory://"}}, "REGISTRY_TTL": 0.01}
"""


def main() -> int:
    """Return 0 if all pass but the expected one."""
    with tempfile.TemporaryDirectory(prefix="dispatch-guest-") as directory:
        suites = _suites(Path(directory))
        where = POSTGRESQL.name if POSTGRESQL.answers else "SQLite, which shows less than PostgreSQL"
        print(f"Django {django.__version__}: {len(SUITES)} suites of its own on {where}", flush=True)
        options = ["--settings=test_guest", "--parallel=1", "--noinput"]
        command = [sys.executable, "-W", "ignore", "runtests.py", *options, *SUITES]
        run = subprocess.run(command, cwd=suites, capture_output=True, text=True, check=False)
    output = run.stdout + run.stderr
    failed = set(re.findall(r"^(?:FAIL|ERROR): (.*)$", output, re.MULTILINE))
    count = re.search(r"^Ran \d+ tests in .*$", output, re.MULTILINE)
    if count is None or failed - EXPECTED:
        print(output)
        return 1
    print(f"{count[0]}: all passed" + "".join(f", but for {name}, as expected" for name in failed))
    return 0


def _suites(directory: Path) -> Path:
    """Unpack the suites of the installed Django, with dispatch among the apps that each of them has."""
    source = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "django"]
    subprocess.run([*source, f"Django=={django.__version__}", "-d", str(directory)], check=True)
    [archive] = directory.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(directory, filter="data")
    [suites] = directory.glob("*/tests")
    (suites / "dispatch").rename(directory / "tests_of_dispatch")  # it has our name
    (suites / "test_guest.py").write_text(SETTINGS + (_on_postgresql() if POSTGRESQL.answers else ""))
    runner = (suites / "runtests.py").read_text()
    runner = runner.replace(
        "ALWAYS_INSTALLED_APPS = [", 'ALWAYS_INSTALLED_APPS = [\n    "django_celery_results", "dispatch",', 1
    )
    # Django's own settings have no time zones.
    silenced = "settings.SILENCED_SYSTEM_CHECKS = ["
    (suites / "runtests.py").write_text(runner.replace(silenced, f'{silenced}"dispatch.E004", ', 1))
    if (suites / "tasks").exists():
        _replace_backend(suites)
    return suites


def _replace_backend(suites: Path) -> None:
    """Run Django's tests of tasks with our backend, and with a database."""
    (suites / "dispatch_backend.py").write_text(BACKEND)
    for name in ("test_dummy_backend.py", "test_tasks.py"):
        text = (suites / "tasks" / name).read_text()
        text = text.replace("django.tasks.backends.dummy", "dispatch_backend")
        (suites / "tasks" / name).write_text(text.replace("SimpleTestCase", "TestCase"))
    SUITES.append("tasks")


def _on_postgresql() -> str:
    server = urlsplit(POSTGRESQL.url)
    engine = {"ENGINE": "django.db.backends.postgresql", "HOST": server.hostname, "PORT": server.port}
    account = {"USER": server.username, "PASSWORD": server.password or ""}
    names = {alias: f"guest_{os.getpid()}_{alias}" for alias in ("default", "other")}
    return f"DATABASES = { {alias: engine | account | {'NAME': name} for alias, name in names.items()} }\n"


if __name__ == "__main__":
    sys.exit(main())
