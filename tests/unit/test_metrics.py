"""What is counted for Prometheus, how it is named, and who may read it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction
from django.http import HttpResponse
from django.test import RequestFactory
from prometheus_client.parser import text_string_to_metric_families

from dispatch import health, metrics
from dispatch.api import UnknownTask, send_task
from dispatch.exceptions import ConfigurationError
from dispatch.heartbeats import Heart, Tally
from dispatch.models import OutboxMessage, Process
from dispatch.models.outbox_message import new_task_id
from dispatch.signals import messages_counted, messages_inserted
from tests.support import servers
from tests.support.processes import make_process
from tests.support.registry import ARGUMENTS, TASK, make_registry

DOCS = Path(__file__).resolve().parents[2] / "docs" / "monitoring"


@pytest.fixture(autouse=True)
def not_counted_afterwards() -> Iterator[None]:
    yield
    messages_inserted.disconnect(dispatch_uid="dispatch.metrics")
    messages_counted.disconnect(dispatch_uid="dispatch.metrics")
    for metric in metrics._COUNTED:
        metric.clear()


def get(token: str = "secret", sent: str = "Bearer secret", **options: Any) -> HttpResponse:
    request = RequestFactory().get("/metrics", headers={"Authorization": sent} if sent else {})
    return metrics.metrics_view(token, **options)(request)


def message(task_id: uuid.UUID | None = None, task: str = TASK) -> Any:
    return SimpleNamespace(pk=task_id or uuid.uuid4(), task_name=task)


def scraped() -> dict[tuple[str, ...], float]:
    """What the view tells: name and values of the labels, by whose names they are sorted."""
    families = text_string_to_metric_families(get().content.decode())
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


@pytest.fixture
def heart(transactional_db: None) -> Heart:
    make_registry()
    metrics.connect()
    return Heart("default", Process.Kind.RELAY)


# -- what is counted ----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_enqueued_is_what_was_committed() -> None:
    make_registry()
    metrics.connect()
    send_task(TASK, kwargs=ARGUMENTS)
    with transaction.atomic():
        send_task(TASK, kwargs=ARGUMENTS)
        transaction.set_rollback(True)
    with transaction.atomic():
        send_task(TASK, kwargs=ARGUMENTS)
        assert scraped()["dispatch_messages_enqueued_total", "llm", TASK] == 1
    assert scraped()["dispatch_messages_enqueued_total", "llm", TASK] == 2


def test_outcomes_are_counted_by_queue_and_task(heart: Heart) -> None:
    outcomes = ("published", "published", "failed", "dead", "superseded", "cancelled", "task_failed")
    heart.count(Tally("llm", outcome, message=message()) for outcome in (*outcomes, "task_succeeded"))
    seen = scraped()
    assert {name: seen[name, "llm", TASK] for name, *rest in seen if name.endswith("_total")} == {
        "dispatch_messages_published_total": 2,
        "dispatch_attempts_failed_total": 1,
        "dispatch_messages_dead_total": 1,
        "dispatch_messages_superseded_total": 1,
        "dispatch_messages_expired_total": 1,
        "dispatch_tasks_failed_total": 1,
        "dispatch_tasks_succeeded_total": 1,
    }


@pytest.mark.parametrize(
    ("outcome", "name"),
    [("published", "publish"), ("task_succeeded", "result"), ("task_failed", "result")],
)
def test_the_time_since_enqueue_is_that_since_the_task_id_was_made(
    heart: Heart, outcome: str, name: str
) -> None:
    a_minute_ago = uuid.UUID(int=new_task_id().int - (60_000 << 80))
    heart.count([Tally("llm", outcome, message=message(task_id)) for task_id in (a_minute_ago, uuid.uuid4())])
    seen = scraped()
    assert 60 <= seen[f"dispatch_enqueue_to_{name}_seconds_sum", "llm", TASK] < 300
    assert seen[f"dispatch_enqueue_to_{name}_seconds_count", "llm", TASK] == 1


def test_an_id_of_the_future_took_no_time(heart: Heart) -> None:
    heart.count([Tally("llm", "published", message=message(uuid.UUID(int=new_task_id().int + (1 << 100))))])
    assert scraped()["dispatch_enqueue_to_publish_seconds_sum", "llm", TASK] == 0


def test_what_the_registry_does_not_know_shares_one_label(heart: Heart) -> None:
    heart.count(
        Tally(f"queue {number}", "published", message=message(task=f"task {number}")) for number in range(100)
    )
    counted = {key: value for key, value in scraped().items() if key[0].endswith("published_total")}
    assert counted == {("dispatch_messages_published_total", "other", "other"): 100}


@pytest.mark.django_db(transaction=True)
def test_nothing_is_counted_unless_metrics_are_served() -> None:
    assert not messages_counted.receivers
    make_registry()
    with pytest.raises(UnknownTask):
        send_task("unknown")
    send_task(TASK, kwargs=ARGUMENTS)
    Heart("default", Process.Kind.RELAY).count([Tally("llm", "published", message=message())])
    assert not [key for key in scraped() if key[0].endswith("_total")]


# -- what is seen in the database ---------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_state_is_that_of_the_database_whoever_looks() -> None:
    make_registry()
    waiting = send_task(TASK, kwargs=ARGUMENTS)
    dead = send_task(TASK, kwargs=ARGUMENTS)
    OutboxMessage.objects.filter(pk=dead.pk).update(status="dead")
    OutboxMessage.objects.filter(pk=waiting.pk).update(available_at=waiting.available_at.replace(year=2020))
    make_process("relay", seconds=30, host="web-1", pid=7)
    make_process("collector", host="web-2", pid=8, stopped_at=waiting.created_at)
    seen = scraped()
    assert seen["dispatch_database_up",] == 1
    assert seen["dispatch_pending_messages", "llm"] == 1
    assert seen["dispatch_oldest_due_seconds", "llm"] > 86_400 * 365
    assert seen["dispatch_queue_paused", "llm"] == 0
    assert seen["dispatch_dead_messages",] == 1
    assert 30 <= seen["dispatch_heartbeat_age_seconds", "web-1", "relay", "7"] < 300
    assert not [key for key in seen if "web-2" in key]


def test_a_database_that_does_not_answer_is_told_and_counts_are_served(
    heart: Heart, monkeypatch: pytest.MonkeyPatch
) -> None:
    heart.count([Tally("llm", "published", message=message())])

    def look(using: str) -> Any:
        raise DatabaseError

    monkeypatch.setattr(health, "look", look)
    seen = scraped()
    assert seen["dispatch_database_up",] == 0
    assert seen["dispatch_messages_published_total", "llm", TASK] == 1
    assert not [key for key in seen if key[0] == "dispatch_dead_messages"]


# -- who may read it ----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_view_answers_to_its_token_alone() -> None:
    assert get().status_code == 200
    assert get()["Content-Type"].startswith("text/plain; version=")
    for sent in ("", "Bearer other", "secret", "Basic secret"):
        answer = get(sent=sent)
        assert (answer.status_code, answer["WWW-Authenticate"], answer.content) == (401, "Bearer", b"")


@pytest.mark.one_database
def test_a_view_without_a_token_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="needs a token"):
        metrics.metrics_view("")


@pytest.mark.one_database
@pytest.mark.parametrize("address", ["x", "0.0.0.0:", "65536", "-1", "0.0.0.0:http", "²"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(CommandError, match="is no port, nor an address and a port"):
        call_command("dispatch", "relay", "--once", "--metrics", address)


# -- where something is missing -----------------------------------------------------------------------


def run(code: str, **environment: str) -> str:
    setup = "import os, sys, django; django.setup()\n"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings", **environment}
    done = subprocess.run(
        [sys.executable, "-c", setup + textwrap.dedent(code)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


#: Rooms that each need what an extra installs.
EXTRAS = ("dispatch.metrics", "dispatch.tracing", "dispatch.contrib.")


@pytest.mark.one_database
def test_nothing_but_metrics_and_tracing_imports_their_extras() -> None:
    told = run(f"""
        import importlib, pkgutil, dispatch
        sys.modules["prometheus_client"] = sys.modules["opentelemetry"] = None
        for module in pkgutil.walk_packages(dispatch.__path__, "dispatch."):
            if not module.name.startswith({EXTRAS}):
                importlib.import_module(module.name)
        print("dispatch.relay" in sys.modules)
    """)
    assert told == "True\n"


@pytest.mark.django_db
@pytest.mark.parametrize("subcommand", ["relay", "results", "run"])
def test_the_flag_says_what_to_install(subcommand: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "dispatch.metrics")
    with pytest.raises(CommandError) as told:
        call_command("dispatch", subcommand, "--once", "--metrics", "9464")
    assert "--metrics needs prometheus-client" in str(told.value)
    assert "pip install 'django-celery-dispatch[prometheus]'" in str(told.value)


@pytest.mark.one_database
def test_processes_of_a_web_server_are_counted_together(tmp_path: Path) -> None:
    count = """
        from dispatch import metrics
        metrics.ENQUEUED.labels("llm", "task").inc()
        import prometheus_client
        prometheus_client.Counter("others", "Of the application.").inc()
        metrics.health.look = lambda using: None
        print(prometheus_client.generate_latest(metrics.Everything("default")).decode())
    """
    run(count, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    told = run(count, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert 'dispatch_messages_enqueued_total{queue="llm",task="task"} 2.0' in told
    assert "others" not in told


# -- dashboard and alerts -----------------------------------------------------------------------------

NAMES = re.compile(r"\bdispatch_[a-z_]+")


def told_names() -> set[str]:
    make_process("relay")
    metrics.connect()
    for metric in metrics._COUNTED:
        metric.labels("llm", TASK)
    return {key[0] for key in scraped()}


@pytest.mark.one_database
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["alerts.yml", "grafana.json"])
def test_dashboard_and_alerts_name_metrics_that_there_are(name: str) -> None:
    make_registry()
    named = set(NAMES.findall((DOCS / name).read_text()))
    assert len(named) > 5
    assert named <= told_names()


@pytest.fixture
def promtool() -> str:
    return servers.PROMTOOL or servers.missing("promtool, of Prometheus, was not found")


@pytest.mark.one_database
def test_the_dashboards_panels_ask_the_chosen_data_source() -> None:
    panels = json.loads((DOCS / "grafana.json").read_text())["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    assert all(target["expr"] and target["legendFormat"] for panel in panels for target in panel["targets"])


@pytest.mark.one_database
def test_the_alerts_fire_when_they_are_to_by_promtool(promtool: str, tmp_path: Path) -> None:
    subprocess.run([promtool, "check", "rules", DOCS / "alerts.yml"], check=True)
    (tmp_path / "alerts.yml").write_bytes((DOCS / "alerts.yml").read_bytes())
    (tmp_path / "test.yml").write_text(ALERTED)
    subprocess.run([promtool, "test", "rules", tmp_path / "test.yml"], check=True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.one_database
def test_promtool_finds_nothing_wrong_with_names_and_units(promtool: str) -> None:
    make_registry()
    told_names()
    subprocess.run([promtool, "check", "metrics"], input=get().content, check=True)


#: A relay is gone, and its messages wait; a paused queue's do so on purpose.
ALERTED = """
rule_files: [alerts.yml]
tests:
  - interval: 1m
    input_series:
      - {series: 'dispatch_oldest_due_seconds{queue="llm"}', values: '0+60x20'}
      - {series: 'dispatch_oldest_due_seconds{queue="stt"}', values: '9000x20'}
      - {series: 'dispatch_queue_paused{queue="llm"}', values: '0x20'}
      - {series: 'dispatch_queue_paused{queue="stt"}', values: '1x20'}
      - {series: 'dispatch_heartbeat_age_seconds{kind="relay"}', values: '5x8 0+60x11'}
      - {series: 'dispatch_dead_messages', values: '0x20'}
    alert_rule_test:
      - {eval_time: 5m, alertname: DispatchNoRelay}
      - {eval_time: 5m, alertname: DispatchMessagesOverdue}
      - {eval_time: 20m, alertname: DispatchDeadMessages}
      - eval_time: 20m
        alertname: DispatchNoRelay
        exp_alerts:
          - exp_labels: {severity: critical}
            exp_annotations:
              summary: No relay was seen, and messages are due.
              description: "The oldest is due for 20m 0s. Start one: manage.py dispatch relay"
      - eval_time: 20m
        alertname: DispatchMessagesOverdue
        exp_alerts:
          - exp_labels: {severity: critical, queue: llm}
            exp_annotations:
              summary: Messages for queue llm are overdue.
              description: "The oldest is due for 20m 0s. See why: manage.py dispatch status"
"""
