"""The configuration leaves the registry and comes back, on every database."""

from __future__ import annotations

import io
import json
import sys
import warnings

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError

from dispatch import registry
from dispatch.configuration import apply, document
from dispatch.configuration.diff import Changes
from dispatch.core.manifest import checksum, sealed
from dispatch.exceptions import InvalidConfiguration
from dispatch.models import (
    Binding,
    Exchange,
    Queue,
    RegistryVersion,
    Route,
    TaskDefinition,
    Trigger,
    TriggerArgument,
    TriggerCondition,
)
from tests.support.configurations import TASK, clear, make_everything, minimal
from tests.support.registry import make_queue, make_task, make_trigger

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def brokers(broker_settings):
    broker_settings("amqp://nowhere", brokers={"bulk": {"URL": "redis://nowhere"}})


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a document and returns the file's name."""

    def to(text):
        path = tmp_path / "configuration.json"
        path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
        return str(path)

    return to


def config(*arguments, **streams):
    output = io.StringIO()
    call_command("dispatch", "config", *arguments, stdout=output, **streams)
    return output.getvalue()


def bring(prune=False, **lists) -> Changes:
    wanted = document.parse(minimal(**lists))
    changes = apply.preview(wanted, "default", prune=prune)
    apply.apply(wanted, "default", prune=prune, expected=changes)
    return changes


def labels(changes):
    return [change.label for change in changes]


# -- export --------------------------------------------------------------------------------


def test_the_document_is_the_same_bytes_on_every_database():
    """What databases do each in their own way: the order of texts and of keys in JSON, and large numbers."""
    make_everything()
    text = config("export")
    found = json.loads(text)
    assert text == sealed(found)
    assert '"arguments": {"a": {"c": [2, 1], "d": 10000000000000000}, "b": 1}' in " ".join(
        text.split()
    ).replace("{ ", "{").replace(" }", "}").replace("[ ", "[").replace(" ]", "]")
    assert [row["name"] for row in found["queues"]] == ["default", "stt", "ärzte"]
    assert [row["routing_key"] for row in found["queues"][1]["bindings"]] == ["audio.*", "stt.#"]
    assert [row["pattern"] for row in found["routes"]] == [
        "worker.z.*",
        "worker.a.*",
        "worker.m.*",
        "worker.stt",
    ]
    assert list(found["tasks"][0]["parameters"]) == sorted(found["tasks"][0]["parameters"])
    assert '"countdown": 1.5,' in text
    assert '"ignore_result": false,' in text


@pytest.mark.one_database
def test_the_document_has_its_checksum_and_no_state():
    make_everything()
    found = json.loads(config("export"))
    assert found["checksum"] == checksum(found)
    assert "paused" not in found["queues"][0]
    assert "id" not in found["queues"][0]


@pytest.mark.one_database
def test_a_file_gets_what_standard_output_gets(tmp_path):
    make_everything()
    target = tmp_path / "configuration.json"
    assert config("export", str(target)) == f"The configuration was written to {target}.\n"
    assert target.read_text(encoding="utf-8") == config("export")


@pytest.mark.one_database
def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(CommandError, match=r"gone/x.json cannot be written: .*No such file"):
        config("export", str(tmp_path / "gone" / "x.json"))


# -- there and back ----------------------------------------------------------------------------


def test_an_export_comes_back_into_an_empty_registry_byte_for_byte(write):
    make_everything()
    text = config("export")
    clear()
    assert config("import", write(text), "--yes").endswith("Done.\n")
    assert config("export") == text
    assert [route.pattern for route in registry.current().table.routes] == [
        "worker.z.*", "worker.a.*", "worker.m.*", "worker.stt",
    ]  # fmt: skip


def test_an_export_over_its_own_registry_has_nothing_to_change(write):
    make_everything()
    before = RegistryVersion.current("default")
    assert config("import", write(config("export")), "--prune") == (
        "Nothing to change: 16 rows are as they should be.\n"
    )
    assert RegistryVersion.current("default") == before


def test_the_second_import_has_nothing_to_change(write):
    name = write(
        minimal(queues=[{"name": "llm", "max_priority": "5"}], routes=[{"pattern": "a", "queue": "llm"}])
    )
    assert "2 to add" in config("import", name, "--yes")
    assert "Nothing to change: 2 rows" in config("import", name, "--yes")


