from __future__ import annotations

import html

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from dispatch.admin.explanations import in_one_sentence
from dispatch.api import send_task
from dispatch.models import Queue, Route, TaskDefinition

SUMMARIZE = "worker.tasks.llm.summarize_note"
pytestmark = pytest.mark.usefixtures("registry")


def act(client, verb, *names):
    chosen = [str(pk) for pk in Queue.objects.filter(name__in=names).values_list("pk", flat=True)]
    data = {"action": verb, "_selected_action": chosen}
    return client.post(reverse("admin:dispatch_queue_changelist"), data, follow=True).content.decode()


def queue_form(**columns):
    bindings = {"bindings-TOTAL_FORMS": 0, "bindings-INITIAL_FORMS": 0}
    return {
        "name": "new",
        "broker": "default",
        "queue_type": "classic",
        "durable": "on",
        **bindings,
        **columns,
    }


def paused():
    return set(Queue.objects.filter(paused=True).values_list("name", flat=True))


def test_queues_are_paused_and_resumed_and_the_history_says_by_whom(boss):
    assert "Paused: llm." in act(boss, "pause", "llm")
    assert paused() == {"llm"}
    assert "(paused: messages wait in the outbox)" in in_one_sentence.explain(SUMMARIZE)
    assert "Resumed: llm." in act(boss, "resume", "llm", "default")
    assert paused() == set()
    assert list(LogEntry.objects.values_list("object_repr", "change_message")) == [
        ("llm", "Resumed."),
        ("llm", "Paused."),
    ]


def test_tasks_are_paused_likewise(boss):
    task = TaskDefinition.objects.get(name=SUMMARIZE)
    data = {"action": "pause", "_selected_action": [str(task.pk)]}
    boss.post(reverse("admin:dispatch_taskdefinition_changelist"), data)
    task.refresh_from_db()
    assert task.paused
    message = send_task(SUMMARIZE, ["1", "text"])
    page = boss.get(reverse("admin:dispatch_outboxmessage_change", args=[message.pk])).content.decode()
    assert "Its task is paused" in page


def test_a_route_to_a_router_says_that_the_router_decides(boss):
    Route.objects.create(pattern="project.routers.by_size", kind="callable")
    text = boss.get(reverse("admin:dispatch_route_changelist")).content.decode()
    assert "as the router decides" in text


def test_pausing_a_paused_queue_says_that_there_is_nothing_to_do(boss):
    act(boss, "pause", "llm")
    assert "Nothing to do" in act(boss, "pause", "llm")


def test_staff_who_may_only_view_neither_see_nor_can_post_pause(viewer):
    assert "Pause selected" not in viewer.get(reverse("admin:dispatch_queue_changelist")).content.decode()
    act(viewer, "pause", "llm")
    assert paused() == set()


def test_a_broker_is_chosen_among_those_in_the_settings(boss):
    text = boss.get(reverse("admin:dispatch_queue_add")).content.decode()
    assert '<option value="default" selected>default</option>' in text
    response = boss.post(reverse("admin:dispatch_queue_add"), queue_form(broker="elsewhere"))
    assert "broker" in response.context["adminform"].form.errors


def test_a_broker_that_left_the_settings_stays_visible(boss):
    Queue.objects.filter(name="llm").update(broker="old")
    address = reverse("admin:dispatch_queue_change", args=[Queue.objects.get(name="llm").pk])
    assert "old (not in the settings)" in boss.get(address).content.decode()


def test_json_that_cannot_be_read_is_refused_with_its_place(boss):
    response = boss.post(reverse("admin:dispatch_queue_add"), queue_form(arguments='{"x": 1,\n "y" 2}'))
    assert "line 2, column 6" in str(response.context["errors"])


def test_empty_json_means_no_arguments(boss):
    response = boss.post(reverse("admin:dispatch_queue_add"), queue_form(arguments=""))
    assert response.status_code == 302, response.context["errors"]
    assert Queue.objects.get(name="new").arguments == {}


def test_json_is_shown_in_lines_and_comes_back_as_it_was(boss):
    queue = Queue.objects.create(name="odd", arguments={"x-note": "ü", "n": 1})
    address = reverse("admin:dispatch_queue_change", args=[queue.pk])
    text = boss.get(address).content.decode()
    assert "\n  &quot;x-note&quot;: &quot;ü&quot;" in text


