from __future__ import annotations

import ast
import re
import ssl
from pathlib import Path

import pytest
from django.core.checks import ERROR, WARNING, run_checks
from django.db import connections
from django.test import override_settings

from dispatch.checks import outbox
from dispatch.checks.brokers import SAFE_CELERY, _celery
from dispatch.checks.installation import SQLITE_OPTIONS, check_installed, check_sqlite
from dispatch.checks.outbox import check_outbox
from dispatch.checks.registry_rows import check_registry
from dispatch.core import url_schemes
from dispatch.models import RegistryVersion, Route, Trigger, TriggerArgument, TriggerCondition
from dispatch.triggers import code_triggers
from tests.support.databases import further_alias
from tests.support.processes import make_process
from tests.support.registry import TASK, make_queue, make_task, waiting

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
def test_w012_says_nothing_of_results_that_can(settings, backend, monkeypatch):
    monkeypatch.setattr("dispatch.checks.brokers._celery", lambda: (5, 7))
    settings.DISPATCH = {"BROKERS": {"default": {**BROKERS["default"], "RESULT_BACKEND": backend}}}
    assert messages().keys() <= {"dispatch.W020"}


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://host", "the scheme 'http' is unknown"),
        ("rediz://host", "the scheme 'rediz' is unknown (did you mean 'redi"),
        ("://host", "it begins with no scheme"),
        ("+://host", "it begins with no scheme"),
        ("a b://host", "it begins with no scheme"),
        ("user:s3cret@redis://host", "it begins with no scheme"),
    ],
)
def test_e007_tells_of_a_url_that_no_transport_reads(settings, url, reason):
    settings.DISPATCH = {"BROKERS": {"default": {"URL": url}}}
    [found] = messages()["dispatch.E007"]
    assert found.level == ERROR
    assert found.msg.startswith(f"The URL of broker 'default' cannot be used: {reason}")
    assert "s3cret" not in found.msg


@pytest.mark.parametrize(
    "backend", ["http://host", "localhost", "cache://host", "REDIS://host", "://", "s3cret@host/1"]
)
def test_e008_tells_of_a_result_backend_that_celery_does_not_have(settings, backend):
    settings.DISPATCH = {"BROKERS": {"default": {**BROKERS["default"], "RESULT_BACKEND": backend}}}
    [found] = messages()["dispatch.E008"]
    assert found.level == ERROR
    assert "s3cret" not in found.msg


@pytest.mark.parametrize(
    ("broker", "backend"),
    [
        ("redis+socket:///tmp/redis.sock", "redis"),
        ("AMQPS://a;amqps://b", "db+postgresql://host/db"),
        ("sentinel://a;sentinel://b", "our.results:Backend"),
        ("memory://", "django-db"),
    ],
)
def test_e007_and_e008_leave_alone_what_can_be_used(settings, broker, backend):
    settings.DISPATCH = {"BROKERS": {"default": {"URL": broker, "RESULT_BACKEND": backend}}}
    pickled = backend.startswith("db+") and _celery() < SAFE_CELERY
    assert messages().keys() == ({"dispatch.W019"} if pickled else set())


@pytest.mark.parametrize(
    "url",
    [
        " redis://:s3cr3t@host:6379/0",
        "redis:///:s3cr3t@host:6379/0",
        "redis://host:6379/:s3cr3t@0",
        "redis://host:6379/s3cr3t",
        "amqp://user:s3cr3t/x@host//",
        "amqp://user:s3cr3t#x@host//",
        "amqp://user:s3cr3t?x@host//",
        "amqp://user:x@s3cr3t@host//",
        "amqp://user:[s3cr3t@host//",
    ],
)
def test_e005_tells_of_urls_that_do_not_parse_cleanly_and_quotes_none(settings, url):
    settings.DISPATCH = {"BROKERS": {"default": {"URL": url, "RESULT_BACKEND": url}}}
    found = messages()["dispatch.E005"]
    assert [each.level for each in found] == [ERROR, ERROR]
    assert found[0].msg.startswith('DISPATCH["BROKERS"][\'default\']["URL"] does not parse cleanly: ')
    assert "RESULT_BACKEND" in found[1].msg
    assert "s3cr3t" not in "".join(f"{each.msg}{each.hint}" for each in found)


def test_e005_tells_of_celerys_own_settings_where_they_count(settings):
    settings.DISPATCH, settings.CELERY_BROKER_URL = {}, "redis:///:s3cr3t@host/0"
    [found] = messages()["dispatch.E005"]
    assert found.msg.startswith("CELERY_BROKER_URL does not parse cleanly")
    settings.DISPATCH = {"BROKERS": BROKERS}
    assert "dispatch.E005" not in messages()


