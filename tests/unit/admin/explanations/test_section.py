"""The sections that explain where messages go, on the pages of tasks, routes, queues and exchanges."""

from __future__ import annotations

import html
import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dispatch.models import Exchange, Queue, Route, TaskDefinition
from tests.support.registry import make_trigger
from tests.support.routers import BY_LENGTH

SUMMARIZE = "worker.tasks.llm.summarize_note"
PUSH = "worker.tasks.ops.push_to_partner"
pytestmark = pytest.mark.usefixtures("registry")


def address(row):
    return reverse(f"admin:dispatch_{row._meta.model_name}_change", args=[row.pk])


def section(client, row):
    """The section's text, its tags left out."""
    page = client.get(address(row)).content.decode()
    found = re.search(
        r'<section class="dispatch-section" id="dispatch-explained">(.*?)</section>', page, re.DOTALL
    )
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found[1])).split())


def warnings(client, row, **columns):
    """What saving a row's form says beside that it was saved."""
    form = client.get(address(row)).context["adminform"].form
    data = {name: form[name].value() for name in form.fields if name not in ("enabled", "paused")}
    formsets = {"bindings-TOTAL_FORMS": 0, "bindings-INITIAL_FORMS": 0}
    posted = {**data, **formsets, "enabled": "on", **columns}
    response = client.post(
        address(row), {name: "" if value is None else value for name, value in posted.items()}, follow=True
    )
    assert response.redirect_chain, response.context["errors"]
    return [str(m) for m in response.context["messages"] if m.level_tag == "warning"]


# -- the task ---------------------------------------------------------------------------------------


def test_a_task_shows_each_step_and_the_rule_that_won_per_key(boss):
    Route.objects.create(pattern="worker.*", queue=Queue.objects.get(name="default"), priority=2, position=5)
    Route.objects.create(pattern="mail.*", queue=Queue.objects.get(name="default"), position=6)
    task = TaskDefinition.objects.get(name=SUMMARIZE)
    TaskDefinition.objects.filter(pk=task.pk).update(priority=7)
    text = section(boss, task)
    assert "goes to queue llm on broker default, priority 7" in text
    assert "queue llm route 'worker.tasks.llm.*' (glob)" in text
    assert "priority 7 (the broker sees 2) the task's own definition" in text
    assert "route 'worker.*' (glob) queue default, priority 2 not reached: an earlier route decided" in text
    assert "1 other route does not match" in text
    assert "the default queue queue default overruled on queue" in text
    assert "celery -A worker worker -Q llm -n llm@%h" in text


def test_a_task_without_a_destination_says_why(boss):
    Queue.objects.filter(name="default").update(is_default=None)
    assert "nowhere No queue: the call, the task and the routes name none" in section(
        boss, TaskDefinition.objects.get(name="by.hand")
    )


def test_a_router_that_has_a_say_is_told_on_all_three_pages(boss, settings):
    path = BY_LENGTH
    settings.DISPATCH = {**settings.DISPATCH, "ROUTERS": [path], "REGISTRY_TTL": 0}
    route = Route.objects.create(pattern=path, kind="callable", position=0)
    Route.objects.filter(pattern="worker.tasks.llm.*").update(position=1)
    text = section(boss, TaskDefinition.objects.get(name=SUMMARIZE))
    assert "depends on the arguments A router callable has a say" in text
    assert f"route '{path}' (callable)" in text
    assert SUMMARIZE in section(boss, route)
    assert "depends on the arguments" in section(boss, Queue.objects.get(name="llm"))


# -- the route --------------------------------------------------------------------------------------


def test_a_route_names_the_tasks_it_decides_and_for_which_keys(boss):
    TaskDefinition.objects.filter(name=SUMMARIZE).update(priority=7)
    Route.objects.filter(pattern="worker.tasks.llm.*").update(priority=3)
    text = section(boss, Route.objects.get(pattern="worker.tasks.llm.*"))
    assert (
        f"Tasks that it decides: 1 Task It decides Others decide {SUMMARIZE} queue priority: the task's own"
        in text
    )


def test_a_route_names_the_tasks_that_others_decide(boss):
    late = Route.objects.create(pattern="*", queue=Queue.objects.get(name="llm"), position=9)
    TaskDefinition.objects.filter(name=PUSH).update(queue=Queue.objects.get(name="default"))
    text = section(boss, late)
    assert "Tasks that it decides: 1 Task It decides by.hand queue" in text
    assert "others decide: 2" in text
    assert f"{SUMMARIZE} route 'worker.tasks.llm.*' (glob)" in text
    assert f"{PUSH} the task's own definition" in text


def test_a_route_that_decides_nothing_is_a_warning(boss):
    queue = Queue.objects.get(name="llm")
    unmatched = Route.objects.create(pattern="no.such.*", queue=queue, position=3)
    assert "matches no registered task" in section(boss, unmatched)
    shadowed = Route.objects.create(pattern="worker.tasks.llm.s*", queue=queue, position=4)
    assert "decides nothing Each task that it matches is decided by other rules." in section(boss, shadowed)
    shadowed.enabled = False
    shadowed.save()
    text = section(boss, shadowed)
    assert "switched off" in text
    assert "decides nothing Each" not in text


# -- the queue and the exchange -----------------------------------------------------------------------


