from __future__ import annotations

import pytest
from django.urls import reverse
from django.utils import timezone

from dispatch.admin.models import choices, field_names
from dispatch.models import OutboxMessage, TaskDefinition, Trigger
from project.notes.models import Note

SUMMARIZE = "worker.tasks.llm.summarize_note"
ADD = "admin:dispatch_trigger_add"
pytestmark = pytest.mark.usefixtures("registry")


def lines(prefix, rows, **extra):
    data = {f"{prefix}-TOTAL_FORMS": len(rows), f"{prefix}-INITIAL_FORMS": 0}
    for index, row in enumerate(rows):
        data |= {f"{prefix}-{index}-{name}": value for name, value in row.items()}
    return data


def argument(parameter, value="", source="field"):
    return {"parameter": parameter, "source": source, "value": value}


def form(arguments, conditions=(), **columns):
    task = TaskDefinition.objects.get(name=columns.pop("task", SUMMARIZE))
    basic = {
        "name": "On save",
        "enabled": "on",
        "model": "notes.note",
        "events": ["created"],
        "task": task.pk,
    }
    return {
        **basic,
        **columns,
        **lines("arguments", list(arguments)),
        **lines("conditions", list(conditions)),
    }


COMPLETE = [argument("note_id", "pk"), argument("text", "body")]


def errors(boss, data):
    response = boss.post(reverse(ADD), data)
    assert response.status_code == 200, "the form was accepted"
    return " ".join(str(error) for error in response.context["errors"])


def test_a_trigger_made_in_the_admin_sends_its_task(boss):
    condition = {"field": "kind", "operator": "equals", "value": "text"}
    assert boss.post(reverse(ADD), form(COMPLETE, [condition])).status_code == 302
    note = Note.objects.create(title="A note", body="Words.", kind="text")
    Note.objects.create(title="Another", kind="link")
    [message] = OutboxMessage.objects.all()
    assert message.queue == "llm"
    assert message.kwargs == f'{{"note_id":"{note.pk}","text":"Words."}}'


def test_a_missing_parameter_is_named(boss):
    found = errors(boss, form([argument("note_id", "pk")]))
    assert f"The arguments do not fit task {SUMMARIZE}: it does not give 'text', which is required." in found


def test_an_unknown_parameter_is_refused_with_close_matches(boss):
    found = errors(boss, form([*COMPLETE, argument("sentenses", "1", "constant")]))
    assert "it gives 'sentenses', which the task does not take (did you mean 'sentences'?)" in found


def test_a_constant_of_the_wrong_type_is_refused(boss):
    found = errors(boss, form([*COMPLETE, argument("sentences", '"two"', "constant")]))
    assert "its constant for 'sentences' does not fit: 'two' is not of type 'integer'" in found
    assert (
        boss.post(reverse(ADD), form([*COMPLETE, argument("sentences", "2", "constant")])).status_code == 302
    )


def test_a_line_that_is_deleted_no_longer_gives_its_parameter(boss):
    boss.post(reverse(ADD), form(COMPLETE))
    trigger = Trigger.objects.get()
    text = trigger.arguments.get(parameter="text")
    data = form([{"id": text.pk, "trigger": trigger.pk, **argument("text", "body"), "DELETE": "on"}])
    data |= {"arguments-INITIAL_FORMS": 1}
    response = boss.post(reverse("admin:dispatch_trigger_change", args=[trigger.pk]), data)
    assert response.status_code == 200
    assert "it does not give 'text'" in " ".join(map(str, response.context["errors"]))


def test_a_task_without_a_schema_takes_any_mapping(boss):
    assert boss.post(reverse(ADD), form([argument("anything", "title")], task="by.hand")).status_code == 302


def test_an_unknown_column_is_refused_and_the_columns_are_named(boss):
    found = errors(boss, form([argument("note_id", "pk"), argument("text", "bdoy")]))
    assert "no column bdoy" in found
    assert "body" in found


def test_a_line_without_a_field_asks_for_one(boss):
    found = errors(boss, form([argument("note_id", "pk"), argument("text")]))
    assert "Name a field of the object" in found
    assert "no column" not in found


