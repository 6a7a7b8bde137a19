"""A schema for each tenant (django-tenants): nobody fires, sends, supersedes or sees what is another's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.stacks import fresh_database

pytestmark = pytest.mark.slow

PRELUDE = """
import django
django.setup()
import json
from django.core.management import call_command
from django_tenants.utils import schema_context
from dispatch import registry
from dispatch.api import UnknownTask, send_task
from dispatch.models import OutboxMessage
from tests.support.registry import make_queue, make_task, make_trigger
from tests.support.tenants.owners.models import Owner
from tests.support.tenants.shop.models import Order

def configure(task, **columns):
    make_queue("default", is_default=True)
    row = make_task(task, parameters={})
    make_trigger(row, "created", "updated", model="shop.order", name="T", **columns).arguments.all().delete()

def answer(value):
    print(json.dumps(value))

def statuses():
    return sorted(OutboxMessage.objects.values_list("object_schema", "status"))
"""
PREPARE = """
call_command("migrate_schemas", "--shared", verbosity=0)
for name in ("ada", "bob"):
    Owner.objects.create(schema_name=name, name=name)
answer("ready")
"""


class Tenants:
    """Runs scripts in processes of a project with the tenants "ada" and "bob"."""

    def __init__(self, lives: str, database_url: str) -> None:
        self.environment = {
            **os.environ,
            "DISPATCH_LIVES": lives,
            "DATABASE_URL": database_url,
            "DJANGO_SETTINGS_MODULE": "tests.support.tenants.settings",
        }

    def run(self, script: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(script)],
            env=self.environment,
            cwd=Path(__file__).resolve().parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def tenants(tmp_path: Path) -> Iterator[Callable[[str], Tenants]]:
    with fresh_database("postgresql", tmp_path) as url:

        def make(lives: str) -> Tenants:
            made = Tenants(lives, url)
            made.run(PREPARE)
            return made

        yield make


def test_where_dispatch_is_a_tenants_own_each_has_triggers_tasks_and_messages_of_its_own(
    tenants: Callable[[str], Tenants],
) -> None:
    project = tenants("own")
    found = project.run("""
        def send(task):
            try:
                return send_task(task) and "sent"
            except UnknownTask:
                return "unknown"

        with schema_context("ada"):
            configure("ada.task")
        with schema_context("bob"):
            make_queue("default", is_default=True)
            make_task("bob.task", parameters={})
        found = {}
        for name in ("ada", "bob", "ada", "bob"):
            with schema_context(name):
                Order.objects.create(body="x")
                found[name] = [statuses(), send("ada.task"), send("bob.task")]
        Owner.objects.update(name="C")  # in the public schema there are no tables of dispatch
        Owner.objects.first().save()
        answer([found, len(registry.current().tasks)])
    """)
    sent, fired = ["", "pending"], ["ada", "pending"]
    assert found == [
        {"ada": [[sent, fired, fired], "sent", "unknown"], "bob": [[sent], "unknown", "sent"]},
        0,
    ]
    assert project.run("""
        from django.core.management import execute_from_command_line
        execute_from_command_line(["manage.py", "tenant_command", "dispatch", "relay", "--once", "--schema=ada"])
        found = {}
        for name in ("ada", "bob"):
            with schema_context(name):
                found[name] = statuses()
        answer(found)
    """) == {
        "ada": [["", "published"], ["", "published"], ["ada", "published"], ["ada", "published"]],
        "bob": [["", "pending"], ["", "pending"]],
    }


def test_what_an_error_at_a_commit_left_claimed_is_given_back_in_its_tenants_schema(
    tenants: Callable[[str], Tenants],
) -> None:
    assert tenants("own").run("""
        from django.conf import settings
        from django.db import OperationalError, connection
        settings.DISPATCH = {**settings.DISPATCH, "DELIVERY": "on_commit"}
        from dispatch import delivery
        delivery.connect()
        is_lost = False

        def lose_answers(execute, sql, params, many, context):
            global is_lost
            answer = None if is_lost else execute(sql, params, many, context)
            if is_lost or "RETURNING" in sql and "lease_token" in sql:
                is_lost = True
                raise OperationalError("The answer was lost.")
            return answer

        for name in ("ada", "bob"):
            with schema_context(name):
                configure("shop.task")
        with schema_context("ada"), connection.execute_wrapper(lose_answers):
            send_task("shop.task")
        found = {}
        for name in ("bob", "ada"):
            with schema_context(name):
                send_task("shop.task")
                found[name] = statuses()
        answer(found)
    """) == {"bob": [["", "published"]], "ada": [["", "pending"], ["", "published"]]}


def test_an_answer_that_comes_after_the_commit_is_recorded_in_its_tenants_schema(
    tenants: Callable[[str], Tenants],
) -> None:
    assert tenants("own").run("""
        import threading, time
        from django.conf import settings
        settings.DISPATCH = {**settings.DISPATCH, "DELIVERY": "on_commit"}
        from dispatch import delivery
        from dispatch.client.publisher import Publisher
        delivery.connect()
        delivery.LONGEST, publish = 0.1, Publisher.publish_batch

        def slowly(*args, **options):
            answers = publish(*args, **options)
            time.sleep(0.5)
            return answers

        Publisher.publish_batch = slowly
        found = {}
        for name in ("ada", "bob"):
            with schema_context(name):
                configure("shop.task")
        for name in ("ada", "bob", "ada"):
            with schema_context(name):
                send_task("shop.task")
            for thread in threading.enumerate():
                if thread.name == "dispatch delivery":
                    thread.join()
            Publisher.publish_batch = publish
            with schema_context("ada"):
                found[len(found)] = statuses()
        answer([*found.values()])
    """) == [[["", "published"]], [["", "published"]], [["", "published"], ["", "published"]]]


def test_where_all_share_dispatch_no_message_takes_the_place_of_another_tenants(
    tenants: Callable[[str], Tenants],
) -> None:
    project = tenants("shared")
    found = project.run("""
        configure("shop.task", coalesce=0.1)
        seen = set()
        for name in ("ada", "bob"):
            with schema_context(name):
                Order.objects.create(body="x").save()
                seen.add(registry.current())
        answer([sorted(OutboxMessage.objects.values_list("object_pk", "object_schema")), len(seen)])
    """)
    assert found == [[["1", "ada"], ["1", "ada"], ["1", "bob"], ["1", "bob"]], 1]
    assert project.run("""
        import time
        from dispatch.admin.object_messages import messages_of
        time.sleep(0.2)
        call_command("dispatch", "relay", "--once")
        with schema_context("bob"):
            shown = [message.object_schema for message in messages_of(Order.objects.get())]
        answer([statuses(), shown])
    """) == [
        [["ada", "published"], ["ada", "superseded"], ["bob", "published"], ["bob", "superseded"]],
        ["bob", "bob"],
    ]
