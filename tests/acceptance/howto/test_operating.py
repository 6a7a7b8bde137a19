"""docs/howto/operating.md: its processes started, probed and stopped, its commands run, its pages seen."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
from importlib import import_module

import pytest
import yaml

from tests.support import servers
from tests.support.how_to import blocks
from tests.support.stacks import eventually
from tests.support.tutorial import Project

pytestmark = pytest.mark.slow

UNIT, PROCFILE, COMPOSE, ONCE, DEPLOY, STATUS, PROBE, CHART, APPS, OWN_PAGE, SQLITE, ACL = blocks("operating")
READY = {"relay": "Relaying", "results": "Collecting"}
TIMES = re.compile(r"\d+ (min|s)\b")
ALL_PUBLISHED = "answer(not OutboxMessage.objects.filter(published_at=None).exists())"
INDEX = """
    from django.conf import settings
    from django.contrib import admin
    from django.test import Client
    settings.ALLOWED_HOSTS = ["testserver"]
    client = Client()
    client.force_login(User.objects.get())
    pages = [client.get(f"/admin/{path}").content.decode() for path in ("", "dispatch/queue/")]
    answer([*pages, type(admin.site._registry[Queue]).__name__])
"""


def test_its_processes_are_alive_while_they_run(project: Project) -> None:
    services = yaml.safe_load(COMPOSE.text)["services"]
    procfile = dict(re.findall(r"^(\w+): (.*)$", PROCFILE.text, re.MULTILINE))
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str
    unit.read_string(UNIT.text)
    assert procfile["relay"] == unit["Service"]["ExecStart"].replace("/srv/web/.venv/bin/", "")
    assert services["relay"]["stop_grace_period"] == f"{unit['Service']['TimeoutStopSec']}s"
    gunicorn, module = procfile.pop("web").split()
    assert (gunicorn, hasattr(import_module(module), "application")) == ("gunicorn", True)
    probe = yaml.safe_load(PROBE.text)["livenessProbe"]["exec"]["command"]
    assert ["CMD", *probe] == services["relay"]["healthcheck"]["test"]

    project.append("mysite/settings.py", SQLITE.text)
    project.run("""
    from dispatch.api import send_task
    send_task("worker.tasks.ops.fail_on_demand", kwargs={"note_id": "1"})
    answer(None)
    """)
    for name, command in procfile.items():
        assert command == shlex.join(services[name]["command"])
        shell, *check = services[name]["healthcheck"]["test"]
        assert shell == "CMD"
        project.shell(shlex.join(check), expect=1)
        with project.started(command, READY[name]):
            project.shell(shlex.join(check))
            assert eventually(lambda: project.run(ALL_PUBLISHED))
    imported, query = CHART.text.split("\n\n")
    [minute] = project.run(imported, f"answer(list({query}))")
    assert minute["number__sum"] == 1


def test_its_commands_and_pages_are_as_it_shows(project: Project) -> None:
    for _, command, shown in ONCE.commands():
        assert project.shell(command) == shown
    project.manage("dispatch", "config", "export", "configuration.json")
    project.shell(f"set -e\n{DEPLOY.text}")

    project.run("""
    import datetime
    from django.utils import timezone
    Process.objects.all().delete()
    Note.objects.create(title="N", body="Cats sleep.")
    OutboxMessage.objects.update(available_at=timezone.now() - datetime.timedelta(minutes=12, seconds=5))
    answer(None)
    """)
    [(_, command, shown)] = STATUS.commands()
    told = project.shell(command, expect=1)
    assert TIMES.sub("…", told) == TIMES.sub("…", shown)

    assert "(dispatch.W014)" in project.shell("python manage.py check --database default")
    settings = (project.directory / "mysite" / "settings.py").read_text()
    project.write("mysite/settings.py", settings.replace(', "dispatch", ', ", "))
    project.append("mysite/settings.py", APPS.text)
    project.append("mysite/settings.py", SQLITE.text)
    project.append("notes/admin.py", OWN_PAGE.text)
    assert "(dispatch.W014)" not in project.shell("python manage.py check --database default")
    index, queues, page = project.run(INDEX)
    assert "No relay was seen" in index
    assert "By paused" in queues
    assert page == "OurQueueAdmin"


def test_each_broker_takes_the_rights_of_its_accounts(project: Project) -> None:
    project.append(
        "mysite/settings.py", 'DISPATCH["BROKERS"]["rabbit"] = {"URL": "amqp://guest@127.0.0.1//"}\n'
    )
    project.run('Queue.objects.create(name="letters", broker="rabbit"); answer(None)')
    for_redis, for_rabbitmq = ACL.text.splitlines()
    if not shutil.which("redis-cli"):
        servers.missing("no redis-cli was found")
    client = f"redis-cli -u {project.urls['redis://127.0.0.1:6379/0']}"
    try:
        assert set(project.shell(for_redis.replace("redis-cli", client)).split()) == {"OK"}
        users = project.shell(f"{client} ACL USERS").split()
    finally:
        project.shell(f"{client} ACL DELUSER dispatch-relay dispatch-admin dispatch-collector")
    assert {"dispatch-relay", "dispatch-admin", "dispatch-collector"} <= set(users)
    printed = project.shell(
        for_rabbitmq.removesuffix(" | sh")
    )  # whether RabbitMQ takes them: test_broker_accounts.py
    assert {shlex.split(line)[1] for line in printed.splitlines()} == {"set_permissions"}
