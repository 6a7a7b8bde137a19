from __future__ import annotations

import ast
import re
import ssl
from pathlib import Path

import pytest
from django.core.checks import ERROR, WARNING, run_checks
from django.db import connections
from django.test import override_settings

from dispatch.checks import SQLITE_OPTIONS, check_installed, check_registry, check_sqlite
from dispatch.models import RegistryVersion, Route, Trigger, TriggerArgument, TriggerCondition
from dispatch.triggers import code_triggers
from tests.support.databases import further_alias
from tests.support.registry import TASK, make_queue, make_task

DOCS = Path(__file__).resolve().parents[2] / "docs"
BROKERS = {"default": {"URL": "redis://host:6379/0"}}


def messages(**options):
    """What Django's own runner finds, by id; the database is asked only when named, as with `check --database`."""
    found = {}
    for message in run_checks(**options):
        if (message.id or "").startswith("dispatch."):
            assert message.hint, message.id
            found.setdefault(message.id, []).append(message)
    return found


def on_database():
    return messages(databases=["default"])


@pytest.fixture
def fresh(settings, db):
    """A database in which every change of the registry is seen at once."""
    settings.DISPATCH = {"BROKERS": BROKERS, "REGISTRY_TTL": 0}


@override_settings(DISPATCH={"BROKERS": BROKERS})
def test_good_settings_pass():
    assert messages() == {}


@override_settings(DISPATCH={"BROKERS": BROKERS, "REGISTRY_TLL": 1, "MAX_ATTEMPTS": 0})
def test_e001_tells_each_unknown_key_and_each_bad_value():
    found = messages()["dispatch.E001"]
    assert [message.level for message in found] == [ERROR, ERROR]
    assert "REGISTRY_TLL" in found[0].msg
    assert "MAX_ATTEMPTS" in found[1].msg
    assert "docs/reference/settings.md" in found[0].hint


@override_settings(DISPATCH={})
def test_e002_tells_that_no_broker_can_be_found_and_shows_how_to_name_one():
    [found] = messages()["dispatch.E002"]
    assert found.level == ERROR
    assert "CELERY_BROKER_URL" in found.msg
    assert '"BROKERS"' in found.hint


@override_settings(DISPATCH=None)
def test_e002_is_what_a_setting_of_the_wrong_type_gets():
    [found] = messages()["dispatch.E002"]
    assert "must be a dictionary" in found.msg


def test_e003_tells_that_results_have_no_table(settings):
    settings.DISPATCH = {"BROKERS": BROKERS}
    installed = [app for app in settings.INSTALLED_APPS if app != "django_celery_results"]
    with override_settings(INSTALLED_APPS=installed):
        [found] = check_installed()
    assert (found.id, found.level) == ("dispatch.E003", ERROR)
    assert "run migrate" in found.hint


@override_settings(INSTALLED_APPS=["django_celery_results.apps.CeleryResultConfig"])
def test_e003_knows_an_app_that_is_installed_by_its_config():
    assert check_installed() == []


@override_settings(DISPATCH={"BROKERS": BROKERS}, USE_TZ=False)
def test_e004_tells_that_local_times_would_be_compared_with_the_databases_clock():
    [found] = messages()["dispatch.E004"]
    assert found.level == ERROR
    assert "USE_TZ is False" in found.msg
    assert "USE_TZ = True" in found.hint


def test_e004_tells_of_a_database_with_a_time_zone_of_its_own(settings, monkeypatch):
    settings.DISPATCH = {"BROKERS": BROKERS}
    monkeypatch.setitem(connections["default"].settings_dict, "TIME_ZONE", "Europe/Berlin")
    [found] = messages()["dispatch.E004"]
    assert "DATABASES['default'] sets TIME_ZONE" in found.msg


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("rpc://", "to the process that sent the message"),
        ("rpc", "to the process that sent the message"),
        ("cache+memory://", "a memory of its own"),
        ("disabled://", "stores nothing"),
    ],
)
def test_w012_tells_of_results_that_cannot_be_collected(settings, backend, reason):
    settings.DISPATCH = {"BROKERS": {"default": {**BROKERS["default"], "RESULT_BACKEND": backend}}}
    [found] = messages()["dispatch.W012"]
    assert found.level == WARNING
    assert "broker 'default' cannot be collected" in found.msg
    assert reason in found.msg


