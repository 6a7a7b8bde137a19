"""The app's own page, and the panel on the site's index."""

from __future__ import annotations

import re
import uuid

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_results.models import TaskResult

from dispatch import contract, health, throughput
from dispatch.core import manifest as documents
from dispatch.exceptions import ConfigurationError
from dispatch.models import MinuteCount, OutboxMessage, Queue
from dispatch.outbox.retention import first_id
from tests.support.odd_values import write
from tests.support.processes import make_process
from tests.unit.admin.conftest import PUSH, SUMMARIZE, staff

INDEX, PAGE = reverse("admin:index"), reverse("admin:app_list", args=["dispatch"])
ANEW = reverse("admin:dispatch_overview")
PARTS = {
    "view_process": ("Relays alive", "Relays and collectors"),
    "view_outboxmessage": ("Messages that wait", "Dead messages: 1"),
    "view_queue": ("Oldest due for",),
    "view_minutecount": ("Throughput",),
}


def text(client: Client, url: str = PAGE) -> str:
    return client.get(url).content.decode()


def message(**columns: object) -> OutboxMessage:
    return OutboxMessage.objects.create(task_name=SUMMARIZE, queue="llm", broker="default", **columns)


def result(task_name: str) -> None:
    TaskResult.objects.create(task_id=str(uuid.uuid4()), task_name=task_name, status="SUCCESS")


@pytest.fixture
def overdue(registry):
    """A message that no relay takes, one that is dead, and a relay that was seen an hour ago."""
    message(available_at=timezone.now() - timezone.timedelta(hours=1))
    message(status="dead")
    relay = make_process(seconds=3_600)
    MinuteCount.objects.create(
        minute=timezone.now(),
        process=relay.pk,
        queue="llm",
        outcome="published",
        number=1_234,
        milliseconds=617_000,
    )


# -- the first steps ----------------------------------------------------------------------------------


def test_an_empty_site_is_led_to_its_first_result(boss):
    shown = text(boss)
    for step in (
        "broker can be reached",
        "Tasks are imported",
        "default queue",
        "A relay was seen",
        "first result",
    ):
        assert step in shown
    assert "No relay runs, and none has run yet" in shown
    assert reverse("admin:dispatch_queue_add") in shown
    assert shown.count("optional") == 2


def test_what_is_done_is_ticked_and_what_comes_next_has_its_command(boss, registry):
    make_process()
    shown = text(boss)
    assert shown.count('badge-success">done<') == 4  # tasks, default queue, route, relay
    assert "manage.py dispatch manifest sync" not in shown
    assert "manage.py dispatch results" in shown


def test_a_step_leads_to_the_rows_there_are(boss, registry):
    Queue.objects.update(is_default=None)
    shown = text(boss, ANEW)
    assert f'<a href="{reverse("admin:dispatch_queue_changelist")}">Queues</a>' in shown
    assert reverse("admin:dispatch_queue_add") not in shown
    assert reverse("admin:dispatch_trigger_add") in shown


def test_the_steps_are_gone_with_the_first_result_for_good(boss, registry):
    result("of.another.project")
    assert "First steps" in text(boss)
    result(PUSH)
    assert "First steps" not in text(boss)
    Queue.objects.filter(is_default=True).delete()
    assert "First steps" not in text(boss)


def test_without_a_result_backend_they_are_gone_once_a_relay_was_seen(boss, registry, settings):
    settings.DISPATCH = {"BROKERS": {"default": {"URL": "redis://127.0.0.1:1/0"}}, "BROKER_TIMEOUT": 0.2}
    assert "first result" not in text(boss)
    assert "cannot be reached" in text(boss, ANEW)  # only this asks
    make_process()
    assert "cannot be reached" not in text(boss)


# -- the picture --------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [INDEX, PAGE, ANEW])
def test_a_relay_that_is_gone_is_told_with_what_waits(viewer, overdue, url):
    shown = text(viewer, url)
    assert "No relay was seen for 1 min, and messages are due, the oldest for 1 h." in shown
    assert "<code>manage.py dispatch relay</code>" in shown
    assert "all is well" not in shown


def test_a_relay_that_is_gone_is_told_even_when_nothing_waits(viewer, registry):
    make_process(seconds=7_200)
    assert "No relay runs, the last was seen 2 h ago" in text(viewer, INDEX)
    make_process()
    assert "all is well" in text(viewer, INDEX)


def test_counts_lead_to_the_messages_that_they_count(viewer, overdue):
    shown = text(viewer)
    log = reverse("admin:dispatch_outboxmessage_changelist")
    assert f'href="{log}?status__exact=dead">1<' in shown
    assert f'href="{log}?status__exact=pending&amp;queue=llm">1<' in shown
    assert 'data-queue="llm"' in shown


def test_the_last_hour_and_day_are_charts_with_numbers_beside(viewer, overdue):
    shown = text(viewer)
    assert re.search(r"<rect [^>]+><title>\d\d:\d\d: 1,234</title>", shown)
    assert "500 ms" in shown
    assert "style=" not in shown


