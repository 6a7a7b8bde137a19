"""What a process has loaded when it has started, and when it has sent: fresh interpreters tell."""

from __future__ import annotations

import subprocess
import sys

import pytest

DJANGO = [f"django.contrib.{app}" for app in ("admin", "auth", "contenttypes", "messages", "sessions")]
CLIENTS = {"amqp", "celery", "kombu", "redis"}
#: What checks arguments and patterns: loaded with the first registry that has any.
CHECKERS = {"jsonschema_rs", "regex"}
#: Rooms that cost something, and that only a command, a page or the reading of a result opens.
ROOMS = {
    "dispatch.admin.message_detail",
    "dispatch.admin.send_view",
    "dispatch.admin.trigger_preview",
    "dispatch.client",
    "dispatch.configuration",
    "dispatch.contract",
    "dispatch.metrics",
    "dispatch.queues",
    "dispatch.relay",
    "dispatch.results",
    "dispatch.tracing",
    "dispatch.triggers.preview",
}
SEND_AND_SAVE = """
import json

from django.contrib.auth.models import Group
from django.core.management import call_command
from dispatch.api import OutboxMessage, send_task
from dispatch.models import Queue, TaskDefinition, Trigger, TriggerArgument

call_command("migrate", verbosity=0, skip_checks=True)
Queue.objects.create(name="default", is_default=True)
parameters = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
task = TaskDefinition.objects.create(name="a.task", parameters=parameters)
trigger = Trigger.objects.create(name="on groups", model="auth.group", events=["created"], task=task)
TriggerArgument.objects.create(trigger=trigger, parameter="name", source="field", value="name")

send_task("a.task", kwargs={"name": "sent"})
Group.objects.create(name="saved")
sent = OutboxMessage.objects.filter(status="pending").values_list("kwargs", flat=True)
assert sorted(map(json.loads, sent), key=str) == [{"name": "saved"}, {"name": "sent"}], list(sent)
"""


def loaded(apps, then=""):
    """The modules of a process that set up Django with these apps, beside Django's own, and did something."""
    code = f"""
import django, sys
from django.conf import settings

settings.configure(
    INSTALLED_APPS={[*DJANGO, *apps]},
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}},
    DISPATCH={{"BROKERS": {{"default": {{"URL": "redis://127.0.0.1:1/0"}}}}}},
    USE_TZ=True,
)
django.setup()
{then}
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    return set(done.stdout.split())


def within(modules, packages):
    """Those of the modules that are these packages, or inside of one."""
    return {name for name in modules if any(f"{name}.".startswith(f"{package}.") for package in packages)}


@pytest.mark.parametrize(
    "then", ["", "import dispatch.api", "from django.contrib import admin; admin.site.urls"]
)
def test_a_process_that_starts_loads_no_client_of_a_broker_and_no_room_that_it_may_never_use(then):
    modules = loaded(["dispatch"], then)
    assert {"dispatch.admin", "dispatch.checks"} <= modules
    assert not within(modules, CLIENTS | CHECKERS | ROOMS)


def test_beside_django_celery_results_it_loads_no_more_of_celery_than_that_does():
    alone = loaded(["django_celery_results"])
    both = loaded(["django_celery_results", "dispatch"], "import dispatch.api")
    assert within(both, CLIENTS) == within(alone, CLIENTS)


def test_a_send_and_a_hooked_save_load_none_of_it_either():
    assert not within(loaded(["dispatch"], SEND_AND_SAVE), CLIENTS | ROOMS)


def test_whoever_reads_a_result_loads_celery():
    """And so the tests above would see it."""
    modules = loaded(["dispatch"], "from dispatch.api import result; result('an id')")
    assert {"celery.result", "kombu", "dispatch.client.result_backend"} <= modules