def test_what_the_file_does_not_name_stays_as_it_is():
    make_everything()
    changes = bring(queues=[{"name": "stt", "max_priority": 5}])
    assert [change.columns for change in changes.changed] == [{"max_priority": (9, 5)}]
    stt = Queue.objects.get(name="stt")
    assert (stt.max_priority, stt.default_priority, stt.bindings.count()) == (5, 3, 2)


def test_an_import_does_not_resume_a_paused_queue():
    make_everything()
    bring(queues=[{"name": "ärzte", "default_priority": 1}])
    assert Queue.objects.get(name="ärzte").paused


def test_a_fresh_registry_sees_the_import():
    bring(queues=[{"name": "llm", "is_default": True}], tasks=[{"name": "tasks.a"}])
    assert registry.current().destination("tasks.a").queue == "llm"


# -- what an import says -------------------------------------------------------------------------


@pytest.mark.one_database
def test_the_difference_is_told_column_by_column(write):
    make_everything()
    output = config(
        "import",
        write(
            minimal(
                queues=[
                    {"name": "stt", "max_priority": None, "arguments": {"x-max-length": 6}},
                    {"name": "new", "durable": False},
                ],
                routes=[
                    {
                        "pattern": "worker.stt",
                        "kind": "exact",
                        "queue": "new",
                        "exchange": None,
                        "routing_key": "",
                    }
                ],
            )
        ),
        "--dry-run",
    )
    assert output.splitlines() == [
        "   added  queue 'new'",
        "            durable: no",
        " changed  queue 'stt'",
        '            arguments: {"x-max-length": 5} → {"x-max-length": 6}',
        "            max_priority: 9 → none",
        " changed  route 'worker.stt' (exact)",
        "            queue: none → new",
        "            exchange: media → none",
        '            routing_key: stt.x → ""',
        "    kept  route 'worker.a.*' (glob), which is not in the file",
        "    kept  route 'worker.m.*' (glob), which is not in the file",
        "    kept  route 'worker.z.*' (glob), which is not in the file",
        "    kept  queue 'default', which is not in the file",
        "    kept  queue 'ärzte', which is not in the file",
        "1 to add, 2 to change, 0 to delete, 0 as they should be, 5 kept.",
        "Nothing was changed.",
    ]


def test_a_dry_run_changes_nothing(write):
    make_everything()
    text, version = config("export"), RegistryVersion.current("default")
    config("import", write(minimal(queues=[{"name": "new", "is_default": True}])), "--dry-run")
    assert config("export") == text
    assert RegistryVersion.current("default") == version


@pytest.mark.one_database
def test_machines_get_the_difference_as_json(write):
    make_queue("stt")
    name = write(minimal(queues=[{"name": "stt", "max_priority": 5}]))
    found = json.loads(config("import", name, "--yes", "--format", "json"))
    assert found["changed"] == [
        {"kind": "queue", "key": ["stt"], "columns": {"max_priority": {"before": None, "after": 5}}}
    ]
    assert found["applied"] is True
    assert json.loads(config("import", name, "--yes", "--format", "json"))["applied"] is False


# -- rows that are not in the file ------------------------------------------------------------------


def test_rows_that_are_not_in_the_file_stay_unless_they_are_pruned():
    make_everything()
    wanted = {"routes": [{"pattern": "worker.stt", "kind": "exact"}]}
    assert len(bring(**wanted).kept) == 3
    assert len(bring(prune=True, **wanted).deleted) == 3
    assert [route.pattern for route in Route.objects.all()] == ["worker.stt"]


def test_lists_that_the_file_does_not_have_are_left_alone():
    make_everything()
    bring(prune=True, triggers=[])
    assert (Trigger.objects.count(), TaskDefinition.objects.count(), Queue.objects.count()) == (0, 2, 3)


def test_everything_can_be_pruned():
    make_everything()
    bring(prune=True, exchanges=[], queues=[], routes=[], tasks=[], triggers=[])
    assert json.loads(config("export"))["queues"] == []
    assert not TriggerArgument.objects.exists()


def test_bindings_are_rows_that_are_kept_or_pruned_with_their_queue():
    make_everything()
    wanted = {"queues": [{"name": "stt", "bindings": [{"exchange": "media", "routing_key": "new.#"}]}]}
    changes = bring(**wanted)
    assert labels(changes.added) == ["binding 'media' → 'stt' (new.#)"]
    assert labels(changes.kept)[:2] == [
        "binding 'media' → 'stt' (audio.*)",
        "binding 'media' → 'stt' (stt.#)",
    ]
    with pytest.raises(InvalidConfiguration, match="queue 'default'"):
        bring(prune=True, queues=wanted["queues"], tasks=[{"name": TASK, "queue": "default"}])


