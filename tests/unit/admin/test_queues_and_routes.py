from __future__ import annotations

import html

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from dispatch.admin.explanations import in_one_sentence
from dispatch.api import send_task
from dispatch.models import Binding, Exchange, Queue, Route, TaskDefinition
from tests.support.registry import waiting, write_past_the_form

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


def test_a_paused_row_tells_who_paused_it_by_an_action_or_by_its_form(boss):
    act(boss, "pause", "llm")
    task = TaskDefinition.objects.get(name="by.hand")
    form = {"name": task.name, "paused": "on", "parameters": "{}", "ignore_result": "unknown"}
    assert boss.post(reverse("admin:dispatch_taskdefinition_change", args=[task.pk]), form).status_code == 302
    for row in (Queue.objects.get(name="llm"), task):
        name = f"admin:dispatch_{row._meta.model_name}"
        for page in (reverse(f"{name}_changelist"), reverse(f"{name}_change", args=[row.pk])):
            assert "by boss <time" in boss.get(page).content.decode()


def test_nobody_is_named_who_did_not_pause_it_last(boss):
    act(boss, "pause", "llm")
    act(boss, "resume", "llm")
    Queue.objects.filter(name="llm").update(paused=True)
    assert "by boss" not in boss.get(reverse("admin:dispatch_queue_changelist")).content.decode()


def test_what_waits_in_the_outbox_is_counted_and_leads_to_the_messages(boss, viewer):
    waiting("llm", seconds=3_700)
    waiting("llm", seconds=-60)
    waiting("default", seconds=-60)
    url = "/admin/dispatch/outboxmessage/?status__exact=pending&amp;queue="
    queue = Queue.objects.get(name="llm")
    for page in (
        reverse("admin:dispatch_queue_changelist"),
        reverse("admin:dispatch_queue_change", args=[queue.pk]),
    ):
        text = boss.get(page).content.decode()
        assert f'<a href="{url}llm">2 wait</a>' in text
        assert "the oldest is due for 1 h 1 min" in text
    text = boss.get(reverse("admin:dispatch_queue_changelist")).content.decode()
    assert f'<a href="{url}default">1 waits</a> <small class="dispatch-quiet">none is due yet' in text


def test_queues_and_tasks_lead_to_their_messages(boss):
    task, queue = TaskDefinition.objects.get(name="by.hand"), Queue.objects.get(name="llm")
    page = boss.get(reverse("admin:dispatch_taskdefinition_change", args=[task.pk])).content.decode()
    assert "/admin/dispatch/outboxmessage/?task_name=by.hand" in page
    page = boss.get(reverse("admin:dispatch_queue_change", args=[queue.pk])).content.decode()
    assert "/admin/dispatch/outboxmessage/?queue=llm" in page


def test_a_second_default_queue_is_refused_with_a_link_to_the_first(boss):
    response = boss.post(reverse("admin:dispatch_queue_add"), queue_form(is_default="on"))
    first = Queue.objects.get(is_default=True)
    link = f'<a href="/admin/dispatch/queue/{first.pk}/change/">default</a>'
    assert f"The default queue is {link}: unset it there first." in response.content.decode()


def test_a_name_with_a_comma_is_refused(boss):
    response = boss.post(reverse("admin:dispatch_queue_add"), queue_form(name="a,b"))
    assert "Leave the comma out" in str(response.context["errors"])


@pytest.mark.parametrize("text", ['{"x-max-length": 1%s}' % ("0" * 5_000), "[1]", '"text"'])
def test_arguments_that_cannot_be_read_break_no_page(boss, text):
    exchange = Exchange.objects.create(name="media")
    queue = Queue.objects.get(name="llm")
    binding = Binding.objects.create(queue=queue, exchange=exchange)
    for row in (exchange, queue, binding):
        write_past_the_form(type(row), "arguments", text, id=row.pk)
    for page in (
        reverse("admin:dispatch_queue_changelist"),
        reverse("admin:dispatch_queue_change", args=[queue.pk]),
        reverse("admin:dispatch_exchange_changelist"),
        reverse("admin:dispatch_exchange_change", args=[exchange.pk]),
        reverse("admin:dispatch_route_changelist"),
    ):
        assert boss.get(page).status_code == 200


def test_queues_are_bound_on_the_page_of_the_exchange_too(boss):
    exchange = Exchange.objects.create(name="media", type="topic")
    llm = Queue.objects.get(name="llm")
    form = {"name": "media", "broker": "default", "type": "topic", "durable": "on", "broadcast": "on"}
    form |= {"bindings-TOTAL_FORMS": 1, "bindings-INITIAL_FORMS": 0}
    form |= {"bindings-0-queue": llm.pk, "bindings-0-routing_key": "media.#"}
    assert boss.post(reverse("admin:dispatch_exchange_change", args=[exchange.pk]), form).status_code == 302
    assert str(Binding.objects.get()) == "media → llm (media.#)"


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


def add_route(boss, pattern, position):
    queue = Queue.objects.get(name="default")
    data = {"pattern": pattern, "kind": "glob", "position": position, "enabled": "on", "queue": queue.pk}
    return html.unescape(boss.post(reverse("admin:dispatch_route_add"), data, follow=True).content.decode())


def test_a_route_that_earlier_ones_take_everything_from_says_so_when_it_is_saved_and_in_the_list(boss):
    Route.objects.update(position=5)
    text = add_route(boss, "*.summarize_note", 9)
    assert "*.summarize_note decides nothing: worker.tasks.llm.*, tried before it, take" in text
    assert "worker.tasks.llm.* before it" in text
    text = add_route(boss, "worker.*", 9)
    assert "decides nothing" not in text
    assert text.count("before it</small>") == 1, "it has a task for itself"


def test_a_route_that_takes_everything_from_later_ones_shows_it_in_the_list(boss):
    Route.objects.update(position=5)
    text = add_route(boss, "*", 1)
    assert "decides nothing" not in text
    assert "* before it" in text


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        (SUMMARIZE, "route 'worker.tasks.llm.*' (glob)"),
        ("worker.tasks.llm.sumarize_note", "did you mean 'worker.tasks.llm.summarize_note'"),
        ("\x00" * 300, "is not in the registry"),
    ],
)
def test_the_list_answers_which_route_a_name_would_take(boss, name, answer):
    response = boss.get(reverse("admin:dispatch_route_changelist"), {"would_take": name})
    assert answer in html.unescape(response.content.decode())
    assert response.context["cl"].result_count == 1, "and filters nothing"


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
