from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from dispatch.contract import live_manifests as running_workers
from dispatch.core.manifest import checksum, sealed
from dispatch.models import Binding, Exchange, Manifest, Route, TaskDefinition
from tests.support.registry import TASK, make_queue, make_registry

MANIFEST = {
    "manifest": 1,
    "worker": "worker",
    "version": "0.1.0",
    "queues": [
        {"name": "default", "durable": True, "arguments": {}},
        {"name": "llm", "durable": True, "arguments": {}},
    ],
    "tasks": [
        {"name": TASK, "parameters": {"type": "object", "properties": {"note_id": {"type": "string"}}}},
        {"name": "worker.tasks.link.preview_links"},
    ],
}


@pytest.fixture
def manifest(tmp_path):
    """Return a function that writes a manifest, or any text, and returns the file's name."""

    def write(document=MANIFEST):
        path = tmp_path / "manifest.json"
        path.write_text(document if isinstance(document, str) else sealed(document), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture(autouse=True)
def fresh(broker_settings):
    broker_settings("memory://")


def run(*arguments, **options):
    output = io.StringIO()
    call_command("dispatch", *arguments, stdout=output, **options)
    return output.getvalue()


def manage(*arguments, database="sqlite://"):
    """Run `manage.py dispatch` as a user does, in a process of its own."""
    environment = {**os.environ, "DATABASE_URL": database, "BROKER_URL": "memory://"}
    command = [sys.executable, "manage.py", "dispatch", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


# -- the umbrella -------------------------------------------------------------


def test_help_lists_every_subcommand_with_a_line_on_it():
    help_ = manage("--help")
    assert help_.returncode == 0
    for line in (
        "relay .*publish the outbox",
        "results .*TaskResult",
        "manifest .*import",
        "routes .*show where tasks go",
    ):
        assert re.search(line, help_.stdout), help_.stdout


def test_an_unknown_subcommand_is_refused_with_those_that_exist():
    found = manage("rleay")
    assert found.returncode == 2
    assert "invalid choice: 'rleay'" in found.stderr
    assert "'relay'" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_command_without_its_argument_is_refused_with_what_is_missing():
    with pytest.raises(CommandError, match="one of the arguments FILE --live is required"):
        run("manifest", "sync")


@pytest.mark.parametrize(
    ("arguments", "kind", "listed"),
    [
        ([], "SUBCOMMAND", "relay .*publish the outbox"),
        (["routes"], "ACTION", "explain .*step by step"),
        (["manifest"], "ACTION", "sync .*into the registry"),
    ],
    ids=["dispatch", "routes", "manifest"],
)
def test_a_command_without_its_subcommand_lists_them(arguments, kind, listed):
    told = io.StringIO()
    with pytest.raises(CommandError, match=f"Which {kind}\\?") as caught:
        run(*arguments, stderr=told)
    assert caught.value.returncode == 2
    assert re.search(listed, told.getvalue())


def test_the_common_options_of_django_may_follow_the_subcommand(manifest, db):
    assert run("manifest", "show", "-v", "2", "--no-color")
    assert run("manifest", "show", "--verbosity", "0", "--traceback", "--force-color")
    assert run("manifest", "sync", manifest(), "-v", "2", "--no-color", "--dry-run")


def test_the_common_options_of_django_may_precede_the_subcommand_too(db):
    assert run("-v", "2", "--no-color", "manifest", "show")


def test_skip_checks_may_follow_the_subcommand(db):
    assert run("manifest", "show", "--skip-checks")


# -- routes export ------------------------------------------------------------------


@pytest.fixture
def registry(db):
    make_registry()
    media = Exchange.objects.create(name="media", type="topic")
    stt = make_queue("stt", max_priority=9, arguments={"x-max-length": 5})
    Binding.objects.create(queue=stt, exchange=media, routing_key="media.#")
    Route.objects.create(pattern="worker.tasks.stt.*", exchange=media, routing_key="media.audio")
    TaskDefinition.objects.create(name="worker.tasks.stt.transcribe_audio")


def test_the_routing_goes_to_standard_output_with_its_checksum(registry):
    document = json.loads(run("routes", "export"))
    assert document["checksum"] == checksum(document)
    assert document["routing"] == 1
    assert document["default_queue"] == "default"
    assert document["tasks"] == {
        TASK: {"queue": "llm"},
        "worker.tasks.stt.transcribe_audio": {"exchange": "media", "routing_key": "media.audio"},
    }


def test_the_routing_holds_each_queue_with_its_final_arguments_and_bindings(registry):
    document = json.loads(run("routes", "export"))
    assert [queue["name"] for queue in document["queues"]] == ["default", "llm", "stt"]
    assert document["queues"][2] == {
        "name": "stt",
        "broker": "default",
        "durable": True,
        "default_priority": None,
        "arguments": {"x-max-length": 5, "x-max-priority": 9},
        "bindings": [{"exchange": "media", "routing_key": "media.#", "arguments": {}}],
    }
    assert document["exchanges"] == [
        {"name": "media", "broker": "default", "type": "topic", "durable": True, "arguments": {}}
    ]


def test_the_routing_names_a_fanout_exchange_that_is_no_broadcast(registry):
    Exchange.objects.create(name="everyone", type="fanout")
    Exchange.objects.create(name="events", type="fanout", broadcast=False)
    exchanges = {row["name"]: row for row in json.loads(run("routes", "export"))["exchanges"]}
    assert exchanges["events"]["broadcast"] is False
    assert "broadcast" not in exchanges["everyone"]


def test_a_file_gets_what_standard_output_gets(registry, tmp_path):
    target = tmp_path / "routing.json"
    assert run("routes", "export", str(target)) == f"The routing was written to {target}.\n"
    assert target.read_text(encoding="utf-8") == run("routes", "export")


def test_a_file_that_cannot_be_written_is_named_in_the_error(registry, tmp_path):
    with pytest.raises(CommandError, match=r"gone/routing.json cannot be written: .*No such file"):
        run("routes", "export", str(tmp_path / "gone" / "routing.json"))


def test_without_a_default_queue_nothing_is_exported_that_a_worker_would_refuse(db):
    TaskDefinition.objects.create(name="worker.tasks.nowhere")
    with pytest.raises(CommandError, match="No queue is the default one"):
        run("routes", "export")


# -- manifest sync --------------------------------------------------------------------


def test_a_manifest_is_written_into_the_registry_and_what_changed_is_told(manifest, db):
    output = run("manifest", "sync", manifest())
    assert f"   added  {TASK}\n" in output
    assert "worker 0.1.0: 2 tasks were added, 0 changed, 0 retired; 0 are as before." in output
    assert TaskDefinition.objects.get(name=TASK).parameters == MANIFEST["tasks"][0]["parameters"]


def test_the_same_manifest_again_changes_nothing(manifest, db):
    run("manifest", "sync", manifest())
    assert "0 tasks were added, 0 changed, 0 retired; 2 are as before" in run("manifest", "sync", manifest())


def test_a_task_that_is_no_longer_offered_is_told_and_kept(manifest, db):
    run("manifest", "sync", manifest())
    output = run("manifest", "sync", manifest({**MANIFEST, "tasks": MANIFEST["tasks"][1:]}))
    assert f" missing  {TASK}\n" in output
    assert TaskDefinition.objects.filter(name=TASK).exists()


def test_the_queues_that_the_workers_code_sets_are_told_and_brought(manifest, db):
    tasks = [{"name": "a", "options": {"queue": "web"}}, {"name": "b", "options": {"exchange": "x\nmedia"}}]
    document = manifest({**MANIFEST, "tasks": tasks})
    output = run("manifest", "sync", document)
    assert (
        "sends these to queues of their own, and the registry does not: a (queue 'web'), b (exchange"
        in output
    )
    assert "--own-queues" in output
    lines = run("manifest", "sync", document, "--own-queues").splitlines()
    assert lines[0] == "   queue  a goes to queue 'web', as its code says"
    assert lines[1].startswith(
        "   queue  b goes to exchange 'x\\nmedia' (), as its code says, but not here: the reg"
    )
    [told] = json.loads(run("manifest", "sync", document, "--own-queues", "--format", "json"))
    assert [own["task"] for own in told["own_queues"]] == ["b"]


def test_a_dry_run_tells_the_same_and_changes_nothing(manifest, db):
    output = run("manifest", "sync", manifest(), "--dry-run")
    assert f"   added  {TASK}\n" in output
    assert "2 tasks would be added" in output
    assert not TaskDefinition.objects.exists()
    assert not Manifest.objects.exists()


def test_a_manifest_may_come_from_standard_input(db, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(sealed(MANIFEST)))
    assert "2 tasks were added" in run("manifest", "sync", "-")


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ("{", "is not JSON"),
        ("NaN", "must be a JSON object"),
        ('{"manifest": 1, "worker": "\\ud800"}', "the text at /worker"),
        (sealed(MANIFEST).replace("0.1.0", "0.2.0"), "edited or cut"),
        ({**MANIFEST, "manifest": 2}, "not a manifest of format 1"),
        ({**MANIFEST, "queues": None}, "'queues' must be a list of objects"),
        ({**MANIFEST, "tasks": MANIFEST["tasks"] * 2}, "twice"),
    ],
    ids=["json", "nan", "surrogate", "edited", "format", "queues", "twice"],
)
def test_a_bad_manifest_is_refused_in_one_sentence_and_changes_nothing(document, complaint, manifest, db):
    with pytest.raises(CommandError, match=complaint) as caught:
        run("manifest", "sync", manifest(document))
    assert "\n" not in str(caught.value)
    assert not TaskDefinition.objects.exists()