@pytest.mark.parametrize("backend", ["", "redis://host/1", "db+sqlite:///results", "s3://", "django-db"])
def test_w012_says_nothing_of_results_that_can(settings, backend):
    settings.DISPATCH = {"BROKERS": {"default": {**BROKERS["default"], "RESULT_BACKEND": backend}}}
    assert messages() == {}


def test_w013_tells_of_a_broker_and_a_result_backend_that_nobody_verifies_without_their_passwords(settings):
    url = "rediss://user:s3cret@host/{}?ssl_cert_reqs=none"
    settings.DISPATCH = {"BROKERS": {"default": {"URL": url.format(0), "RESULT_BACKEND": url.format(1)}}}
    found = messages()["dispatch.W013"]
    assert [message.msg.partition(" of ")[0] for message in found] == ["The URL", "The RESULT_BACKEND"]
    assert "ssl_cert_reqs is 'none'" in found[0].msg
    assert "ssl_cert_reqs=required" in found[0].hint
    assert "s3cret" not in "".join(message.msg for message in found)


def test_w013_reads_the_settings_of_celery_too(settings):
    conf = {"broker_use_ssl": {"cert_reqs": ssl.CERT_NONE}}
    settings.DISPATCH = {"BROKERS": {"default": {"URL": "amqps://host//", "CONF": conf}}}
    [found] = messages()["dispatch.W013"]
    assert "cert_reqs is 'cert_none'" in found.msg


def test_w001_tells_of_a_task_that_has_nowhere_to_go(fresh):
    make_task()
    [found] = on_database()["dispatch.W001"]
    assert found.level == WARNING
    assert TASK in found.msg
    assert "Mark a queue as default" in found.msg


def test_w001_is_gone_once_there_is_a_default_queue(fresh):
    make_task()
    make_queue("default", is_default=True)
    assert on_database() == {}


def test_w002_tells_of_a_trigger_whose_model_is_gone(fresh):
    make_queue("default", is_default=True)
    Trigger.objects.create(name="broken", model="notes.gone", events=["created"], task=make_task())
    [found] = on_database()["dispatch.W002"]
    assert "'broken' cannot work: There is no model notes.gone" in found.msg


@pytest.mark.parametrize("part", ["condition", "argument"])
def test_w002_tells_of_a_trigger_whose_field_is_gone(fresh, part):
    make_queue("default", is_default=True)
    trigger = Trigger.objects.create(name="broken", model="notes.note", events=["created"], task=make_task())
    if part == "condition":
        TriggerCondition.objects.create(trigger=trigger, field="gone", operator="equals", value="x")
    else:
        TriggerArgument.objects.create(trigger=trigger, parameter="text", source="field", value="gone")
    [found] = on_database()["dispatch.W002"]
    assert "has no column gone: choose one of" in found.msg


def test_w002_says_nothing_of_a_trigger_that_is_switched_off(fresh):
    make_queue("default", is_default=True)
    Trigger.objects.create(
        name="broken", model="notes.gone", events=["created"], task=make_task(), enabled=False
    )
    assert on_database() == {}


def test_w003_tells_of_a_trigger_in_code_whose_task_nobody_offers(fresh, declared):
    make_queue("default", is_default=True)
    make_task()
    misspelt = TASK.replace("summarize", "summarise")
    trigger = code_triggers.CodeTrigger(
        "notes.hooks.summarize", "notes.note", frozenset({"created"}), misspelt, dict, None, {}
    )
    declared[trigger.name] = trigger
    [found] = on_database()["dispatch.W003"]
    assert f"@trigger notes.hooks.summarize sends '{misspelt}'" in found.msg
    assert f"did you mean '{TASK}'" in found.msg
    assert "manifest sync" in found.hint


def test_w004_tells_of_a_route_that_was_written_past_its_form(fresh):
    queue = make_queue("default", is_default=True)
    Route.objects.create(pattern="worker.(", kind="regex", queue=queue)
    [found] = on_database()["dispatch.W004"]
    assert "'worker.(' cannot work" in found.msg
    assert "is not a regular expression" in found.msg


def test_w004_tells_of_a_router_callable_that_cannot_be_imported(fresh, settings):
    settings.DISPATCH = {**settings.DISPATCH, "ROUTERS": ["nowhere.route"]}
    make_queue("default", is_default=True)
    Route.objects.create(pattern="nowhere.route", kind="callable")
    [found] = on_database()["dispatch.W004"]
    assert "cannot be imported" in found.msg