def test_a_queue_names_who_sends_to_it_and_by_which_rule(boss):
    make_trigger(
        TaskDefinition.objects.get(name="by.hand"), "created", name="T", queue=Queue.objects.get(name="llm")
    )
    TaskDefinition.objects.filter(name=SUMMARIZE).update(enabled=False)
    text = section(boss, Queue.objects.get(name="llm"))
    assert "Tasks and triggers that send here: 2" in text
    assert f"{SUMMARIZE} route 'worker.tasks.llm.*' (glob) – switched off" in text
    assert "trigger T trigger 'T' –" in text
    assert "bound to nothing: messages reach it by its name" in text
    assert "takes what no rule sends elsewhere" in section(boss, Queue.objects.get(name="default"))


def test_an_exchange_names_its_queues_and_who_sends_to_it(boss):
    exchange = Exchange.objects.create(name="media", type="topic")
    Queue.objects.get(name="llm").bindings.create(exchange=exchange, routing_key="media.#")
    assert "unused No registered task goes here by itself." in section(boss, exchange)
    TaskDefinition.objects.filter(name=PUSH).update(exchange=exchange, routing_key="media.a")
    text = section(boss, exchange)
    assert "Bound queues: 1 Queue Routing key llm media.#" in text
    assert f"{PUSH} the task's own definition" in text
    assert "through exchange media, key “media.a”" in section(boss, Queue.objects.get(name="llm"))


# -- for everyone, and at any size ------------------------------------------------------------------------


def test_links_are_made_only_to_pages_that_the_user_may_see(boss, viewer):
    row = Route.objects.get(pattern="worker.tasks.llm.*")
    target = address(TaskDefinition.objects.get(name=SUMMARIZE))
    assert f'<a href="{target}">' in boss.get(address(row)).content.decode()
    user = viewer.get("/admin/").wsgi_request.user
    user.user_permissions.remove(user.user_permissions.get(codename="view_taskdefinition"))
    page = viewer.get(address(row)).content.decode()
    assert SUMMARIZE in page
    assert f'<a href="{target}">' not in page


def many(queue):
    Route.objects.bulk_create(
        Route(pattern=f"team{n}.*", queue=queue, position=n + 10, priority=n % 10) for n in range(1000)
    )
    TaskDefinition.objects.bulk_create(TaskDefinition(name=f"team{n}.task") for n in range(1000))


@pytest.mark.parametrize("what", ["task", "route", "queue", "exchange"])
def test_a_page_costs_the_same_queries_with_a_thousand_tasks_and_routes(boss, what):
    exchange = Exchange.objects.create(name="media", type="topic")
    queue = Queue.objects.get(name="llm")
    queue.bindings.create(exchange=exchange, routing_key="#")
    TaskDefinition.objects.filter(name=PUSH).update(exchange=exchange)
    everything = Route.objects.create(pattern="*", queue=queue, position=9999)
    row = {"task": TaskDefinition.objects.get(name=SUMMARIZE), "route": everything, "queue": queue}.get(
        what, exchange
    )

    def queries():
        boss.get(address(row))
        with CaptureQueriesContext(connection) as captured:
            response = boss.get(address(row))
        assert len(response.content) < 120_000
        return len(captured)

    before = queries()
    many(queue)
    assert queries() == before
    assert before <= 20


# -- priorities, where they are set -------------------------------------------------------------------------


def test_saving_a_priority_that_the_broker_ignores_warns(boss, broker_settings):
    broker_settings("amqp://host//")
    text = "Priority 7 would be ignored in queue 'llm'. A classic queue of RabbitMQ orders nothing"
    [told] = warnings(boss, TaskDefinition.objects.get(name=SUMMARIZE), priority=7)
    assert told.startswith(text)
    [told] = warnings(boss, Route.objects.get(pattern="worker.tasks.llm.*"), priority=7)
    assert told.startswith(text)
    TaskDefinition.objects.update(priority=None)
    Route.objects.update(priority=None)
    [told] = warnings(boss, Queue.objects.get(name="llm"), default_priority=7)
    assert told.startswith(text)
    assert warnings(boss, Queue.objects.get(name="llm"), default_priority=7, max_priority=9) == []


def test_saving_a_priority_above_the_queues_highest_warns(boss, broker_settings):
    broker_settings("amqp://host//")
    Queue.objects.filter(name="llm").update(max_priority=5)
    [told] = warnings(boss, TaskDefinition.objects.get(name=SUMMARIZE), priority=7)
    assert told.startswith("Priority 7 would count as 5 in queue 'llm'")


def test_saving_a_priority_where_others_have_none_warns(boss):
    TaskDefinition.objects.create(name="worker.tasks.llm.other")
    [told] = warnings(boss, TaskDefinition.objects.get(name=SUMMARIZE), priority=7)
    assert "meet messages without one (worker.tasks.llm.other), which count as the most urgent" in told
    assert told in section(boss, TaskDefinition.objects.get(name=SUMMARIZE))
    assert told in section(boss, Queue.objects.get(name="llm"))


def test_a_route_that_has_no_task_yet_warns_too(boss, broker_settings):
    broker_settings("amqp://host//")
    route = Route.objects.create(pattern="later.*", queue=Queue.objects.get(name="llm"))
    told = warnings(boss, route, priority=7)
    assert any("Priority 7 would be ignored in queue 'llm'" in text for text in told)


def test_nothing_is_said_where_the_broker_keeps_the_priority(boss):
    assert warnings(boss, TaskDefinition.objects.get(name=SUMMARIZE), priority=7) == []