def test_a_bad_manifest_ends_the_command_with_an_exit_code_and_without_a_traceback(manifest, tmp_path):
    found = manage("stubs", "-o", tmp_path / "tasks.py", "--manifest", manifest("{"))
    assert found.returncode == 1
    assert "manifest.json: The manifest is not JSON" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_file_that_cannot_be_read_is_named_in_the_error(tmp_path, db):
    with pytest.raises(CommandError, match=r"manifest.json cannot be read: .*No such file"):
        run("manifest", "sync", str(tmp_path / "manifest.json"))
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(CommandError, match=r"manifest.json cannot be read: .*decode"):
        run("manifest", "sync", str(tmp_path / "manifest.json"))


CHANGED = {
    **MANIFEST,
    "version": "0.0.9",
    "tasks": [
        {
            "name": TASK,
            "parameters": {
                "type": "object",
                "properties": {"note_id": {"type": "integer"}, "style": {"type": "string"}},
            },
            "deprecated": "",
        },
        {"name": "worker.tasks.link.preview_link"},
    ],
}


def test_each_change_is_told_with_what_it_breaks(manifest, db):
    run("manifest", "sync", manifest())
    Route.objects.create(pattern="worker.tasks.link.preview_links", kind="exact", priority=1)
    lines = run("manifest", "sync", manifest(CHANGED), "--dry-run").splitlines()
    assert [line for line in lines if "imported on" not in line] == [
        "   added  worker.tasks.link.preview_link",
        f" changed  {TASK}",
        "            BREAKING  note_id was string, is integer",
        "            BREAKING  style is new, optional: string; callers could pass anything under this name",
        "            is deprecated",
        " missing  worker.tasks.link.preview_links (did you mean 'worker.tasks.link.preview_link'?)",
        "  breaks  route 'worker.tasks.link.preview_links' (exact) matches no task any more.",
        "worker 0.0.9: 1 task would be added, 1 changed, 1 retired; 0 are as before.",
    ]
    assert lines[0].startswith(
        " warning  This manifest is of version 0.0.9, and that of 0.1.0 was imported on "
    )