def test_a_constant_for_a_sensitive_parameter_is_not_quoted(boss):
    TaskDefinition.objects.filter(name=SUMMARIZE).update(sensitive_parameters=["sentences"])
    found = errors(boss, form([*COMPLETE, argument("sentences", '"hunter2"', "constant")]))
    assert "'sentences' does not fit" in found
    assert "hunter2" not in found


def test_without_a_model_the_lines_do_not_complain_too(boss):
    found = errors(boss, form([*COMPLETE, argument("sentences", "{", "constant")], model=""))
    assert "There is no model" not in found
    assert "required" in found


def test_an_event_must_be_chosen_and_is_asked_for_once(boss):
    response = boss.post(reverse(ADD), form(COMPLETE, events=[]))
    assert len(response.context["adminform"].form.errors["events"]) == 1


def test_housekeeping_models_are_not_offered():
    offered = str(choices())
    assert "notes.note" in offered
    assert "auth.user" in offered
    for hidden in ("dispatch.", "sessions.", "admin.logentry", "contenttypes."):
        assert f"('{hidden}" not in offered


def test_a_model_that_is_gone_stays_visible():
    assert ("gone.model", "gone.model (not installed)") in choices("gone.model")


def test_password_hashes_are_not_offered():
    assert "username" in field_names("auth.user")
    assert "password" not in field_names("auth.user")


def test_the_form_s_script_is_told_columns_and_parameters(boss):
    task = TaskDefinition.objects.get(name=SUMMARIZE)
    query = {"model": "notes.note", "task": task.pk}
    answer = boss.get(reverse("admin:dispatch_trigger_choices"), query).json()
    assert {"pk", "body"} <= set(answer["fields"])
    assert answer["parameters"][0] == {"name": "note_id", "type": "string", "required": True, "default": ""}
    nothing = boss.get(reverse("admin:dispatch_trigger_choices"), {"model": "no.model", "task": "x"}).json()
    assert nothing == {"fields": [], "parameters": []}


def test_staff_who_may_only_view_are_told_nothing_of_models(viewer):
    assert viewer.get(reverse("admin:dispatch_trigger_choices"), {"model": "auth.user"}).status_code == 403


def test_a_trigger_that_cannot_work_is_marked_in_the_list(boss):
    task = TaskDefinition.objects.get(name="by.hand")
    trigger = Trigger.objects.create(name="Broken", model="notes.note", events=["created"], task=task)
    trigger.conditions.create(field="gone", operator="equals", value="1")
    text = boss.get(reverse("admin:dispatch_trigger_changelist")).content.decode()
    assert "cannot work" in text
    assert "no column gone" in text


# -- retired tasks ---------------------------------------------------------------------------


def offered(boss, term=""):
    query = {"app_label": "dispatch", "model_name": "trigger", "field_name": "task", "term": term}
    return {row["text"] for row in boss.get(reverse("admin:autocomplete"), query).json()["results"]}


def test_a_retired_task_is_not_offered(boss):
    assert SUMMARIZE in offered(boss, "summarize")
    TaskDefinition.objects.filter(name=SUMMARIZE).update(retired_at=timezone.now())
    assert offered(boss, "summarize") == set()


def test_a_retired_task_is_refused_for_a_new_trigger(boss):
    TaskDefinition.objects.filter(name=SUMMARIZE).update(retired_at=timezone.now())
    assert "Select a valid choice" in errors(boss, form(COMPLETE))


def test_a_trigger_keeps_a_task_that_was_retired_later(boss):
    boss.post(reverse(ADD), form(COMPLETE))
    TaskDefinition.objects.filter(name=SUMMARIZE).update(retired_at=timezone.now())
    trigger = Trigger.objects.get()
    url = reverse("admin:dispatch_trigger_change", args=[trigger.pk])
    assert f"selected>{SUMMARIZE}</option>" in boss.get(url).content.decode()
    rows = [
        {"id": row.pk, "trigger": trigger.pk, **argument(row.parameter, row.value)}
        for row in trigger.arguments.all()
    ]
    data = form(rows, name="Renamed") | {"arguments-INITIAL_FORMS": 2}
    assert boss.post(url, data).status_code == 302
    assert Trigger.objects.get().name == "Renamed"