@pytest.mark.parametrize(
    "brokers", [5, [], {"default": 5}, {"default": {"URL": 5}}, {5: {"URL": " redis://h"}}], ids=str
)
def test_e005_reads_settings_of_any_shape(settings, brokers):
    settings.DISPATCH = {"BROKERS": brokers}
    settings.CELERY_BROKER_URL = None
    assert messages()


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("notes.note.boddy", "'notes.note.body'"),
        ("notes.nope.body", "'notes.note.body'"),
        ("body", ""),
        ("notes.note", ""),
        ("notes.note.body.x", "'notes.note.body'"),
        ("", ""),
    ],
)
def test_e006_tells_of_a_sensitive_field_that_does_not_exist(settings, name, close):
    settings.DISPATCH = {"BROKERS": BROKERS, "SENSITIVE_FIELDS": ["notes.note.title", name]}
    [found] = messages()["dispatch.E006"]
    assert found.level == ERROR
    assert repr(name) in found.msg
    assert close in found.msg


@pytest.mark.parametrize(
    "name", ["notes.note.body", "notes.Note.Body", "notes.note.tags", "auth.user.password"]
)
def test_e006_says_nothing_of_fields_that_exist(settings, name):
    settings.DISPATCH = {"BROKERS": BROKERS, "SENSITIVE_FIELDS": [name]}
    assert messages() == {}


@pytest.mark.parametrize("name", ["result_accept_content", "accept_content"])
@pytest.mark.parametrize("pickle", ["pickle", "application/x-python-serialize"])
def test_w018_tells_of_results_that_may_be_pickles(settings, name, pickle):
    entry = {"RESULT_BACKEND": "redis://host/1", "CONF": {name: ["json", pickle]}}
    settings.DISPATCH = {"BROKERS": {"default": BROKERS["default"] | entry}}
    [found] = messages()["dispatch.W018"]
    assert found.level == WARNING
    assert "can run code where results are read" in found.msg


@pytest.mark.parametrize("conf", [{}, {"accept_content": ["json"]}, {"accept_content": 5}], ids=str)
def test_w018_says_nothing_where_only_json_is_read(settings, conf):
    entry = {"RESULT_BACKEND": "redis://host/1", "CONF": conf}
    settings.DISPATCH = {"BROKERS": {"default": BROKERS["default"] | entry}}
    assert "dispatch.W018" not in messages()


@pytest.mark.parametrize(
    ("backend", "celery", "told"),
    [
        ("db+sqlite:///results", (5, 6), True),
        ("cache+memcached://host", (5, 5), True),
        ("db+sqlite:///results", (5, 7), False),
        ("redis://host/1", (5, 5), False),
    ],
)
def test_w019_tells_of_a_celery_whose_results_are_all_refused(settings, monkeypatch, backend, celery, told):
    monkeypatch.setattr("dispatch.checks.brokers._celery", lambda: celery)
    settings.DISPATCH = {"BROKERS": {"default": BROKERS["default"] | {"RESULT_BACKEND": backend}}}
    assert ("dispatch.W019" in messages()) is told


def test_w020_tells_of_a_driver_that_is_not_installed(settings, monkeypatch):
    monkeypatch.setattr(url_schemes, "is_installed", lambda module: False)
    settings.DISPATCH = {
        "BROKERS": {"default": {"URL": "sqla+sqlite:///x", "RESULT_BACKEND": "mongodb://host"}}
    }
    broker, backend = messages()["dispatch.W020"]
    assert (broker.level, backend.level) == (WARNING, WARNING)
    assert "The URL of broker 'default' needs the Python module sqlalchemy" in broker.msg
    assert "The RESULT_BACKEND of broker 'default' needs the Python module pymongo" in backend.msg


def test_w021_tells_of_settings_in_conf_that_change_nothing(settings):
    extra = {"broker_use_sll": True, "broker_transport": "amqp", "task_serializer": "json", "timezone": "UTC"}
    settings.DISPATCH = {"BROKERS": {"default": {**BROKERS["default"], "CONF": extra}}}
    transport, misspelt = messages()["dispatch.W021"]
    assert "'broker_transport', which has no effect there: write the broker's \"URL\"" in transport.msg
    assert "'broker_use_sll', which is no setting of Celery (did you mean 'broker_use_ssl'" in misspelt.msg


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


def test_w001_tells_a_cause_once_with_the_tasks_that_it_stops(db):
    for number in range(25):
        make_task(f"tasks.t{number:02}")
    make_task("tasks.\x1b[2J")
    [found] = on_database()["dispatch.W001"]
    assert found.msg.startswith(r"26 tasks have no destination ('tasks.\x1b[2J', 'tasks.t00', ")
    assert "'tasks.t18' and 6 more). No queue: " in found.msg


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


