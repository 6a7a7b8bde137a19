"""docs/howto/triggers-in-admin.md: the trigger of its table, its preview, the object's page, and the same in code."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.how_to import PAGES, blocks
from tests.support.tutorial import Project

pytestmark = pytest.mark.slow

PREVIEW, ADMIN, TAGS, KEPT, CODE, SUPPRESS = blocks("triggers-in-admin")
TEXT = (PAGES / "triggers-in-admin.md").read_text(encoding="utf-8")
ROWS = re.findall(
    r"^\| (\S.*?) +\| (.*?) +\|", TEXT[TEXT.index("| Name |") : TEXT.index("## Events")], re.MULTILINE
)
WITH_LINK = {"title": "N", "body": "See https://example.org"}
SENT = """
    def sent(note):
        found = OutboxMessage.objects.filter(object_pk=note.pk, task_name="worker.tasks.link.preview_links")
        return [[m.origin_name, m.options, json.loads(m.kwargs)] for m in found]
"""


def lines(prefix: str, rows: list[dict[str, str]]) -> dict[str, Any]:
    """Inline rows as the form posts them."""
    data = {f"{prefix}-{n}-{name}": value for n, row in enumerate(rows) for name, value in row.items()}
    return {f"{prefix}-TOTAL_FORMS": len(rows), f"{prefix}-INITIAL_FORMS": 0, **data}


def table_as_form() -> dict[str, Any]:
    """What a reader posts who fills in the table."""
    cells = {field: value for field, value in ROWS if field != "Argument"}
    model, *events = re.findall(r"\w+", cells["Model, events"])
    condition = re.fullmatch(r"`(?P<field>.+)` (?P<operator>\w+) `(?P<value>.+)`", cells["Condition"])
    arguments = []
    for value in (value for field, value in ROWS if field == "Argument"):
        parameter, source, column = re.fullmatch(
            r"`(\w+)` ← (primary key|field)(?: `(\w+)`)?", value
        ).groups()
        source = {"primary key": "pk", "field": "field"}[source]
        arguments.append({"parameter": parameter, "source": source, "value": column or ""})
    return {
        "name": cells["Name"].strip("`"),
        "enabled": "on",
        "model": f"notes.{model}",
        "events": events,
        "watched": cells["Watched fields"].strip("`"),
        "task": cells["Task"].strip("`"),
        **lines("arguments", arguments),
        **lines("conditions", [condition.groupdict()]),
    }


def test_the_trigger_of_its_table_sends_and_is_previewed(project: Project) -> None:
    project.write("notes/admin.py", ADMIN.text)
    note, created, sent, page, tags = project.run(
        f"form, tags = {table_as_form()!r}, {TAGS.text!r}",
        SENT,
        f"""
    from django.conf import settings
    from django.template import Context, Template
    from django.test import Client, RequestFactory
    settings.ALLOWED_HOSTS = ["testserver"]
    client, boss = Client(), User.objects.get()
    client.force_login(boss)
    form["task"] = TaskDefinition.objects.get(name=form["task"]).pk
    response = client.post("/admin/dispatch/trigger/add/", form)
    note = Note.objects.create(**{WITH_LINK})
    note.title = "Not watched"
    note.save()
    Note.objects.create(title="N", body="No link")
    request = RequestFactory().get("/")
    request.user = boss
    context = Context({{"request": request, "original": note}})
    page = client.get(f"/admin/notes/note/{{note.pk}}/change/").content.decode()
    answer([note.pk, response.status_code, sent(note), page, Template(tags).render(context)])
    """,
    )
    assert created == 302
    assert sent == [["Preview links", {}, {"note_id": note, "text": WITH_LINK["body"]}]]
    assert page.count("/admin/dispatch/outboxmessage/") >= 2
    assert "Preview links" in page
    assert tags.count("Preview links") >= 2
    [(_, command, _)] = PREVIEW.commands()
    command, replaced = re.subn(r"\b[0-9a-f-]{36}\b", note, command)
    assert replaced == 1
    told = project.shell(command)
    assert f"Trigger 'Preview links' fires when notes.note {note} was updated." in told
    assert "text = 'https://example.org'" in told


def test_the_same_in_code_and_a_save_without_triggers(project: Project) -> None:
    project.append("notes/triggers.py", CODE.text)
    project.append("mysite/settings.py", 'INSTALLED_APPS += ["safedelete"]\n')
    imports = """
from dispatch.api import HookedQuerySet
from safedelete.managers import SafeDeleteManager
from safedelete.models import SafeDeleteModel
from safedelete.queryset import SafeDeleteQueryset
"""
    project.append("notes/models.py", imports + KEPT.text)
    folders = """
from notes.models import Folder
@trigger(Folder, on=["updated", "deleted"], task="worker.tasks.ledger.credit_account")
def credit(folder, seen):
    return {"account": seen.event, "cents": 1}
"""
    project.append("notes/triggers.py", folders)
    project.manage("makemigrations", "notes")
    project.manage("migrate")
    saved, suppressed, kept = project.run(
        SENT,
        f"""
    from notes.models import Folder
    note = Note.objects.create(**{WITH_LINK})
    saved = sent(note)
    note.body += " and https://example.com"
    """,
        SUPPRESS.text,
        """
    suppressed = sent(note)
    Folder.objects.create()
    Folder.objects.all().delete()
    kept = OutboxMessage.objects.filter(object_model="notes.folder")
    answer([saved, suppressed, [message.kwargs for message in kept]])
    """,
    )
    [[name, options, arguments]] = saved
    assert (name, options, arguments["text"]) == (
        "notes.triggers.preview",
        {"priority": 3},
        WITH_LINK["body"],
    )
    assert suppressed == saved
    assert kept == ['{"account":"updated","cents":1}']