def test_a_new_route_comes_after_the_others(boss):
    Route.objects.update(position=7)
    assert boss.get(reverse("admin:dispatch_route_add")).context["adminform"].form.initial["position"] == 17


def test_a_route_that_matches_no_task_is_saved_with_a_warning(boss):
    data = {
        "pattern": "worker.taks.*",
        "kind": "glob",
        "position": 1,
        "enabled": "on",
        "queue": Queue.objects.get(name="llm").pk,
    }
    text = boss.post(reverse("admin:dispatch_route_add"), data, follow=True).content.decode()
    assert Route.objects.filter(pattern="worker.taks.*").exists()
    assert "No task in the registry matches worker.taks.*" in text


def test_positions_are_edited_in_the_list_and_a_bad_row_gets_an_error_not_a_crash(boss):
    Route.objects.create(pattern="(", kind="regex", position=9, queue=Queue.objects.get(name="llm"))
    rows = list(Route.objects.order_by("position", "pk"))
    data = {"form-TOTAL_FORMS": 2, "form-INITIAL_FORMS": 2, "_save": "Save"}
    for index, row in enumerate(rows):
        data |= {
            f"form-{index}-id": row.pk,
            f"form-{index}-position": 20 + index,
            f"form-{index}-enabled": "on",
        }
    response = boss.post(reverse("admin:dispatch_route_changelist"), data)
    assert response.status_code == 200
    assert "is not a regular expression" in response.content.decode()


@pytest.mark.parametrize(
    ("own", "text"),
    [
        ({}, "→ queue llm on broker default, by route 'worker.tasks.llm.*' (glob)"),
        ({"queue": "default"}, "→ queue default on broker default, by the task's own definition"),
    ],
)
def test_a_task_shows_where_it_goes_and_why(boss, own, text):
    task = TaskDefinition.objects.get(name=SUMMARIZE)
    task.queue = Queue.objects.filter(name=own.get("queue")).first()
    task.save()
    address = reverse("admin:dispatch_taskdefinition_change", args=[task.pk])
    assert text in html.unescape(boss.get(address).content.decode())


def test_a_task_that_goes_nowhere_says_what_to_do(boss):
    Queue.objects.filter(name="default").update(is_default=None)
    text = boss.get(reverse("admin:dispatch_taskdefinition_changelist")).content.decode()
    assert "nowhere" in text
    assert "Mark a queue as default, or add a route." in text


def test_what_the_manifest_says_of_a_task_is_read_only(boss):
    task = TaskDefinition.objects.get(name=SUMMARIZE)
    address = reverse("admin:dispatch_taskdefinition_change", args=[task.pk])
    response = boss.get(address)
    assert set(response.context["adminform"].form.fields).isdisjoint({"name", "description", "parameters"})
    boss.post(address, {"enabled": "on", "parameters": "{}", "name": "other", "ignore_result": "unknown"})
    task.refresh_from_db()
    assert task.name == SUMMARIZE
    assert "note_id" in task.parameters["properties"]


def test_parameters_are_a_table(boss):
    task = TaskDefinition.objects.get(name=SUMMARIZE)
    text = boss.get(reverse("admin:dispatch_taskdefinition_change", args=[task.pk])).content.decode()
    assert "<code>sentences</code>" in text
    assert "integer" in text
    assert "optional" in text


def test_a_misspelt_sensitive_parameter_is_refused_since_it_would_mask_nothing(boss):
    task = TaskDefinition.objects.get(name="worker.tasks.ops.push_to_partner")
    address = reverse("admin:dispatch_taskdefinition_change", args=[task.pk])
    data = {
        "name": task.name,
        "parameters": '{"type": "object", "properties": {"token": {}}, "additionalProperties": false}',
    }
    response = boss.post(address, {**data, "sensitive_parameters": "tokne", "ignore_result": "unknown"})
    assert "did you mean" in str(response.context["errors"])
    assert (
        boss.post(
            address, {**data, "sensitive_parameters": " token \n", "ignore_result": "unknown"}
        ).status_code
        == 302
    )
    task.refresh_from_db()
    assert task.sensitive_parameters == ["token"]