def test_w009_tells_of_a_route_that_takes_too_long(fresh, caplog):
    queue = make_queue("default", is_default=True)
    make_task("w" * 254 + "!")
    Route.objects.create(pattern="(w|ww)+$", kind="regex", queue=queue)
    [found] = on_database()["dispatch.W009"]
    assert "'(w|ww)+$' is given up: '(w|ww)+$' can take too long: on the task name 'wwww" in found.msg


def test_w005_tells_of_a_definition_that_was_written_past_its_form(fresh):
    make_queue("default", is_default=True)
    make_task("malformed", parameters=[])
    [found] = on_database()["dispatch.W005"]
    assert "'malformed' cannot be sent" in found.msg
    assert found.hint


def test_w004_says_nothing_of_a_route_that_is_switched_off(fresh):
    queue = make_queue("default", is_default=True)
    Route.objects.create(pattern="worker.(", kind="regex", queue=queue, enabled=False)
    assert on_database() == {}


def test_the_registry_is_not_looked_at_unless_its_database_is_named(fresh, django_assert_num_queries):
    make_task()
    with django_assert_num_queries(0):
        assert messages() == {}
        assert check_registry(databases=["elsewhere"]) == []


def test_nothing_is_asked_before_the_first_migrate(fresh, monkeypatch):
    make_task()
    monkeypatch.setattr(RegistryVersion._meta, "db_table", "dispatch_not_yet_there")
    assert on_database() == {}


def test_w006_tells_where_prioritised_and_unprioritised_messages_meet(fresh):
    queue = make_queue("llm", is_default=True)
    make_task("a.with", priority=7)
    make_task("a.without")
    [found] = on_database()["dispatch.W006"]
    assert found.level == WARNING
    assert "In queue 'llm' messages with a priority (7: a.with) meet messages without one" in found.msg
    queue.default_priority = 3
    queue.save()
    assert on_database() == {}


def test_w007_tells_of_a_priority_that_the_broker_would_ignore(fresh, settings):
    settings.DISPATCH = {"BROKERS": {"default": {"URL": "amqp://host//"}}, "REGISTRY_TTL": 0}
    queue = make_queue("llm", is_default=True)
    make_task("a.with", priority=7)
    [found] = on_database()["dispatch.W007"]
    assert "Priority 7 would be ignored in queue 'llm'" in found.msg
    queue.max_priority = 9
    queue.save()
    assert on_database() == {}


@pytest.fixture
def plain(tmp_path, django_db_blocker):
    """A SQLite as ``startproject`` leaves it."""
    sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db.sqlite3"), "OPTIONS": {}}
    with django_db_blocker.unblock(), further_alias("plain", **sqlite) as alias:
        yield connections[alias]


def test_w014_gives_the_options_that_a_sqlite_beside_relay_and_collector_needs(plain):
    [found] = check_sqlite(databases=["plain"])
    assert (found.id, found.level) == ("dispatch.W014", WARNING)
    assert "database is locked" in found.msg
    assert "without a write-ahead log" in found.msg
    plain.close()
    settings, options = found.hint.split(" = ", 1)
    assert settings == """DATABASES['plain']["OPTIONS"]"""
    plain.settings_dict["OPTIONS"] = ast.literal_eval(options)
    assert check_sqlite(databases=["plain"]) == []


def test_w014_tells_of_each_lack_alone(plain):
    plain.settings_dict["OPTIONS"] = {"transaction_mode": "IMMEDIATE"}
    [found] = check_sqlite(databases=["plain"])
    assert "lock at their first write" not in found.msg
    plain.close()
    plain.settings_dict["OPTIONS"] = {"init_command": "PRAGMA journal_mode = WAL;"}
    [found] = check_sqlite(databases=["plain"])
    assert "write-ahead log" not in found.msg


def test_w014_says_nothing_of_memory_nor_of_a_database_that_is_not_named(plain, monkeypatch):
    assert check_sqlite() == check_sqlite(databases=[]) == []
    monkeypatch.setattr(plain, "is_in_memory_db", lambda: True)
    assert check_sqlite(databases=["plain"]) == []


@pytest.mark.parametrize("page", ["howto/production.md", "tutorial.md"])
def test_the_pages_show_the_options_of_w014(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    [shown] = re.findall(r'^DATABASES\["default"\]\["OPTIONS"\] = (\{.*?^\})', text, re.MULTILINE | re.DOTALL)
    assert ast.literal_eval(shown) == SQLITE_OPTIONS
