"""The how-to on moving from CELERY_TASK_ROUTES, followed literally: its files, its commands, its output."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.how_to import Block, blocks

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
NAMES = (
    "shop.tasks.pay",
    "shop.tasks.ship",
    "shop.images.resize",
    "shop.images.crop_all",
    "shop.images.other",
    "shop.reports.monthly",
    "shop.reports.weekly",
    "shop.tasks",
)
# Celery's own router and sender, up to the producer, over the same app.
THEIRS = """
import json, sys
from shop.celery import app
class Producer:
    def publish(self, body, **options): self.seen = options
answers = {}
for name in sys.argv[1:]:
    producer = Producer()
    app.amqp.send_task_message(producer, name, ({}, {}, (), None), **app.amqp.router.route({}, name))
    exchange = producer.seen["exchange"]
    answers[name] = [getattr(exchange, "name", exchange), producer.seen["routing_key"], producer.seen.get("priority")]
print(json.dumps(answers))
"""
OURS = """
import json, sys, django
django.setup()
from dispatch import registry
from dispatch.core.routing import Request
from dispatch.models import TaskDefinition
answers = {}
for name in sys.argv[1:]:
    TaskDefinition.objects.create(name=name)
for name in sys.argv[1:]:
    found = registry.current().destination(name, request=Request(name))
    answers[name] = [found.exchange, found.routing_key, found.priority]
print(json.dumps(answers))
"""


class Shop:
    """The reader's project: the shop's files, and a Django project with dispatch."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "shop").mkdir()
        (directory / "shop" / "__init__.py").touch()
        shutil.copy(ROOT / "manage.py", directory)
        self.write("settings.py", "from project.settings import *\n")
        self.run("python manage.py migrate")

    def write(self, name: str, text: str) -> None:
        with (self.directory / name).open("a", encoding="utf-8") as file:
            file.write(text)

    def run(self, command: str) -> str:
        python, *arguments = command.split()
        assert python == "python", command
        return self.python(*arguments)

    def python(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.directory,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith(("CELERY_", "DJANGO_"))},
                "DJANGO_SETTINGS_MODULE": "settings",
                "DATABASE_URL": f"sqlite:///{self.directory}/shop.sqlite3",
                "BROKER_URL": "redis://localhost:6379/0",
                "PYTHONPATH": f"{self.directory}{os.pathsep}{ROOT}",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}\n{done.stdout}{done.stderr}"
        return done.stdout


def follow(block: Block, shop: Shop) -> int:
    """Do what a block of the how-to says; return how many commands that were."""
    if block.language == "python":
        shop.write(block.file, block.text)
        return 0
    if block.language == "json":
        shop.write("reports.json", block.text)
        return 0
    assert block.language == "console"
    commands = list(block.commands())
    for _, command, shown in commands:
        output = shop.run(command)
        assert not shown or output == shown, f"$ {command}\n{output}"
    return len(commands)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The shop of a reader who has done all that stands there."""
    shop = Shop(tmp_path_factory.mktemp("moving"))
    count = sum(follow(block, shop) for block in blocks("moving-from-celery-task-routes"))
    assert count == 9
    return shop


def test_the_how_to_works_as_it_is_written(shop: Shop) -> None:
    exported = json.loads((shop.directory / "configuration.json").read_text())
    assert [queue["name"] for queue in exported["queues"]] == [
        "archive", "default", "payments", "reports", "thumbnails",
    ]  # fmt: skip
    routing = json.loads((shop.directory / "routing.json").read_text())
    assert {queue["name"] for queue in routing["queues"]} == {queue["name"] for queue in exported["queues"]}


def test_afterwards_each_task_goes_where_celery_sent_it(shop: Shop) -> None:
    theirs = json.loads(shop.python("-c", THEIRS, *NAMES))
    ours = json.loads(shop.python("-c", OURS, *NAMES))
    assert {name: place[:2] for name, place in ours.items()} == {
        name: place[:2] for name, place in theirs.items()
    }
    assert theirs["shop.tasks.pay"][2] == 0  # Redis's most urgent, as Celery writes it; 9 here
    assert {ours[name][2] for name in NAMES} == {9, 4}
    assert ours["shop.tasks.pay"][2] == 9