def test_conditions_and_arguments_belong_to_their_trigger():
    make_everything()
    changes = bring(
        triggers=[
            {
                "name": "Summarise",
                "conditions": [{"field": "kind", "operator": "not_equals", "value": "text"}],
            }
        ]
    )
    assert labels(changes.added) == ["condition 'kind not_equals text' of 'Summarise'"]
    assert labels(changes.deleted) == ["condition 'kind equals text' of 'Summarise'"]
    assert TriggerCondition.objects.get().operator == "not_equals"
    assert TriggerArgument.objects.count() == 2


def test_a_row_that_others_need_is_not_pruned():
    make_everything()
    with pytest.raises(InvalidConfiguration, match=r"task 'worker.*llm.*needs it|trigger Summarise needs it"):
        bring(prune=True, tasks=[])
    assert TaskDefinition.objects.count() == 2


# -- one default queue, and the order of routes ---------------------------------------------------------


@pytest.mark.parametrize("other", [{}, {"is_default": False}], ids=["not named", "named"])
def test_the_default_queue_moves(other):
    make_queue("old", is_default=True)
    changes = bring(
        queues=[{"name": "new", "is_default": True}, *([{"name": "old", **other}] if other else [])]
    )
    assert [change.columns for change in changes.changed] == [{"is_default": (True, False)}]
    assert Queue.objects.get(is_default=True).name == "new"
    assert not bring(queues=[{"name": "new", "is_default": True}])


def test_two_default_queues_are_refused():
    with pytest.raises(
        InvalidConfiguration, match=r"/queues/1/is_default \(queue 'b'\): Another queue is the default"
    ):
        bring(queues=[{"name": name, "is_default": True} for name in "ab"])


def test_routes_of_one_position_take_the_order_of_the_file():
    queue = make_queue("llm")
    for pattern in ("a.*", "b.*", "c.*"):
        Route.objects.create(pattern=pattern, queue=queue)
    wanted = {"routes": [{"pattern": pattern} for pattern in ("c.*", "a.*", "b.*")]}
    changes = bring(**wanted)
    assert [route.pattern for route in Route.objects.all()] == ["c.*", "a.*", "b.*"]
    assert [(change.label, change.columns) for change in changes.changed] == [
        ("route 'a.*' (glob)", {"order": ("before 'c.*'", "after 'c.*'")}),
        ("route 'b.*' (glob)", {"order": ("before 'a.*'", "after 'a.*'")}),
    ]
    assert not bring(**wanted)
    assert Route.objects.filter(queue=queue).count() == 3


# -- all or nothing ---------------------------------------------------------------------------------------


def test_every_row_that_cannot_be_stored_is_told_and_nothing_is(write):
    make_queue("stt")
    name = write(
        minimal(
            queues=[
                {"name": "good"},
                {"name": "stt", "max_priority": 256},
                {"name": "x", "broker": "nowhere"},
            ],
            routes=[{"pattern": "(", "kind": "regex", "queue": "good"}, {"pattern": "a.*", "queue": "god"}],
            tasks=[{"name": "a b"}],
            triggers=[{"name": "t", "model": "notes.nothing", "events": ["created"], "task": "a b"}],
        )
    )
    told = io.StringIO()
    with pytest.raises(CommandError, match=r"\.json: 5 problems\. Nothing was changed\.$"):
        config("import", name, "--yes", stderr=told)
    lines = told.getvalue().splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        "/queues/1/max_priority (queue 'stt')",
        "/queues/2/broker (queue 'x')",
        "/routes/0/pattern (route '(' (regex))",
        "/routes/1/queue (route 'a.*' (glob))",
        "/tasks/0/name (task 'a b')",
    ]
    assert "did you mean 'good'" in lines[3]
    assert [queue.name for queue in Queue.objects.all()] == ["stt"]


@pytest.mark.one_database
def test_a_regex_that_explodes_is_refused_with_its_place():
    with pytest.raises(InvalidConfiguration, match="/routes/0/pattern"):
        bring(queues=[{"name": "a"}], routes=[{"pattern": "(a|aa)+$", "kind": "regex", "queue": "a"}])


