"""docs/howto/worker.md: a worker's repository made as it says, what that offers, and what it consumes."""

from __future__ import annotations

import ast
import json
import re
import shutil

import pytest

from tests.support.how_to import PAGES, Block, blocks
from tests.support.stacks import eventually
from tests.support.tutorial import ROOT, Project

pytestmark = pytest.mark.slow

NAMED, INSTALL, APP, MANIFEST, INSPECT, ROUTED, SETTINGS, OPTIONS, SYNC = blocks("worker")
TEXT = (PAGES / "worker.md").read_text(encoding="utf-8")
IN_CI = re.search(r"`(ROUTING_FILE=.* manifest .*)`", TEXT)[1]
COPIED = re.search(r"Copy `worker/(.*)` and `worker/(.*)`, and", TEXT).groups()
TASK_IMPORTS = """
from typing import Annotated, Any
from pydantic import Field
from worker.celery import app
"""
APP_IMPORTS = """
from os import environ
from pathlib import Path
from worker import broadcasts, routing
"""
LOUD = "--loglevel INFO"  # says when it is ready


def only(block: Block) -> str:
    """The one command of a block."""
    [(_, command, _)] = block.commands()
    return command


def test_a_worker_made_as_it_says_tells_what_it_offers_and_consumes(project: Project) -> None:
    own = project.directory / "own"
    project.write("own/worker/__init__.py", "")
    project.write("own/worker/celery.py", APP.text)
    project.write("own/worker/tasks/__init__.py", "")
    project.write("own/worker/tasks/llm.py", TASK_IMPORTS + NAMED.text)
    project.shell(only(MANIFEST), where="own", worker=True)
    written = json.loads((own / "manifest.json").read_text())
    assert (written["worker"], written["version"]) == ("worker", "0.1.0")
    [task] = written["tasks"]
    assert task["name"] == "worker.tasks.llm.summarize_note"
    assert [*task["parameters"]["properties"]] == ["note_id", "text", "sentences"]
    assert task["description"] == "Summarise a note by its most telling sentences."

    for name in COPIED:
        shutil.copy(ROOT / "worker_stub" / "worker" / name, own / "worker")
    routed = ROUTED.text.replace("has_exchanges=True", "has_exchanges=False")  # it is Redis
    app = re.sub(r"^app = .*\n", routed, APP.text, flags=re.MULTILINE)
    project.write("own/worker/celery.py", APP_IMPORTS + app)
    shutil.copy(project.directory / "routing.json", own)
    project.shell(IN_CI, where="own", worker=True)
    routing = json.loads((own / "routing.json").read_text())
    written = json.loads((own / "manifest.json").read_text())
    names = {queue["name"] for queue in routing["queues"]}
    assert {queue["name"] for queue in written["queues"]} == names == {"default", "llm"}

    command = f"ROUTING_FILE=routing.json celery -A worker worker {LOUD}"
    with project.started(command, " ready.", where="own", worker=True):
        told = project.shell(f"ROUTING_FILE=routing.json {only(INSPECT)}", where="own", worker=True)
    [answer] = json.loads(told).values()
    assert answer == written


def test_the_worker_to_copy_from_is_as_it_says(project: Project) -> None:
    package = only(INSTALL).split("PATH-OF-THE-CHECKOUT/")[1]
    assert 'name = "celery-manifest"' in (ROOT / package / "pyproject.toml").read_text()
    settings = "import json; from worker.config import settings; print(json.dumps(settings({}), default=str))"
    found = json.loads(project.shell(f"python -c '{settings}'", worker=True))
    for name, value in ast.literal_eval(f"{{{SETTINGS.text}}}").items():
        assert (found[name] | value if isinstance(value, dict) else value) == found[name]

    project.shell(IN_CI, worker=True)
    [(_, command, shown)] = SYNC.commands()
    assert project.shell(command) == shown
    options = json.loads(re.search(r"'(.*)'", OPTIONS.text)[1])
    conf = {"broker_transport_options": options}
    project.append("mysite/settings.py", f'DISPATCH["BROKERS"]["default"]["CONF"] = {conf}\n')
    sent = project.run("""
    from dispatch.api import send_task
    arguments = {"note_id": str(Note.objects.create(title="N").pk), "text": "Cats sleep."}
    message = send_task("worker.tasks.llm.summarize_note", kwargs=arguments, priority=6)
    call_command("dispatch", "relay", "--once")
    answer([message.pk])
    """)
    with project.started(f"{only(OPTIONS)} {LOUD}", " ready.", worker=True):
        returned = f'call_command("dispatch", "results", "--once"); answer(returned({sent}))'
        assert eventually(lambda: project.run(returned))
