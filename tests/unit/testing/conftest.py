"""A small project of a user, whose tests run in a process of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dispatch.core import manifest

SETTINGS = """
SECRET_KEY = "only for tests"
INSTALLED_APPS = [
    "django.contrib.contenttypes", "django.contrib.auth", "django_celery_results", "dispatch", "notes",
]
# Transactions that may look at the registry's version at any time, as on PostgreSQL.
SQLITE = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "OPTIONS": {"transaction_mode": "IMMEDIATE"}}
DATABASES = {"default": SQLITE, "archive": {**SQLITE}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
# No broker is there, and every use of the registry asks for its version.
DISPATCH = {"BROKERS": {"default": {"URL": "redis://127.0.0.1:1/0"}}, "REGISTRY_TTL": 0}
"""
MODELS = """
from django.db import models

from dispatch.api import trigger


class Note(models.Model):
    title = models.CharField(max_length=100)
    body = models.TextField(blank=True)


class Draft(models.Model):
    body = models.TextField(blank=True)


@trigger(Note, on=["created", "updated"], task="worker.tasks.summarize", when=lambda note: note.body)
def summarize(note):
    return {"note_id": note.pk, "text": note.body}
"""


def described(name: str, **properties: str) -> dict[str, Any]:
    """A task of a manifest, with parameters that are all required."""
    schema = {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in properties.items()},
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"name": name, "parameters": schema}


TASKS = [
    described("worker.tasks.summarize", note_id="integer", text="string"),
    described("worker.tasks.announce", title="string"),
]
MANIFEST = manifest.sealed(
    {"manifest": 1, "worker": "worker", "version": "1", "queues": [{"name": "default"}], "tasks": TASKS}
)


@dataclass(frozen=True)
class Run:
    """What came of a test run: pytest's counts, and all that was printed."""

    status: int
    output: str

    @property
    def outcomes(self) -> dict[str, int]:
        return {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|errors?)", self.output)}


class Sample:
    """The project, in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.write("config.py", SETTINGS)
        self.write("notes/__init__.py", "")
        self.write("notes/models.py", MODELS)
        self.write("worker.json", MANIFEST)
        self.write("pytest.ini", "[pytest]\nDJANGO_SETTINGS_MODULE = config\npythonpath = .\n")

    def write(self, path: str, text: str) -> None:
        (self.directory / path).parent.mkdir(parents=True, exist_ok=True)
        (self.directory / path).write_text(textwrap.dedent(text))

    def append(self, path: str, text: str) -> None:
        self.write(path, (self.directory / path).read_text() + text)

    def pytest(self, *arguments: str) -> Run:
        return self.run("-m", "pytest", "-p", "no:cacheprovider", *arguments)

    def unittest(self, *arguments: str) -> Run:
        return self.run("-m", "django", "test", *arguments)

    def run(self, *command: str) -> Run:
        strange = ("PYTEST_", "DATABASE_URL", "DJANGO_", "COV_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.directory,
            env=environment | {"DJANGO_SETTINGS_MODULE": "config", "PYTHONPATH": str(self.directory)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Run(done.returncode, done.stdout + done.stderr)


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    return Sample(tmp_path)
