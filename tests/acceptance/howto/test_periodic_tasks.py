"""docs/howto/periodic-tasks.md: a periodic task of django-celery-beat becomes messages of the outbox."""

from __future__ import annotations

from importlib.metadata import requires

import pytest

from tests.support.how_to import blocks
from tests.support.stacks import eventually
from tests.support.tutorial import Project

pytestmark = pytest.mark.slow

INSTALL, SETTINGS, APP, RUN = blocks("periodic-tasks")
EACH_SECOND = """
from django_celery_beat.models import IntervalSchedule, PeriodicTask
second = IntervalSchedule.objects.create(every=1, period="seconds")
task, kwargs = "worker.tasks.llm.summarize_note", '{"note_id": "1", "text": "Cats sleep."}'
PeriodicTask.objects.create(name="Often", task=task, kwargs=kwargs, interval=second)
answer(None)
"""
SENT = """
found = OutboxMessage.objects.order_by().values_list("origin_name", "task_name", "kwargs", "queue", "status")
answer(len(found) > 1 and [*found.distinct()])
"""


def test_a_periodic_task_becomes_messages_of_the_outbox(project: Project) -> None:
    assert [command for _, command, _ in INSTALL.commands()] == ["pip install 'django-celery-dispatch[beat]'"]
    [extra] = [each for each in requires("django-celery-dispatch") or () if "extra == 'beat'" in each]
    assert extra.startswith("django-celery-beat>=")
    project.append("mysite/settings.py", SETTINGS.text)
    project.write("proj/settings.py", "from mysite.settings import *\n")
    project.write(APP.file, APP.text)
    (_, migrate, _), (_, beat, _) = RUN.commands()
    project.manage(*migrate.removeprefix("python manage.py ").split())
    project.run(EACH_SECOND)
    with project.started(f"-u DJANGO_SETTINGS_MODULE {beat}", "is starting."):
        sent = eventually(lambda: project.run(SENT))
    name, kwargs = "worker.tasks.llm.summarize_note", '{"note_id":"1","text":"Cats sleep."}'
    assert sent == [["periodic task Often", name, kwargs, "llm", "pending"]]