def test_machines_get_the_same_as_json(manifest, db):
    run("manifest", "sync", manifest())
    [told] = json.loads(run("manifest", "sync", manifest(CHANGED), "--format", "json"))
    assert (told["worker"], told["applied"], told["breaking"]) == ("worker", True, True)
    assert told["missing"] == ["worker.tasks.link.preview_links"]
    assert told["changed"][0]["changes"][0] == {
        "parameter": "note_id",
        "breaking": True,
        "sentence": "was string, is integer",
    }


def test_a_pipeline_can_refuse_breaking_changes(manifest, db):
    run("manifest", "sync", manifest())
    with pytest.raises(CommandError, match="Breaking changes of worker were refused"):
        run("manifest", "sync", manifest(CHANGED), "--refuse-breaking")
    assert TaskDefinition.objects.filter(retired_at=None).count() == 2
    harmless = {**MANIFEST, "tasks": [*MANIFEST["tasks"], {"name": "worker.tasks.new"}]}
    assert "1 task was added" in run("manifest", "sync", manifest(harmless), "--refuse-breaking")


def test_a_retired_task_is_marked_in_the_list_of_routes_and_explained(manifest, db):
    make_queue("default", is_default=True)
    run("manifest", "sync", manifest())
    run("manifest", "sync", manifest({**MANIFEST, "version": "2", "tasks": []}))
    rows = json.loads(run("routes", "list", "--format", "json"))
    assert all(row["problem"].endswith("when worker 2 no longer offered it") for row in rows)
    assert f"'{TASK}' was retired on " in run("routes", "explain", TASK)


# -- manifest sync --live -----------------------------------------------------------------------


@pytest.fixture
def running(monkeypatch):
    """Return a function that lets workers of these documents answer, by node name."""

    def answer(**nodes):
        answers = {n: json.loads(sealed(d)) if "manifest" in d else d for n, d in nodes.items()}
        monkeypatch.setattr(running_workers.worker_control, "manifests", lambda link: answers)

    return answer


def test_running_workers_are_asked_and_their_queues_put_together(running, db):
    one, other = ({**MANIFEST, "queues": [queue]} for queue in MANIFEST["queues"])
    running(a=one, b=other, old={"error": "no such command"})
    output = run("manifest", "sync", "--live")
    assert output.count("worker 0.1.0: 2 tasks were added") == 1
    assert Manifest.objects.get().queues == MANIFEST["queues"]
    run("manifest", "sync", "--live")
    assert Manifest.objects.count() == 1