def test_what_was_enqueued_stands_beside_what_became_of_it_before_any_relay_ran(
    viewer, registry, monkeypatch
):
    row = r"Enqueued.+?>{}\s+<.+?>{}\s+<.+?>–\s+<.+?>–\s+<"
    message()
    message(pk=uuid.UUID(int=first_id(timezone.now() - timezone.timedelta(minutes=1)).int + 1))
    assert re.search(row.format(1, 2), text(viewer), re.DOTALL)
    monkeypatch.setattr(throughput, "MOST_READ", 1)
    assert re.search(row.format("–", r"1\+"), text(viewer), re.DOTALL)


@pytest.mark.parametrize(("language", "expected"), [("en", "2,469.0"), ("de", "2.469,0")])
def test_numbers_are_in_the_readers_notation_and_in_groups(viewer, overdue, settings, language, expected):
    settings.LANGUAGE_CODE = language
    MinuteCount.objects.update(number=12_345)
    assert f">{expected}" in text(viewer, ANEW)


@pytest.mark.parametrize("error", [OperationalError("no route to host"), ConfigurationError("Bad URL.")])
def test_what_cannot_be_read_is_told_and_hides_no_page(boss, registry, monkeypatch, error):
    def fail(using: str) -> None:
        raise error

    monkeypatch.setattr(health, "look", fail)
    for url in (INDEX, PAGE):
        assert str(error) in text(boss, url)
    assert boss.get(ANEW).status_code == 503  # the page keeps what it shows


@pytest.mark.parametrize("queues", [2, 30])
def test_the_number_of_queries_does_not_grow_with_the_queues(
    boss, overdue, queues, django_assert_num_queries
):
    Queue.objects.bulk_create(Queue(name=f"queue {number}") for number in range(queues))
    result(PUSH)
    text(boss)
    with django_assert_num_queries(8 + len(["SAVEPOINT", "RELEASE SAVEPOINT"])):  # a test's own
        assert ("more</td>" in text(boss)) == (queues > 25)


def test_what_registry_and_workers_disagree_in_is_counted_for_those_who_may_see_it(registry):
    contract = reverse("admin:dispatch_contract")
    shown = text(staff("view_manifest"))
    assert "1 error, 0 warnings<" in shown  # nobody said what the worker offers
    assert contract in shown
    User.objects.all().delete()
    assert contract not in text(staff("view_queue"))


def test_what_they_disagree_in_is_counted_anew_with_each_import(boss, registry):
    was = text(boss)
    assert "1 error" in was
    tasks = [{"name": name, "parameters": {}} for name in (SUMMARIZE, PUSH)]
    document = {"manifest": 1, "worker": "w", "version": "1", "tasks": tasks, "queues": []}
    contract.sync(documents.read(documents.sealed(document)))
    assert "1 error" not in text(boss)


# -- who may see what ---------------------------------------------------------------------------------


@pytest.mark.parametrize("codename", PARTS)
def test_each_part_is_for_those_who_may_view_its_model(overdue, codename):
    client = staff(codename)
    shown = text(client, ANEW)
    for part, texts in PARTS.items():
        for each in texts:
            assert (each in shown) == (part == codename), each
    assert "all is well" not in shown
    assert ("No relay was seen" in shown) == (codename != "view_minutecount")


@pytest.mark.parametrize(
    "codenames", [("view_process",), ("view_queue", "view_route"), ("view_outboxmessage",)]
)
def test_no_link_leads_to_a_refusal(overdue, codenames):
    client = staff(*codenames)
    for url in (PAGE, INDEX):
        for href in {*re.findall(r'href="(/[^"#]+)"', text(client, url))}:
            if not href.startswith("/static/"):
                assert client.get(href.replace("&amp;", "&")).status_code in {200, 302}, href


def test_staff_without_any_permission_see_nothing_of_it(overdue):
    client = staff()
    assert "dispatch-panel" not in text(client, INDEX)
    assert client.get(PAGE).status_code == 404
    assert client.get(ANEW).status_code == 403
    assert Client().get(ANEW).status_code == 302


def test_the_pages_of_other_apps_stay_as_they_are(boss, overdue):
    shown = text(boss, reverse("admin:app_list", args=["auth"]))
    assert "dispatch-panel" not in shown
    assert "dispatch-overview" not in shown


@pytest.mark.one_database
def test_a_time_that_is_none_is_told_as_any_other(boss, registry):
    awaited = message(status="published", published_at=timezone.now())
    write(awaited, "published_at", "x")  # as SQLite takes it
    assert boss.get(PAGE).status_code == 200
    write(message(), "available_at", "1999")
    queue = Queue.objects.get(name="llm")
    assert boss.get(reverse("admin:dispatch_queue_change", args=[queue.pk])).status_code == 200
