"""docs/howto/monitoring.md: what Prometheus scrapes of a process and of the web, and what a record says.

The blocks on traces and on Sentry are followed by tests/acceptance/test_tracing.py.
"""

from __future__ import annotations

import json
import re
import tomllib

import pytest
import yaml

from project.stack.network import free_port
from tests.support.how_to import blocks
from tests.support.stacks import eventually
from tests.support.tutorial import ROOT, Project

pytestmark = pytest.mark.slow

START, SCRAPE, VIEW, SCRAPER, TRACES, INSTRUMENT, _spans, _sentry, FORMATTER, RECORD = blocks("monitoring")
SUMMARIZE = "worker.tasks.llm.summarize_note"


def test_what_it_shows_of_a_process_and_of_the_web_is_scraped(project: Project) -> None:
    port = str(free_port())
    [(_, _install, _), (_, start, said)] = START.commands()
    [(_, curl, shown)] = SCRAPE.commands()
    assert start.split()[-1] == "9464"
    with project.started(start.replace("9464", port), said):
        project.run('Note.objects.create(title="N", body="Cats sleep."); answer(None)')
        command = curl.replace("9464", port)
        assert eventually(lambda: project.shell(f"{command} || true") == shown)

    urls = VIEW.text.replace("urlpatterns += ", "from django.urls import path\nurlpatterns += ")
    project.append("mysite/urls.py", urls)
    project.environment["DISPATCH_METRICS_TOKEN"] = "secret"
    scraper = yaml.safe_load(SCRAPER.text)
    own, web = scraper["scrape_configs"]
    answers = project.run(f"""
    from django.conf import settings
    from django.test import Client
    settings.ALLOWED_HOSTS = ["testserver"]
    client = Client(raise_request_exception=False)
    ask = lambda **headers: client.get({web["metrics_path"]!r}, headers=headers)
    ask()
    Note.objects.create(title="N", body="Cats sleep.")
    right, wrong = ask(authorization="Bearer secret"), ask(authorization="Bearer other")
    answer([right.content.decode(), wrong.status_code, wrong.content.decode()])
    """)
    assert f'dispatch_messages_enqueued_total{{queue="llm",task="{SUMMARIZE}"}} 1.0' in answers[0]
    assert answers[1:] == [401, ""]
    assert own["static_configs"] == [{"targets": ["127.0.0.1:9464"]}]
    for name in scraper["rule_files"]:
        assert yaml.safe_load((ROOT / "docs" / "monitoring" / name).read_text())["groups"]


def test_the_extras_that_it_names_are_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.findall(r"django-celery-dispatch\[(\w+)\]", START.text + TRACES.text)
    assert named == ["prometheus", "opentelemetry"]
    assert set(named) <= set(extras)


def test_a_record_of_a_dead_message_is_formatted_as_it_shows(project: Project) -> None:
    project.write("mysite/logs.py", f"import json\nimport logging\n\n\n{FORMATTER.text}")
    project.append(
        "mysite/settings.py",
        """
LOGGING = {
    "version": 1,
    "formatters": {"json": {"()": "mysite.logs.JSONFormatter"}},
    "handlers": {"file": {"class": "logging.FileHandler", "filename": BASE_DIR / "json.log", "formatter": "json"}},
    "loggers": {"dispatch": {"handlers": ["file"]}},
}
DISPATCH["MAX_ATTEMPTS"] = 1
""",
    )
    project.run(
        INSTRUMENT.text,
        """
    task = TaskDefinition.objects.get(name="worker.tasks.llm.summarize_note")
    trigger = Trigger.objects.create(name="Summarise text notes", model="notes.note", events=["created"], task=task)
    for parameter, source, value in (("note_id", "pk", ""), ("text", "field", "body")):
        trigger.arguments.create(parameter=parameter, source=source, value=value)
    Note.objects.create(title="N", body="Cats sleep.")
    OutboxMessage.objects.filter(origin_name=trigger.name).update(options={"serializer": "yaml"})
    call_command("dispatch", "relay", "--once")
    answer(None)
    """,
    )
    records = [json.loads(line) for line in (project.directory / "json.log").read_text().splitlines()]
    shown = json.loads(RECORD.text)
    [record] = [record for record in records if record["level"] == shown["level"]]
    assert {name: value.replace(record["task_id"], "01a2…") for name, value in record.items()} == shown
