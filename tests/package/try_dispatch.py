"""What the wheel gives an empty virtualenv: tables, a registry, a message that waits in the outbox."""

from __future__ import annotations

import sys
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command

settings.configure(
    SECRET_KEY="only for this",
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django_celery_results",
        "dispatch",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DISPATCH={"BROKERS": {"default": {"URL": "redis://127.0.0.1:6379/0"}}},
)
django.setup()
call_command("check", fail_level="WARNING")
call_command("migrate", verbosity=0)

import dispatch  # noqa: E402  # settings come first
from dispatch.api import send_task  # noqa: E402
from dispatch.models import OutboxMessage, Queue, TaskDefinition  # noqa: E402

Queue.objects.create(name="default", is_default=True)
TaskDefinition.objects.create(name="worker.tasks.add")
message = send_task("worker.tasks.add", args=(1, 2))
assert OutboxMessage.objects.get() == message, "The message is not in the outbox."
assert (message.queue, message.status) == ("default", "pending"), (message.queue, message.status)
assert dispatch.__file__.startswith(sys.prefix), f"Imported from {dispatch.__file__}, not from the wheel."
needed = (
    "py.typed",
    "testing/pytest_plugin.py",
    "locale/de/LC_MESSAGES/django.mo",
    "static/dispatch/admin.css",
)
lost = [each for each in needed if not (Path(dispatch.__file__).parent / each).exists()]
assert not lost, f"The wheel lacks {lost}."
print(f"dispatch {dispatch.__version__}, Django {django.__version__}: {message} waits in {message.queue!r}.")
