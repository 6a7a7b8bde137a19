"""Whole systems for tests: a database of its own, a broker, and the processes of project.stack over them."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from project.stack import Stack
from tests.support.brokers import delete_queue
from tests.support.servers import DATABASES

QUEUES = ("default", "llm", "stt", "link")
PRELUDE = """
import json, os, sys, time
import django
django.setup()
from django.conf import settings
from django.db import transaction
from django_celery_results.models import TaskResult
from dispatch import api
from dispatch.models import OutboxMessage
from project.notes.models import Note
def answer(value): print(json.dumps(value, default=str))
"""
PREPARE = """
    from django.core.management import call_command
    call_command("migrate", verbosity=0)
    call_command("dispatch", "manifest", "sync", {manifest!r})
    found = None
"""
EXPORT = """
    call_command("dispatch", "routes", "export", {routing!r})
    answer(found)
"""
MANIFEST: list[str] = []  # the worker's, once it was asked


@contextmanager
def fresh_database(kind: str, directory: Path) -> Iterator[str]:
    """Yield the URL of an empty database, gone afterwards."""
    if kind == "sqlite":
        yield f"sqlite:///{directory}/web.sqlite3"
        return
    server = DATABASES[kind].require()
    name = f"dispatch_{uuid.uuid4().hex[:12]}"
    execute = {"postgresql": _execute_postgresql, "mariadb": _execute_mariadb}[kind]
    execute(server, f"CREATE DATABASE {name}")
    try:
        yield f"{server.rpartition('/')[0]}/{name}"
    finally:
        execute(server, f"DROP DATABASE {name}" + (" WITH (FORCE)" if kind == "postgresql" else ""))


def _execute_postgresql(url: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(url.replace("postgres://", "postgresql://"), autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[call-overload]


def _execute_mariadb(url: str, statement: str) -> None:
    import pymysql

    address = urlsplit(url)
    password = address.password or ""
    with pymysql.connect(
        host=address.hostname, port=address.port or 3306, user=address.username, password=password
    ) as connection:
        connection.cursor().execute(statement)


@contextmanager
def system(
    directory: Path, database_url: str, broker_url: str, results_url: str, *start: str
) -> Iterator[Stack]:
    """Prepare a stack and start the named processes; leave no queue behind on RabbitMQ."""
    if broker_url.startswith("amqp://"):
        delete_queue(broker_url, *QUEUES)
    stack = Stack(
        directory, database_url=database_url, broker_url=broker_url, result_backend_url=results_url, start=()
    )
    try:
        with stack:
            prepare(stack)
            stack.start(*start)
            yield stack
    finally:
        if broker_url.startswith("amqp://"):
            delete_queue(broker_url, *QUEUES)


def prepare(
    stack: Stack, configure: str = 'call_command("configure_notes")', settings: str = "project.settings"
) -> Any:
    """Do what `Stack.prepare` does, in one process, with a manifest that the worker is asked for once.

    Return what the script ``configure`` found.
    """
    stack.directory.mkdir(parents=True, exist_ok=True)
    manifest = stack.directory / "manifest.json"
    if not MANIFEST:
        stack.write_manifest(manifest)
        MANIFEST.append(manifest.read_text())
    manifest.write_text(MANIFEST[0])
    steps = PREPARE.format(manifest=str(manifest)), configure, EXPORT.format(routing=str(stack.routing_file))
    return in_django(stack, "\n".join(map(textwrap.dedent, steps)), settings=settings)


def in_django(stack: Stack, script: str, *, expect: int = 0, settings: str = "project.settings") -> Any:
    """Run a script in a web process of its own, and return what it gave to ``answer``."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script)],
        env=stack.web_environment | {"DJANGO_SETTINGS_MODULE": settings},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    lines = done.stdout.strip().splitlines()
    return json.loads(lines[-1]) if lines else None


def eventually(question: Callable[[], Any], *, seconds: float = 30) -> Any:
    """Ask until the answer is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        time.sleep(0.2)
    return answer