def test_w005_tells_of_a_schema_by_which_nothing_can_be_checked(fresh):
    make_queue("default", is_default=True)
    make_task("endless", parameters={"properties": {"a": {"$ref": "#/properties/a"}}})
    [found] = on_database()["dispatch.W005"]
    assert (
        "'endless' cannot be sent. Its definition cannot be used: The schema refers to '#/properties/a'"
        in found.msg
    )


def test_w016_tells_of_a_pattern_that_is_not_checked_at_the_send(fresh):
    make_queue("default", is_default=True)
    make_task("mine", parameters={"properties": {"a": {"pattern": "^(?!admin)"}, "b": {"pattern": "^a"}}})
    [found] = on_database()["dispatch.W016"]
    assert "'mine': the pattern '^(?!admin)' is not checked" in found.msg
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


def test_w027_tells_of_a_large_outbox_that_nothing_prunes(settings, db, monkeypatch):
    monkeypatch.setattr(outbox, "estimated_rows", lambda model, using: 2_000_000)
    settings.DISPATCH = {"BROKERS": BROKERS}
    assert "dispatch.W027" not in on_database()
    settings.DISPATCH = {"BROKERS": BROKERS, "RETENTION": {"published": None}}
    [found] = on_database()["dispatch.W027"]
    assert found.msg == (
        "The outbox of database 'default' holds about 2,000,000 messages, and published ones are kept for ever."
    )
    monkeypatch.undo()
    assert "dispatch.W027" not in on_database()


@pytest.mark.parametrize("page", ["howto/operating.md", "tutorial.md"])
def test_the_pages_show_the_options_of_w014(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    [shown] = re.findall(r'^DATABASES\["default"\]\["OPTIONS"\] = (\{.*?^\})', text, re.MULTILINE | re.DOTALL)
    assert ast.literal_eval(shown) == SQLITE_OPTIONS


def test_w022_tells_once_which_tasks_the_workers_code_sends_elsewhere(fresh):
    make_queue("default", is_default=True)
    for name, options in {"a": {"queue": "web"}, "b": {"exchange": "media", "routing_key": "x"}}.items():
        make_task(name, worker_options=options)
    make_task("chosen", worker_options={"queue": "web"}, queue=make_queue("chosen"))
    make_task("there", worker_options={"queue": "default"})
    make_task("odd", worker_options=["queue"])
    make_task("key", worker_options={"routing_key": "alone"})
    [found] = on_database()["dispatch.W022"]
    assert found.level == WARNING
    assert found.msg.endswith("and the registry does not: a (web), b (media).")
    assert "manifest sync FILE --own-queues" in found.hint


def test_w023_tells_that_messages_are_due_and_no_relay_was_seen(fresh):
    waiting("llm", seconds=7_200)
    make_process("relay", seconds=3_600)
    [found] = on_database()["dispatch.W023"]
    assert found.level == WARNING
    assert found.msg == "No relay was seen for 1 min, and messages are due, the oldest for 2 h."
    assert "manage.py dispatch relay" in found.hint
    assert on_database().keys() & {"dispatch.W023", "dispatch.W024"} == {"dispatch.W023"}


def test_w024_tells_of_each_queue_whose_messages_are_due_for_too_long(fresh):
    make_process("relay", errors={"llm": "The queue is full."})
    for queue, seconds in {"llm": 7_200, "web": 10, "": 360, "later": -3_600}.items():
        waiting(queue, seconds=seconds)
    none, llm = on_database()["dispatch.W024"]
    assert none.msg == "Messages for no queue are due for 6 min."
    assert llm.msg == "Messages for queue 'llm' are due for 2 h. The last error: The queue is full."


def test_w025_tells_of_dead_messages(fresh):
    waiting("llm", status="dead")
    [found] = on_database()["dispatch.W025"]
    assert found.msg == "Dead messages: 1."


def test_w026_tells_that_results_are_awaited_and_no_collector_was_seen(settings, db):
    settings.DISPATCH = {
        "BROKERS": {"default": {**BROKERS["default"], "RESULT_BACKEND": "redis://host/1"}},
        "REGISTRY_TTL": 0,
    }
    waiting("llm", seconds=600, status="published")
    [found] = on_database()["dispatch.W026"]
    assert found.msg == "No collector was seen for 1 min, and results are awaited, the oldest for 10 min."
    make_process("collector", seconds=5)
    assert "dispatch.W026" not in on_database()


def test_the_checks_of_processes_ask_no_database_that_is_not_named_and_nothing_without_settings(
    fresh, settings
):
    waiting("llm", seconds=7_200)
    assert "dispatch.W023" not in messages()
    settings.DISPATCH = None
    assert check_outbox(databases=["default"]) == []
