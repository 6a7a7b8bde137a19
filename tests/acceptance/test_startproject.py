"""The tutorial's project, on SQLite as `startproject` leaves it: no save is refused beside relay and collector."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.support.tutorial import TEXT, Project

pytestmark = pytest.mark.slow

SAVES = 200
WEB = """
    import logging
    from collections import Counter
    from django.db import OperationalError
    from django.test import Client
    from django.test.utils import setup_test_environment
    logging.disable(logging.CRITICAL)
    setup_test_environment()  # shows the context of a page
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.get())

    def filled_in(url):
        context = client.get(url).context
        forms = [context["adminform"].form]
        for inline in context["inline_admin_formsets"]:
            forms += [inline.formset.management_form, *inline.formset.forms]
        values = {field.html_name: field.value() for form in forms for field in form}
        return {name: "" if value is None else value for name, value in values.items()}

    def posts(url, column):
        data = filled_in(url)
        return [client.post(url, {**data, column: f"Save {n}"}).status_code for n in range(SAVES)]

    def save(note, n):
        note.title = f"Title {n}"
        try:
            return note.save() or "saved"
        except OperationalError as error:
            return str(error)
"""
#: A trigger that compares what it reads before each save, beside the tutorial's.
TRIGGER = """
    task = TaskDefinition.objects.get(name="worker.tasks.llm.summarize_note")
    trigger = Trigger.objects.create(name="T", model="notes.note", events=["updated"], task=task, watched=["title"])
    for parameter, value in (("note_id", "pk"), ("text", "body")):
        TriggerArgument.objects.create(trigger=trigger, parameter=parameter, source="field", value=value)
    note = Note.objects.create(title="N", body="Cats sleep. Dogs bark.")
"""
SAVE = """
    found = {
        "trigger": Counter(posts(f"/admin/dispatch/trigger/{trigger.pk}/change/", "name")),
        "note": Counter(posts(f"/admin/notes/note/{note.pk}/change/", "title")),
        "autocommit": Counter(save(note, n) for n in range(SAVES)),
    }
    answer([found, OutboxMessage.objects.count()])
"""
WAIT = """
    import time
    deadline = time.monotonic() + 120
    while OutboxMessage.objects.filter(handled_at=None).exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    answer([OutboxMessage.objects.exclude(handled_at=None).count(), Note.objects.get().summary != ""])
"""
#: What stands behind a prompt in the tutorial is run, and what stands below it must come.
SHOWN = """
    import doctest
    from pathlib import Path
    parser = doctest.DocTestParser()
    shown = Path("shown.txt").read_text(encoding="utf-8")
    told = []
    failed = doctest.DocTestRunner().run(parser.get_doctest(shown, {}, "tutorial", None, 0), out=told.append).failed
    answer([failed, "".join(told)])
"""


def test_the_shell_shows_what_the_tutorial_shows(tmp_path: Path, redis_url: str, results_url: str) -> None:
    project = Project(tmp_path, redis_url, results_url)
    project.make()
    blocks = re.findall(r"^```pycon\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    (tmp_path / "shown.txt").write_text("\n".join(blocks), encoding="utf-8")
    assert len(blocks) == 2
    assert project.run(SHOWN) == [0, ""]


def test_no_save_is_refused_beside_relay_and_collector(
    tmp_path: Path, redis_url: str, results_url: str
) -> None:
    project = Project(tmp_path, redis_url, results_url)
    project.make()
    with project.running("worker", "relay", "results") as processes:
        found, messages = project.run(f"{WEB}\n    SAVES = {SAVES}\n{TRIGGER}{SAVE}")
        assert {what: Counter(answers) for what, answers in found.items()} == {
            "trigger": {"302": SAVES},
            "note": {"302": SAVES},
            "autocommit": {"saved": SAVES},
        }
        assert project.run(WAIT) == [messages, True]
        for name in ("relay", "results"):
            assert "locked" not in processes[name].output()