def test_the_file_and_the_running_worker_are_one_manifest(running, manifest, db):
    run("manifest", "sync", manifest())
    running(a=MANIFEST)
    assert "0 tasks were added, 0 changed, 0 retired; 2 are as before" in run("manifest", "sync", "--live")
    assert Manifest.objects.count() == 1


def test_nodes_of_one_worker_that_disagree_are_refused(running, db):
    running(a=MANIFEST, b={**MANIFEST, "version": "0.2.0"})
    with pytest.raises(
        CommandError, match=r"'worker' do not offer the same tasks \(a 0.1.0, b 0.2.0\): finish"
    ):
        run("manifest", "sync", "--live")
    assert not TaskDefinition.objects.exists()


def test_workers_of_other_registries_on_the_same_broker_are_left_alone(running, db):
    make_queue("default", is_default=True)
    stranger = {**MANIFEST, "worker": "stranger", "queues": [{"name": "theirs"}], "tasks": [{"name": "x"}]}
    running(a=MANIFEST, b=stranger)
    run("manifest", "sync", "--live")
    assert list(Manifest.objects.values_list("worker", flat=True)) == ["worker"]
    running(b=stranger)
    with pytest.raises(
        CommandError, match=r"No running worker told its manifest .*Those of other registries did: b"
    ):
        run("manifest", "sync", "--live")


def test_a_worker_that_cannot_tell_its_manifest_is_told_with_the_reason(running, db):
    running(a={"error": "The app has no name"})
    with pytest.raises(CommandError, match=r"Worker 'a' cannot tell it: The app has no name\. Start one"):
        run("manifest", "sync", "--live")


@pytest.mark.parametrize("odd", [{**MANIFEST, "manifest": 2}, {"manifest": [1]}, {"error": []}, {}], ids=repr)
def test_a_worker_whose_answer_is_odd_keeps_no_other_from_being_asked(running, odd, db, caplog):
    running(a=odd, b=MANIFEST)
    assert "2 tasks were added" in run("manifest", "sync", "--live")
    assert "Worker 'a' is left out" in caplog.text


def test_a_worker_whose_answer_is_no_manifest_is_named(running, db):
    running(a={**MANIFEST, "manifest": 2})
    with pytest.raises(CommandError, match=r"Worker 'a' cannot tell it: This is not a manifest of"):
        run("manifest", "sync", "--live")


def test_a_hundred_renamed_tasks_are_told_and_fifty_of_them_with_the_name_that_was_meant(manifest, db):
    names = [f"worker.tasks.module_{number}.task_number_{number}" for number in range(100)]
    run("manifest", "sync", manifest({**MANIFEST, "tasks": [{"name": name} for name in names]}))
    renamed = manifest({**MANIFEST, "tasks": [{"name": name.replace("tasks", "jobs")} for name in names]})
    output = run("manifest", "sync", renamed, "--dry-run")
    assert output.count("did you mean") == 50


def test_without_a_running_worker_the_command_says_what_to_do(db):
    with pytest.raises(CommandError, match=r"No running worker told its manifest within .*or give a file"):
        run("manifest", "sync", "--live")


# -- manifest show ------------------------------------------------------------------------


def test_imported_manifests_are_listed(manifest, db):
    assert "No manifest was imported: manage.py dispatch manifest sync FILE." in run("manifest", "show")
    run("manifest", "sync", manifest())
    assert f"worker 0.1.0  {checksum(MANIFEST)}" in run("manifest", "show")
    [row] = json.loads(run("manifest", "show", "--format", "json"))
    assert (row["worker"], row["queues"]) == ("worker", MANIFEST["queues"])


# -- relay and results, once ----------------------------------------------------------------


def test_an_empty_outbox_is_relayed_and_collected_at_once(transactional_db):
    assert run("relay", "--once") == "0 messages published.\n"
    assert run("results", "--once") == "0 results handled.\n"


# -- databases that cannot be used -----------------------------------------------------------


def test_a_database_that_was_not_migrated_is_told_in_one_sentence():
    found = manage("relay", "--once")
    assert found.returncode != 0
    assert (
        found.stderr == "CommandError: The tables of dispatch are missing: run `manage.py migrate` first.\n"
    )


def test_a_database_that_cannot_be_reached_is_told_in_one_sentence(tmp_path):
    found = manage("manifest", "show", database=f"sqlite:///{tmp_path}/no/such/directory.sqlite3")
    assert found.returncode == 1
    assert found.stderr.startswith("CommandError: The database cannot be used: unable to open")


@pytest.mark.parametrize("command", ["relay", "results", "run"])
def test_a_process_whose_database_is_away_at_its_start_ends_and_says_so(command):
    found = manage(command, database="postgres://postgres@127.0.0.1:1/nowhere")
    assert found.returncode == 1
    assert found.stderr.startswith("CommandError: The database cannot be used: connection failed")
