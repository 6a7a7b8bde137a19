"""docs/howto/moving-existing-celery-code.md: a task of a Celery app, whose calls become messages of the outbox."""

from __future__ import annotations

import pytest
import redis

from tests.support.how_to import blocks
from tests.support.stacks import eventually
from tests.support.tutorial import Project

pytestmark = pytest.mark.slow

IMPORT, TASK, CALLS, RELAY = blocks("moving-existing-celery-code")
APP = """
from celery import Celery

app = Celery("proj", broker="redis://127.0.0.1:6379/0", include=["shop.tasks"])
app.conf.task_routes = {"shop.tasks.*": {"queue": "payments"}}
app.conf.task_default_queue = "default"
"""
SENT = """
rows = OutboxMessage.objects.order_by("available_at").values_list("task_name", "args", "kwargs", "queue", "status")
answer([*rows])
"""


def test_its_calls_are_messages_which_the_relay_publishes(project: Project, redis_url: str) -> None:
    project.write("proj/celery.py", APP)
    project.write(TASK.file, TASK.text)
    project.follow(IMPORT)
    project.run("TaskDefinition.objects.create(name='shop.tasks.pay')", "answer(None)")
    project.run("import proj.celery; from shop.tasks import pay", CALLS.text, "answer(None)")
    message = ["shop.tasks.pay", "[1]", '{"cents":5}', "payments"]
    assert project.run(SENT) == [[*message, "pending"]] * 2
    assert [command for _, command, _ in RELAY.commands()] == ["python manage.py dispatch relay"]
    with project.running("relay"), redis.Redis.from_url(redis_url) as broker:
        eventually(lambda: broker.llen("payments"))
        waiting = [[*message, "published"], [*message, "pending"]]  # the second in its countdown
        assert eventually(lambda: project.run(SENT) == waiting)
