"""docs/howto/tenants.md: relay and collector of a schema, a receiver that enters it, a setting that names it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from project.stack import Process
from project.stack.process import says
from tests.support.how_to import blocks
from tests.support.stacks import eventually, fresh_database

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
COMMANDS, RECEIVER, SETTING = blocks("tenants")
PRELUDE = """
import sys
import types
import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection
django.setup()
from django_tenants.utils import schema_context
from tests.support.registry import make_queue, make_task
from tests.support.tenants.owners.models import Owner
from dispatch.api import send_task, task_finished
from dispatch.models import OutboxMessage
"""
ONE_TENANT = """
call_command("migrate_schemas", "--shared", verbosity=0)
Owner.objects.create(schema_name="ada", name="ada")
"""
STATUSES = """
with schema_context("ada"):
    print(*OutboxMessage.objects.values_list("status", flat=True))
"""


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    with fresh_database("postgresql", tmp_path) as url:
        yield {
            **os.environ,
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "tests.support.tenants.settings",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }


def run(environment: dict[str, str], script: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_each_tenants_own_relay_and_collector_run_until_they_are_stopped(
    environment: dict[str, str], tmp_path: Path
) -> None:
    environment["DISPATCH_LIVES"] = "own"
    message = """
    with schema_context("ada"):
        make_queue("default", is_default=True)
        make_task("ada.task", parameters={})
        send_task("ada.task")
    """
    run(environment, ONE_TENANT + textwrap.dedent(message))
    for (_, command, _), ready in zip(COMMANDS.commands(), ("Relaying", "Collecting"), strict=True):
        log = tmp_path / f"{ready}.log"
        process = Process(ready, command.split(), log=log, ready=says(ready), env=environment, cwd=ROOT)
        process.start()
        try:
            process.wait_ready()
            assert eventually(lambda: run(environment, STATUSES) == ["published"])
        finally:
            assert process.stop() == 0, process.tail()


def test_a_receiver_enters_the_schema_of_the_message_and_a_setting_may_name_it(
    environment: dict[str, str],
) -> None:
    environment["DISPATCH_LIVES"] = "shared"
    script = """
    exec(sys.argv[1].replace("...", "print(connection.schema_name)"))
    for schema in ("ada", ""):
        task_finished.send(None, message=OutboxMessage(object_schema=schema), result=None)

    package, tenancy = types.ModuleType("project"), types.ModuleType("project.tenancy")
    tenancy.schema_name = lambda alias: f"schema of {alias}"
    sys.modules |= {"project": package, "project.tenancy": tenancy}
    brokers = settings.DISPATCH
    exec(sys.argv[2].replace("...", "**brokers"))
    settings.DISPATCH = DISPATCH
    from dispatch.models.database import schema_name
    print(schema_name("default"))
    """
    printed = run(environment, ONE_TENANT + textwrap.dedent(script), RECEIVER.text, SETTING.text)
    assert printed[-3:] == ["ada", "public", "schema of default"]
