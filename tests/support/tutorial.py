"""The project of the tutorial, made as it says, with the database that ``startproject`` leaves: SQLite's defaults."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from project.stack.process import Process, says
from project.stack.stack import WORKER, WORKER_BIN
from tests.support.how_to import Block

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"^```\{code-block\} python\n:caption: ([\w/.]+)[^\n]*\n\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
PRELUDE = '''
import json
import django
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from dispatch.models import *
from notes.models import Note
def answer(value): print(json.dumps(value, default=str))
def returned(task_ids):
    """What these tasks have returned, in order, once all of them have."""
    from django_celery_results.models import TaskResult
    rows = {row.task_id: json.loads(row.result) for row in TaskResult.objects.filter(task_id__in=task_ids)}
    return len(rows) == len(task_ids) and [rows[task_id] for task_id in task_ids]
'''
PREPARE = """
    call_command("makemigrations", "notes", verbosity=0)
    call_command("migrate", verbosity=0)
    call_command("dispatch", "manifest", "sync", "manifest.json")
    Queue.objects.create(name="default", is_default=True)
    Route.objects.create(pattern="worker.tasks.llm.*", kind="glob", queue=Queue.objects.create(name="llm"))
    User.objects.create_superuser("admin")
    call_command("dispatch", "routes", "export", "routing.json")
    answer(None)
"""


class Project:
    """The directory ``web`` of the tutorial, and the processes over it."""

    def __init__(self, directory: Path, broker_url: str, results_url: str) -> None:
        self.directory = directory
        self.urls = {"redis://127.0.0.1:6379/0": broker_url, "redis://127.0.0.1:6379/1": results_url}
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("CELERY_", "DJANGO_", "PYTHON"))
        }
        self.environment = inherited | {
            "DJANGO_SETTINGS_MODULE": "mysite.settings",
            "PYTHONPATH": f"{directory}{os.pathsep}{ROOT}",
            "PYTHONUNBUFFERED": "1",
        }
        self.worker_environment = inherited | {
            "BROKER_URL": broker_url,
            "RESULT_BACKEND_URL": results_url,
        }

    def make(self) -> None:
        """Do sections 1 to 5."""
        self._run(sys.executable, "-m", "django", "startproject", "mysite", ".", DJANGO_SETTINGS_MODULE="")
        self._run(sys.executable, "manage.py", "startapp", "notes")
        for name, text in BLOCK.findall(TEXT):
            (self.append if name == "mysite/settings.py" else self.write)(name, text)
        command = [WORKER_BIN / "celery", "-A", "worker", "manifest", "-o", self.directory / "manifest.json"]
        subprocess.run(command, env=self.worker_environment, check=True, capture_output=True, timeout=60)
        self.run(PREPARE)

    def run(self, *script: str) -> Any:
        """Run a script, given in parts, in a process of the project; return what it gave to ``answer``."""
        output = self._run(sys.executable, "-c", "\n".join([PRELUDE, *map(textwrap.dedent, script)]))
        return json.loads(output.strip().splitlines()[-1])

    def manage(self, *arguments: str) -> str:
        """Run ``manage.py``, and return what it wrote to standard output."""
        return self._run(sys.executable, "manage.py", *arguments)

    def shell(self, command: str, *, where: str = ".", worker: bool = False, expect: int = 0) -> str:
        """Run a line of a page in its reader's shell, with one of the two virtualenvs; return its output."""
        done = self._in_shell(command, where=where, worker=worker)
        assert done.returncode == expect, f"{command}\n{done.stdout}"
        return done.stdout

    def follow(self, block: Block) -> int:
        """Run the commands of a block, compare the output that it shows, and return the last exit code."""
        code = 0
        for _, command, shown in block.commands():
            done = self._in_shell(f"(exit {code}); {command}")  # for the page's `echo $?`
            assert done.stdout == shown if shown else done.returncode == 0, f"$ {command}\n{done.stdout}"
            code = done.returncode
        return code

    @contextmanager
    def started(
        self, command: str, ready: str, *, where: str = ".", worker: bool = False
    ) -> Iterator[Process]:
        """Start a line of a page, which runs until it is stopped; it ends well when it is asked to."""
        process = Process(
            command,
            ["sh", "-c", f"exec env {command}"],
            log=self.directory / f"{uuid.uuid4()}.log",
            ready=says(ready),
            env=self._activated(worker=worker),
            cwd=self.directory / where,
        )
        try:
            process.start()
            process.wait_ready()
            yield process
        finally:
            code = process.stop()
        assert code == 0, process.tail()

    @contextmanager
    def running(self, *names: str) -> Iterator[dict[str, Process]]:
        """Start the processes of section 6."""
        manage = [sys.executable, "manage.py", "dispatch"]
        routing = {"ROUTING_FILE": str(self.directory / "routing.json")}
        made = {
            "worker": ([WORKER_BIN / "celery", *WORKER], says(" ready."), self.worker_environment | routing),
            "relay": ([*manage, "relay"], says("Relaying"), self.environment),
            "results": ([*manage, "results"], says("Collecting"), self.environment),
        }
        processes = {}
        try:
            for name in names:
                command, ready, environment = made[name]
                log = self.directory / f"{name}.log"
                process = processes[name] = Process(
                    name, command, log=log, ready=ready, env=environment, cwd=self.directory
                )
                process.start()
            for process in processes.values():
                process.wait_ready()
            yield processes
        finally:
            for process in processes.values():
                process.stop()

    def write(self, name: str, text: str) -> None:
        """Write a file, which uses the Redis of the tests where it names the tutorial's."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for shown, used in self.urls.items():
            text = text.replace(shown, used)
        path.write_text(text, encoding="utf-8")

    def append(self, name: str, text: str) -> None:
        self.write(name, f"{(self.directory / name).read_text(encoding='utf-8')}\n{text}")

    def _in_shell(
        self, command: str, *, where: str = ".", worker: bool = False
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", command],
            cwd=self.directory / where,
            env=self._activated(worker=worker),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )

    def _activated(self, *, worker: bool) -> dict[str, str]:
        environment = self.worker_environment if worker else self.environment
        binaries = WORKER_BIN if worker else Path(sys.executable).parent
        return environment | {"PATH": f"{binaries}{os.pathsep}{environment['PATH']}", "PYTHONUNBUFFERED": "1"}

    def _run(self, *command: str, **environment: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