def test_what_the_database_refuses_undoes_everything(monkeypatch):
    def refuse(self, *args, **kwargs):
        raise DatabaseError("no room left")

    monkeypatch.setattr(TaskDefinition, "save", refuse)
    with pytest.raises(
        InvalidConfiguration, match=r"/tasks/0 \(task 'tasks.a'\): The database refuses it: no room left"
    ):
        bring(queues=[{"name": "llm"}], tasks=[{"name": "tasks.a"}])
    assert not Queue.objects.exists()


def test_what_changed_since_it_was_shown_is_not_overwritten():
    wanted = document.parse(minimal(queues=[{"name": "llm", "max_priority": 5}]))
    shown = apply.preview(wanted, "default")
    make_queue("llm", max_priority=9)
    with pytest.raises(InvalidConfiguration, match="changed meanwhile"):
        apply.apply(wanted, "default", expected=shown)
    assert Queue.objects.get().max_priority == 9


@pytest.mark.one_database
def test_a_trigger_is_checked_against_its_model():
    with pytest.raises(InvalidConfiguration, match=r"/triggers/0/conditions/0 .*has no column colour"):
        bring(
            tasks=[{"name": TASK}],
            triggers=[
                {
                    "name": "t",
                    "model": "notes.note",
                    "events": ["created"],
                    "task": TASK,
                    "conditions": [{"field": "colour", "value": "red"}],
                }
            ],
        )
    assert not Trigger.objects.exists()


