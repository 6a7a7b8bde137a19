"""docs/howto/triggers-in-admin.md: the trigger of its table, its preview, the pages, and the same in code."""

from __future__ import annotations

import re

import pytest

from tests.support.how_to import PAGES, blocks
from tests.support.tutorial import Project

pytestmark = pytest.mark.slow

PREVIEW, ADMIN, TAGS, KEPT, CODE, SUPPRESS = blocks("triggers-in-admin")
TEXT = (PAGES / "triggers-in-admin.md").read_text(encoding="utf-8")
TABLE = re.findall(
    r"^\| (\w[\w, ]*) \| (.*?) \|", TEXT.partition("## The form")[2].partition("\n\nThe")[0], re.M
)
SHOWN = re.search(r"([0-9a-f-]{36}) --event", PREVIEW.text)[1]  # type: ignore[index]
CLIENT = """
    from django.test import Client
    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.get())
"""
POST = """
    code = TaskDefinition.objects.get(name=form["task"]).pk
    address = "/admin/dispatch/trigger/add/"
    response = client.post(address, form | {"task": code})
    assert response.status_code == 302, response.context["errors"]
    waiting = lambda: [*OutboxMessage.objects.order_by("pk").values_list("trigger_name", "task_name", "kwargs")]
"""


def table_as_form() -> dict[str, object]:
    """What a reader who fills in the table posts."""
    form: dict[str, object] = {"enabled": "on", "arguments-INITIAL_FORMS": 0, "conditions-INITIAL_FORMS": 0}
    arguments = 0
    for field, value in TABLE[1:]:
        names = re.findall(r"`(.+?)`", value)
        if field == "Name":
            form["name"] = names[0]
        elif field == "Model, events":
            form |= {"model": "notes.note", "events": re.findall(r"\*(\w+)\*", value)}
            assert value.startswith("note, ")
        elif field == "Watched fields":
            form["watched_fields"] = names
        elif field == "Task":
            form["task"] = names[0]
        elif field == "Condition":
            column, operator, operand = re.fullmatch(r"`(.+)` (\w+) `(.+)`", value).groups()  # type: ignore[union-attr]
            parts = {"field": column, "operator": operator, "value": operand}
            form |= {f"conditions-0-{name}": part for name, part in parts.items()}
        else:
            assert field == "Argument"
            source = "field" if "field" in value else "pk"
            assert source == "field" or "primary key" in value
            parts = {"parameter": names[0], "source": source, "value": names[1] if source == "field" else ""}
            form |= {f"arguments-{arguments}-{name}": part for name, part in parts.items()}
            arguments += 1
    return form | {"arguments-TOTAL_FORMS": arguments, "conditions-TOTAL_FORMS": 1}
