"""docs/howto/keeping-the-registry-in-step.md: the output of an import that is only looked at."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dispatch.core.manifest import sealed
from project.stack import Stack
from tests.support.how_to import blocks
from tests.support.stacks import in_django, prepare

pytestmark = pytest.mark.slow

[SHOWN] = blocks("keeping-the-registry-in-step")
OLD, NEW = "worker.tasks.llm.summarize_note", "worker.tasks.llm.summarise_note"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LEAVE_TWO_LINK_NOTES_WAITING = """
    for title in "AB":
        Note.objects.create(title=title, body="https://example.org", kind="link")
"""


def change(path: Path) -> None:
    """Make of the worker's manifest that of its next version."""
    document = json.loads(path.read_text(encoding="utf-8"))
    document["version"] = "0.2.0"
    tasks = {task["name"]: task for task in document["tasks"]}
    tasks[OLD]["name"] = NEW
    link = tasks["worker.tasks.link.preview_links"]
    link["deprecated"] = "use preview_pages"
    del link["parameters"]["properties"]["text"]
    link["parameters"]["properties"]["body"] = {"type": "string", "default": ""}
    link["parameters"]["required"] = ["note_id"]
    link["parameters"]["x-positional"] = ["note_id", "body"]
    path.write_text(sealed(document), encoding="utf-8")


def test_a_dry_run_shows_what_the_page_shows(tmp_path: Path) -> None:
    stack = Stack(
        tmp_path,
        database_url=f"sqlite:///{tmp_path}/web.sqlite3",
        broker_url="memory://",
        result_backend_url="",
        start=(),
    )
    prepare(stack)
    in_django(stack, LEAVE_TWO_LINK_NOTES_WAITING)
    change(tmp_path / "manifest.json")
    [(_, command, shown)] = SHOWN.commands()
    python, manage, *arguments, file, flag = command.split()
    assert (python, manage) == ("python", "manage.py")
    printed = stack.manage(*arguments, str(tmp_path / file), flag)
    assert UUID.sub("…", printed) == UUID.sub("…", shown)