# -- asking -------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.one_database
@pytest.mark.parametrize(("answer", "count"), [("y\n", 1), ("n\n", 0), ("", 0)])
def test_it_asks_on_a_terminal(answer, count, write, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    output = config("import", write(minimal(queues=[{"name": "llm"}])))
    assert output.endswith("Done.\n" if count else "Nothing was changed.\n")
    assert Queue.objects.count() == count


@pytest.mark.one_database
def test_without_a_terminal_it_wants_yes(write, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(CommandError, match="add --yes"):
        config("import", write(minimal(queues=[{"name": "llm"}])))
    assert not Queue.objects.exists()


@pytest.mark.one_database
def test_where_there_is_nothing_to_change_it_does_not_ask(write, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert "Nothing to change" in config("import", write(minimal()))


@pytest.mark.one_database
def test_a_document_may_come_from_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(minimal(queues=[{"name": "llm"}]))))
    config("import", "-", "--yes")
    assert Queue.objects.get().name == "llm"


@pytest.mark.one_database
def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(CommandError, match=r"x.json cannot be read: .*No such file"):
        config("import", str(tmp_path / "x.json"))


# -- from Celery ------------------------------------------------------------------------------------------------

APP = '''
import re
from celery import Celery
from kombu import Exchange, Queue, binding
from kombu.common import Broadcast

media = Exchange("media", "topic")
app = Celery("shop", broker="amqp://")
app.conf.update(
    task_default_queue="default",
    task_queues=[
        Queue("default", Exchange("default"), routing_key="default"),
        Queue("stt", media, routing_key="stt.#", max_priority=5),
        Queue("images", [binding(media, "image.*"), binding(media, "photo.#")]),
        Broadcast("everyone"),
    ],
    task_routes=[
        {"shop.tasks.*": "default", "shop.tasks.hear": {"queue": "stt", "routing_key": "stt.en", "priority": 4}},
        {re.compile("shop[.]x", re.IGNORECASE): "fresh", "clear.*": {"queue": "everyone"}},
        "shop_celery.router",
    ],
)

def router(name, args, kwargs, options, task=None, **kw):
    return None
'''  # fmt: skip


@pytest.fixture
def shop(tmp_path, monkeypatch):
    (tmp_path / "shop_celery.py").write_text(APP)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "shop_celery:app"
    sys.modules.pop("shop_celery", None)


def test_a_celery_app_becomes_rows(shop):
    output = config("import-celery", shop, "--yes")
    assert "shop_celery.router is not one of DISPATCH" in output
    assert output.endswith("16 to add, 0 to change, 0 to delete, 0 as they should be, 1 left out.\nDone.\n")
    routes = [
        (route.pattern, route.kind, str(route.queue or route.exchange), route.routing_key, route.priority)
        for route in Route.objects.all()
    ]
    assert routes == [
        ("shop.tasks.hear", "exact", "media", "stt.en", 4),
        ("shop.tasks.*", "glob", "default", "", None),
        ("(?i)shop[.]x", "regex", "fresh", "", None),
        ("clear.*", "glob", "everyone", "default", None),
    ]
    assert {(queue.name, queue.max_priority, queue.is_default) for queue in Queue.objects.all()} == {
        ("default", None, True), ("stt", 5, False), ("images", None, False), ("fresh", None, False),
    }  # fmt: skip
    assert set(Exchange.objects.values_list("name", "type")) >= {("media", "topic"), ("everyone", "fanout")}
    bindings = Binding.objects.filter(queue__name="images", exchange__name="media")
    assert set(bindings.values_list("routing_key", flat=True)) == {"image.*", "photo.#"}


@pytest.mark.one_database
def test_a_task_that_routes_itself_becomes_a_definition_and_keeps_what_the_manifest_said(tmp_path, shop):
    parameters = {"type": "object", "properties": {"n": {"type": "integer"}}}
    make_task("shop.count", parameters=parameters, priority=7)
    make_task("other")
    with (tmp_path / "shop_celery.py").open("a") as source:
        source.write('app.task(name="shop.count", queue="stt", shared=False)(router)\n')
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Celery would rather have task_routes
        assert "'other'" not in config("import-celery", shop, "--yes")
    task = TaskDefinition.objects.get(name="shop.count")
    assert (str(task.exchange), task.routing_key, task.priority, task.parameters) == (
        "media",
        "stt.#",
        7,
        parameters,
    )


@pytest.mark.one_database
def test_a_celery_app_twice_has_nothing_to_change(shop):
    config("import-celery", shop, "--yes")
    assert "Nothing to change: 16 rows are as they should be" in config("import-celery", shop)


def test_a_celery_app_comes_into_a_registry_that_is_in_use(shop, settings):
    settings.DISPATCH = {**settings.DISPATCH, "ROUTERS": ["shop_celery.router"]}
    make_everything()
    output = config("import-celery", shop, "--yes")
    assert "left out" not in output
    assert "kept  queue 'ärzte'" in output
    assert "trigger" not in output
    assert Route.objects.get(kind="callable").pattern == "shop_celery.router"
    assert Queue.objects.get(name="stt").default_priority == 3
    assert registry.current().destination(TASK).queue == "stt"


@pytest.mark.one_database
def test_what_the_apps_module_prints_is_not_in_the_json(tmp_path, shop, capsys):
    with (tmp_path / "shop_celery.py").open("a") as source:
        source.write('print("importing")\n')
    assert json.loads(config("import-celery", shop, "--dry-run", "--format", "json"))["applied"] is False
    assert capsys.readouterr().err == "importing\n"


@pytest.mark.one_database
def test_what_is_kept_is_not_in_the_celery_app(shop):
    make_everything()
    assert "kept  queue 'ärzte', which is not in the Celery app" in config("import-celery", shop, "--yes")


@pytest.mark.one_database
def test_a_dry_run_of_a_celery_app_changes_nothing(shop):
    assert "16 to add" in config("import-celery", shop, "--dry-run")
    assert not Queue.objects.exists()


@pytest.mark.one_database
def test_a_celery_app_may_belong_to_another_broker(shop):
    config("import-celery", shop, "--broker", "bulk", "--yes")
    assert set(Queue.objects.values_list("broker", flat=True)) == {"bulk"}
    assert Route.objects.get(pattern="shop.tasks.hear").priority == 5  # 4 of Redis, where 0 is most urgent
    with pytest.raises(
        CommandError, match="No broker 'nowhere' in the settings: choose one of bulk, default"
    ):
        config("import-celery", shop, "--broker", "nowhere")


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("nowhere.at.all:app", "cannot be imported: ModuleNotFoundError"),
        ("shop_celery:ap", "cannot be imported: AttributeError"),
        ("shop_celery:media", "is a Exchange, but must be a Celery app"),
    ],
)
def test_a_path_that_leads_to_no_app_is_refused_in_a_sentence(path, complaint, shop):
    with pytest.raises(CommandError, match=complaint):
        config("import-celery", path)


def test_triggers_and_tasks_of_another_registry_come_too():
    make_trigger(make_task(), "created", name="t")
    text = config("export")
    clear()
    apply.apply(document.read(text), "default")
    trigger = Trigger.objects.get()
    assert (trigger.task.name, trigger.arguments.count()) == (TASK, 2)
