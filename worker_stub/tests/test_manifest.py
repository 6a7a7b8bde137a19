"""The manifest of this worker, from its code and from its running processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from celery_manifest import build, checksum

import worker
from worker.app import app

VERSION = worker.__version__


def test_the_manifest_of_this_worker_is_as_agreed():
    document = build(app, VERSION)
    assert list(document) == ["manifest", "worker", "version", "queues", "tasks", "checksum"]
    assert (document["manifest"], document["worker"], document["version"]) == (1, "worker", VERSION)
    assert document["queues"] == [
        {"name": name, "durable": True, "arguments": {}} for name in ("default", "link", "llm", "stt")
    ]
    by_name = {task["name"]: task for task in document["tasks"]}
    assert list(by_name) == sorted(by_name)
    summarize = by_name["worker.tasks.llm.summarize_note"]
    assert summarize["description"] == "Summarise a note by its most telling sentences."
    assert summarize["returns"] == {"type": "object", "additionalProperties": True}
    parameters = summarize["parameters"]
    assert parameters["properties"]["note_id"] == {"type": "string"}
    assert (
        parameters["properties"]["sentences"].items()
        >= {"type": "integer", "default": 2, "minimum": 1}.items()
    )
    assert parameters["required"] == ["note_id", "text"]
    assert parameters["additionalProperties"] is False
    assert parameters["x-positional"] == ["note_id", "text", "sentences"]


@pytest.fixture
def ask(site):
    """Ask the running worker by plain Celery, as a sender without its code does."""

    def manifest(host: str):
        replies = site.sender.control.broadcast(
            "manifest", destination=[host], reply=True, timeout=5, limit=1
        )
        ((name, answer),) = replies[0].items()
        assert name == host
        return answer

    return manifest


def settled(read, expected) -> bool:
    """Whether it becomes so: a worker answers first, and changes its queues in its next round."""
    tries = (time.sleep(0.2) or read() == expected for _ in range(25))
    return any(tries)


def test_a_running_worker_answers_with_its_manifest_and_the_queues_it_consumes_now(site, ask):
    worker = site.start("--concurrency", "1", "--queues", site.queue)
    document = ask(worker.host)
    expected = build(app, VERSION)
    assert {**document, "queues": [], "checksum": ""} == {**expected, "queues": [], "checksum": ""}
    assert document["checksum"] == checksum(document)
    main, other = (
        {"name": site.queues[0], "durable": True, "arguments": {"x-max-priority": 5}},
        {"name": site.queues[1], "durable": True, "arguments": {}},
    )
    assert document["queues"] == [main]
    site.sender.control.add_consumer(other["name"], destination=[worker.host], reply=True, timeout=5)
    assert settled(lambda: ask(worker.host)["queues"], [main, other])
    site.sender.control.cancel_consumer(main["name"], destination=[worker.host], reply=True, timeout=5)
    assert settled(lambda: ask(worker.host)["queues"], [other])


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_the_inspect_command_of_celery_knows_it(site):
    worker = site.start("--concurrency", "1")
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "worker",
        "inspect",
        "--json",
        "--timeout",
        "5",
        "manifest",
    ]
    done = subprocess.run(command, env=site.environ, capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout)[worker.host]["worker"] == "worker"


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_worker_without_the_package_answers_with_an_error(site, ask):
    (site.folder / "plain.py").write_text("from celery import Celery\napp = Celery('plain')\n")
    environ = {"PYTHONPATH": str(site.folder), "CELERY_BROKER_URL": site.broker_url}
    plain = site.start("--concurrency", "1", app="plain", **environ)
    assert "error" in ask(plain.host)
