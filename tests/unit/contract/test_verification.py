"""The registry against manifests and against running workers; real brokers are in tests/integration."""

from __future__ import annotations

import io
import json
import re
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from dispatch import contract
from dispatch.client.queue_state import State
from dispatch.client.worker_replies import Consumed
from dispatch.contract.verification import live_probe
from dispatch.core.manifest import read, sealed
from dispatch.exceptions import BrokerUnavailable, QueueUnavailable
from dispatch.models import (
    Manifest,
    OutboxMessage,
    Process,
    Queue,
    Route,
    TaskDefinition,
    Trigger,
    TriggerArgument,
)
from dispatch.triggers import code_triggers
from tests.support import routers
from tests.support.processes import make_process
from tests.support.registry import (
    ARGUMENTS,
    PARAMETERS,
    TASK,
    make_queue,
    make_registry,
    make_task,
    make_trigger,
    waiting,
)

OTHER = "worker.tasks.stt.transcribe"
PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "verify.md"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh(broker_settings, declared):
    """An empty memory broker, and no triggers but the test's own."""
    broker_settings("memory://")


@pytest.fixture
def registry():
    """Queues default and llm with one task, as the imported manifest of worker 1.0 has them."""
    task = make_registry()
    task.source, task.manifest = TaskDefinition.Source.MANIFEST, imported()
    task.save()
    return task


def imported(worker="worker", version="1.0", queues=("default", "llm"), offers=(TASK,)):
    entries = [{"name": name, "durable": True, "arguments": {}} for name in queues]
    return Manifest.objects.create(
        worker=worker, version=version, checksum=f"{worker}{version}", queues=entries, offers=list(offers)
    )


def task(name=TASK, parameters=PARAMETERS, **keys):
    return {"name": name, "description": "", "parameters": parameters, "returns": {}, "options": {},
            "deprecated": None, "sensitive": []} | keys  # fmt: skip


def document(*tasks, queues=("default", "llm"), worker="worker", version="2.0"):
    entries = [q if isinstance(q, dict) else {"name": q, "durable": True, "arguments": {}} for q in queues]
    body = {"manifest": 1, "worker": worker, "version": version, "queues": entries, "tasks": list(tasks)}
    return json.loads(sealed(body))


@pytest.fixture
def verify(tmp_path):
    """Return a function that verifies against documents, and returns what was found by id."""

    def run(*documents, arguments=()):
        for number, each in enumerate(documents):
            path = tmp_path / f"{number}.json"
            path.write_text(sealed(each), encoding="utf-8")
            arguments = (*arguments, "--manifest", str(path))
        output = io.StringIO()
        failed = False
        try:
            call_command("dispatch", "verify", *arguments, "--format", "json", stdout=output)
        except CommandError as error:
            failed = error.returncode == 1
        report = json.loads(output.getvalue())
        assert report["ok"] is not failed
        return {finding["id"]: finding for finding in report["findings"]}

    return run


def without(*names):
    """The task's parameters without these."""
    left = {name: each for name, each in PARAMETERS["properties"].items() if name not in names}
    positional = [name for name in PARAMETERS["x-positional"] if name in left]
    required = [name for name in PARAMETERS["required"] if name in left]
    return PARAMETERS | {"properties": left, "x-positional": positional, "required": required}


def enqueue(name=TASK, kwargs=ARGUMENTS, **columns):
    return OutboxMessage.objects.create(
        task_name=name, kwargs=json.dumps(kwargs), broker="default", **columns
    )


# -- agreement --------------------------------------------------------------------------------


def test_registry_and_worker_that_agree_pass(registry, verify):
    make_trigger(registry, "created")
    enqueue(queue="llm")
    assert verify() == {}, "against the manifest that was imported last"
    assert verify(document(task())) == {}


def test_without_any_word_of_a_worker_nothing_is_taken_for_good(verify):
    make_registry()
    assert verify().keys() == {"C043"}


def test_a_manifest_replaces_the_imported_one_of_its_worker_and_no_other(registry, verify):
    make_task(OTHER, queue=make_queue("stt"), manifest=imported("hearing", queues=["stt"], offers=[OTHER]))
    assert verify(document(task())) == {}
    assert verify(document(task(), worker="other", queues=[])).keys() == set()


# -- tasks, and what names them ---------------------------------------------------------------------


def test_a_task_that_its_worker_no_longer_offers_is_told_with_what_may_be_its_new_name(registry, verify):
    found = verify(document(task("worker.tasks.llm.summarise_note")))
    assert found["C004"]["subject"] == TASK
    assert found["C004"]["severity"] == "error"
    assert "but worker 2.0 does not offer it" in found["C004"]["sentence"]
    assert "did you mean 'worker.tasks.llm.summarise_note'?" in found["C004"]["sentence"]
    assert found["C005"]["subject"] == "worker.tasks.llm.summarise_note"
    assert found["C005"]["severity"] == "warning"
    assert found.keys() == {"C004", "C005"}


def test_what_moved_to_another_worker_is_still_offered(registry, verify):
    assert verify(document(queues=["default"]), document(task(), worker="second", queues=["llm"])) == {}


def test_triggers_routes_and_messages_of_a_task_nobody_offers_are_told(registry, verify):
    make_trigger(registry, "created", name="Summarise notes")
    Route.objects.create(
        position=9, pattern="worker.tasks.llm.sumarize_note", kind="exact", queue=Queue.objects.first()
    )
    enqueue()
    enqueue()
    found = verify(document())
    assert found["C001"]["subject"] == "Summarise notes"
    assert f"'{TASK}', which worker 2.0 does not offer" in found["C001"]["sentence"]
    assert "is not registered" in found["C002"]["sentence"]
    assert "2 messages wait" in found["C003"]["sentence"]


def test_a_trigger_in_code_with_a_misspelt_task_is_told(registry, verify):
    code_triggers.declared[1] = SimpleNamespace(
        name="app.tasks.summarise", task="worker.tasks.llm.sumarize_note", options={}
    )
    found = verify()["C001"]
    assert found["subject"] == "app.tasks.summarise"
    assert f"is not registered (did you mean '{TASK}'?)" in found["sentence"]


def test_a_retired_task_is_no_drift_until_something_names_it(registry, verify):
    registry.retired_at, registry.retired_version = timezone.now(), "2.0"
    registry.save()
    Route.objects.all().delete()
    Manifest.objects.all().delete()
    imported(version="2.0", queues=["default"], offers=[])
    assert verify() == {}
    trigger = make_trigger(registry, "created")
    found = verify()["C001"]["sentence"]
    assert re.search(r"was retired on \d{4}-\d\d-\d\d, when .*2\.0", found), found
    Trigger.objects.filter(pk=trigger.pk).update(enabled=False)
    assert verify() == {}
    enqueue()
    assert "C003" in verify()
    assert "was retired" in verify(document(task()))["C005"]["sentence"], "it is back, and must be imported"


def test_a_task_registered_by_hand_that_nobody_offers_is_a_warning_and_a_trigger_of_it_an_error(
    registry, verify
):
    by_hand = make_task("worker.tasks.llm.sumarize_note")
    found = verify()
    assert found.keys() == {"C006"}
    assert f"did you mean '{TASK}'" in found["C006"]["sentence"]
    make_trigger(by_hand, "created")
    assert "C001" in verify()


def test_a_deprecated_task_is_a_warning_where_a_trigger_sends_it(registry, verify):
    deprecated = document(task(deprecated="use summarise_all"))
    assert verify(deprecated).keys() == {"C013"}
    make_trigger(registry, "created", name="Summarise notes")
    found = verify(deprecated)["C007"]
    assert found["severity"] == "warning"
    assert "deprecated: use summarise_all" in found["sentence"]
    TaskDefinition.objects.update(deprecated="")
    assert "which is deprecated." in verify()["C007"]["sentence"]


# -- what both say of a task ------------------------------------------------------------------------


def test_a_dropped_parameter_is_named_with_the_triggers_and_messages_it_breaks(registry, verify):
    make_trigger(registry, "created", name="Summarise notes")
    enqueue()
    found = verify(document(task(parameters=without("text"))))
    assert "parameter 'text' is gone" in found["C011"]["sentence"]
    assert found["C008"]["subject"] == "Summarise notes"
    assert "it gives 'text', which the task does not take" in found["C008"]["sentence"]
    assert "1 message waits" in found["C009"]["sentence"]
    assert "unknown argument 'text'" in found["C009"]["sentence"]


def test_messages_that_fitted_before_the_last_import_are_told_too(registry, verify):
    enqueue()
    TaskDefinition.objects.update(parameters=without("text"))
    found = verify()
    assert found.keys() == {"C009"}
    assert "that worker 1.0 would refuse" in found["C009"]["sentence"]


def test_new_names_are_looked_for_fifty_times_at_the_most(registry):
    names = [f"worker.tasks.task_{number}" for number in range(60)]
    manifest = imported(version="1.1", offers=names)
    rows = [TaskDefinition(name=name, source="manifest", manifest=manifest) for name in names]
    TaskDefinition.objects.bulk_create(rows)
    renamed = read(sealed(document(*(task(name.replace("tasks", "jobs")) for name in names))))
    found = contract.verify("default", [("manifest.json", renamed)]).findings
    gone = [finding.sentence for finding in found if finding.id == "C004"]
    assert len(gone) >= 60
    assert 40 < sum("did you mean" in sentence for sentence in gone) <= 50


@pytest.mark.parametrize("marked_by", ["the worker", "the operator"])
def test_values_of_sensitive_parameters_are_not_quoted(registry, verify, marked_by):
    make_trigger(registry, "created", name="Summarise notes")
    TriggerArgument.objects.filter(parameter="text").update(source="constant", value='"hunter2"')
    enqueue(kwargs=ARGUMENTS | {"text": "hunter2"})
    if marked_by == "the operator":
        TaskDefinition.objects.update(sensitive_parameters=["text"])
    narrower = PARAMETERS["properties"] | {"text": {"type": "integer"}}
    sensitive = ["text"] if marked_by == "the worker" else []
    found = verify(document(task(parameters=PARAMETERS | {"properties": narrower}, sensitive=sensitive)))
    assert {"C008", "C009"} <= found.keys()
    assert "hunter2" not in str(found)


def test_a_trigger_that_lacks_a_parameter_is_named(registry, verify):
    make_trigger(registry, "created")
    found = verify(document(task(parameters=PARAMETERS | {"required": ["note_id", "text", "sentences"]})))
    assert "it does not give 'sentences', which is required" in found["C008"]["sentence"]


def test_a_new_optional_parameter_is_a_warning(registry, verify):
    more = PARAMETERS["properties"] | {"language": {"type": "string"}}
    found = verify(document(task(parameters=PARAMETERS | {"properties": more})))
    assert found.keys() == {"C012"}
    assert "parameter 'language' is new" in found["C012"]["sentence"]


def test_other_options_and_return_values_are_a_warning(registry, verify):
    found = verify(document(task(options={"rate_limit": "10/m"}, returns={"type": "string"})))
    assert found.keys() == {"C013"}
    assert found["C013"]["sentence"].endswith(": return value, options.")


def test_a_sensitive_parameter_that_is_not_masked_is_an_error(registry, verify):
    found = verify(document(task(sensitive=["text"])))
    assert found.keys() == {"C014"}
    assert "'text'" in found["C014"]["sentence"]
    TaskDefinition.objects.update(sensitive_parameters=["note_id", "text"])
    assert verify(document(task(sensitive=["text"]))) == {}, "the operator may mask more"


def test_a_definition_that_was_spoilt_is_a_finding_and_no_traceback(registry, verify):
    make_trigger(registry, "created")
    enqueue()
    TaskDefinition.objects.update(parameters=[1])
    found = verify(document(task()))
    assert found.keys() == {"C015"}
    assert "Its definition cannot be used" in found["C015"]["sentence"]


# -- routes ------------------------------------------------------------------------------------------


def test_a_route_behind_another_that_takes_all_its_tasks_is_told(registry, verify):
    Route.objects.create(
        position=9, pattern="worker.tasks.llm.summarize_note", kind="exact", queue=Queue.objects.first()
    )
    found = verify()
    assert found.keys() == {"C021"}
    assert f"route 'worker.tasks.llm.*' (glob) before it takes {TASK}" in found["C021"]["sentence"]
    Route.objects.filter(kind="exact").update(position=0)
    Route.objects.filter(kind="glob").update(position=1)
    found = verify()["C021"]
    assert found["subject"] == "worker.tasks.llm.*", "and so is a pattern that an exact name leaves nothing"


def test_a_route_that_matches_no_task_is_told_unless_it_is_disabled(registry, verify):
    Route.objects.create(pattern="wroker.tasks.llm.*", kind="glob", queue=Queue.objects.first())
    found = verify()
    assert found.keys() == {"C022"}
    Route.objects.filter(pattern="wroker.tasks.llm.*").update(enabled=False)
    assert verify() == {}


def test_what_a_router_callable_decides_is_passed_over(registry, verify, settings):
    settings.DISPATCH = {**settings.DISPATCH, "ROUTERS": routers.ROUTERS}
    Route.objects.update(position=9)
    Route.objects.create(position=1, pattern=routers.BY_LENGTH, kind="callable")
    make_queue("long")
    assert verify(document(task(), queues=["default", "llm", "long"])) == {}


def test_a_router_callable_that_cannot_be_used_is_told(registry, verify):
    Route.objects.create(pattern="no.such.router", kind="callable")
    found = verify()
    assert found.keys() == {"C024"}
    assert "not listed" in found["C024"]["sentence"]


def test_a_route_that_takes_too_long_is_told(registry, verify):
    make_task("w" * 254 + "!")
    Route.objects.create(pattern="(w|ww)+$", kind="regex", queue=Queue.objects.first())
    assert "is left out: '(w|ww)+$' can take too long" in verify()["C024"]["sentence"]


def test_a_task_without_a_destination_is_told(registry, verify):
    Queue.objects.update(is_default=False)
    Route.objects.all().delete()
    found = verify()
    assert {"C023", "C034"} >= found.keys() > {"C034"}
    assert found["C023"]["subject"] == TASK


# -- queues ------------------------------------------------------------------------------------------


def test_a_queue_with_tasks_that_no_worker_consumes_is_told(registry, verify):
    found = verify(document(task(), queues=["default"]))
    assert found.keys() == {"C031"}
    assert f"wait for ever: task {TASK}." in found["C031"]["sentence"]
    assert "worker-command llm" in found["C031"]["remedy"]
    Queue.objects.update(paused=True)
    assert verify(document(task(), queues=["default"])) == {}, "nothing is published to a paused queue"


def test_a_task_that_is_switched_off_wants_no_consumer(registry, verify):
    TaskDefinition.objects.update(enabled=False)
    assert verify(document(task(), queues=["default"])) == {}


def test_a_queue_that_only_a_trigger_or_a_waiting_message_names_wants_a_consumer_too(registry, verify):
    extra = make_queue("extra")
    assert verify() == {}
    enqueue(queue="extra")
    assert "1 waiting message" in verify()["C031"]["sentence"]
    OutboxMessage.objects.all().delete()
    trigger = make_trigger(registry, "created", queue=extra)
    assert f"task {TASK}" in verify()["C031"]["sentence"]
    trigger.delete()
    code_triggers.declared[1] = SimpleNamespace(name="app.f", task=TASK, options={"queue": "extra"})
    assert "C031" in verify()


def test_a_queue_consumed_by_a_worker_that_does_not_know_its_tasks_is_told(registry, verify):
    found = verify(document(task()), document(task(OTHER), worker="hearing", queues=["llm"]))
    assert "is consumed by hearing 2.0, which does not know" in found["C032"]["sentence"]
    assert TASK in found["C032"]["sentence"]


def test_a_consumed_queue_that_the_registry_does_not_have_is_told(registry, verify):
    found = verify(document(task(), queues=["default", "llm", "lmm"]))
    assert found.keys() == {"C033"}
    assert "and is not in the registry (did you mean 'llm'?)" in found["C033"]["sentence"]


def test_a_consumed_queue_without_a_route_is_told_unless_it_is_the_default_one(registry, verify):
    make_queue("idle")
    found = verify(document(task(), queues=["default", "llm", "idle"]))
    assert (found.keys(), found["C034"]["subject"]) == ({"C034"}, "idle")
    assert (
        verify(document(task(), queues=["default", "llm", "idle"]), arguments=("--ignore", "C034:idle")) == {}
    )


def test_a_queue_declared_otherwise_is_told_with_both_declarations(registry, verify):
    llm = {"name": "llm", "durable": False, "arguments": {"x-max-priority": 9}}
    found = verify(document(task(), queues=["default", llm]))
    assert found.keys() == {"C035"}
    assert 'arguments {"x-max-priority": 9}, not durable, the registry has no arguments' in (
        found["C035"]["sentence"].replace("'", '"')
    )


# -- workers -----------------------------------------------------------------------------------------


def test_two_manifests_of_one_worker_are_held_against_each_other(registry, verify):
    found = verify(document(task()), document(task(), version="3.0"))
    assert found.keys() == {"C041"}
    found = verify(document(task()), document(task(options={"priority": 1})))
    assert TASK in found["C042"]["sentence"]


# -- live --------------------------------------------------------------------------------------------


@pytest.fixture
def fleet(monkeypatch):
    """Return a function that sets what runs: worker → (its answer to `manifest`, queues, names of tasks)."""

    @contextmanager
    def opened(broker):
        yield SimpleNamespace(broker=broker, has_exchanges=False, kind="memory")

    def running(**workers):
        consumed = {
            name: [each if isinstance(each, Consumed) else Consumed(each, own=False) for each in entry[1]]
            for name, entry in workers.items()
        }
        answers = {name: entry[0] for name, entry in workers.items() if entry[0] is not None}
        names = {name: frozenset(entry[2]) for name, entry in workers.items() if len(entry) > 2}
        monkeypatch.setattr(live_probe.queue_state, "opened", opened)
        monkeypatch.setattr(live_probe.worker_control, "consumed", lambda link: consumed)
        monkeypatch.setattr(live_probe.worker_control, "manifests", lambda link, hosts: answers)
        monkeypatch.setattr(live_probe.worker_control, "registered", lambda link, hosts: names)

    return running


@pytest.fixture
def live(verify):
    return lambda *documents: verify(*documents, arguments=("--live",))


def test_a_fleet_that_offers_what_is_registered_passes(registry, fleet, live):
    fleet(a=(document(task()), ["llm"]), b=(document(task()), ["default", Consumed("bcast.1", own=True)]))
    assert live() == {}


def test_only_what_runs_counts_as_a_consumer(registry, fleet, live):
    fleet(a=(document(task(), queues=["default", "llm"]), ["default"]))
    assert live().keys() == {"C031"}
    fleet()
    found = live()
    assert found.keys() == {"C052"}
    assert "queue llm there" in found["C052"]["sentence"]


def test_running_workers_of_different_versions_are_told(registry, fleet, live):
    fleet(a=(document(task()), ["llm"]), b=(document(task(), version="3.0"), ["default"]))
    found = live()
    assert found.keys() == {"C041"}
    assert "2.0 (running as a), 3.0 (running as b)" in found["C041"]["sentence"]


def test_a_manifest_of_the_next_deployment_is_not_held_against_those_that_run(registry, fleet, live):
    fleet(a=(document(task()), ["default", "llm"]))
    assert live(document(task(), version="3.0")) == {}


@pytest.mark.parametrize("answer", [None, {"error": "KeyError('manifest')"}])
def test_a_worker_without_the_command_is_told_and_judged_by_names_and_queues(registry, fleet, live, answer):
    fleet(a=(answer, ["default", "llm"], [TASK]))
    found = live()
    assert found.keys() == {"C053"}
    fleet(a=(answer, ["default", "llm"], [OTHER]))
    found = live()
    assert found.keys() == {"C032", "C053"}
    assert "by a worker without a manifest (running as a)" in found["C032"]["sentence"]


def test_a_worker_that_says_why_it_cannot_tell_is_quoted(registry, fleet, live):
    fleet(a=({"error": "The app has no name"}, ["default", "llm"], [TASK]))
    assert "(The app has no name)" in live()["C053"]["sentence"]


@pytest.mark.parametrize("answer", [{"manifest": 9}, {}, {"manifest": 1, "checksum": "no"}])
def test_an_answer_that_is_no_manifest_is_a_finding(registry, fleet, live, answer):
    fleet(a=(answer, ["llm"], [TASK]), b=(document(task()), ["default", "llm"]))
    assert live().keys() == {"C054"}


def test_workers_of_others_on_the_same_broker_are_left_alone(registry, fleet, live):
    theirs = document(task("their.task"), worker="theirs", queues=["their.queue"])
    fleet(
        a=(document(task()), ["default", "llm"]), theirs=(theirs, ["their.queue"]), plain=(None, ["x"], ["y"])
    )
    assert live() == {}


def test_a_broker_that_is_down_is_a_finding_and_hides_nothing_else(registry, live, monkeypatch):
    def down(broker):
        raise BrokerUnavailable("Broker 'default' cannot be reached: refused")

    monkeypatch.setattr(live_probe.queue_state, "opened", down)
    make_trigger(registry, "created")
    TaskDefinition.objects.update(deprecated="")
    found = live()
    assert found.keys() == {"C051", "C007"}
    assert found["C051"]["sentence"] == "Broker 'default' cannot be reached: refused"


def test_a_queue_of_an_alias_that_the_settings_do_not_have_is_a_finding(registry, fleet, live):
    make_queue("elsewhere", broker="defalt")
    fleet(a=(document(task()), ["default", "llm"]))
    assert "no broker 'defalt' (did you mean 'default'?)" in live()["C051"]["sentence"]


def test_what_the_broker_holds_otherwise_or_does_not_show_is_told(registry, fleet, live, monkeypatch):
    def state(link, table, queue):
        if queue.name == "default":
            raise QueueUnavailable("Broker 'default' refuses: ACCESS_REFUSED")
        return State(0, 0, drift="inequivalent arg")

    @contextmanager
    def opened(broker):
        yield SimpleNamespace(broker=broker, has_exchanges=True, kind="amqp")

    fleet(a=(document(task()), ["default", "llm"]))
    monkeypatch.setattr(live_probe.queue_state, "opened", opened)
    monkeypatch.setattr(live_probe.queue_state, "state", state)
    found = live()
    assert found.keys() == {"C036", "C037"}
    assert "inequivalent arg" in found["C036"]["sentence"]


def test_a_consumer_that_only_the_broker_knows_is_one(registry, fleet, live, monkeypatch):
    @contextmanager
    def opened(broker):
        yield SimpleNamespace(broker=broker, has_exchanges=True, kind="amqp")

    fleet(a=(document(task()), ["default"]))
    monkeypatch.setattr(live_probe.queue_state, "opened", opened)
    monkeypatch.setattr(live_probe.queue_state, "state", lambda *_: State(0, 1))
    assert live() == {}


# -- the command -------------------------------------------------------------------------------------


def run(*arguments):
    output = io.StringIO()
    try:
        call_command("dispatch", "verify", *arguments, stdout=output)
    except CommandError as error:
        return error.returncode, output.getvalue(), str(error)
    return 0, output.getvalue(), ""


def test_the_text_names_what_was_compared_what_was_found_and_what_to_do(registry):
    make_queue("idle")
    Manifest.objects.update(queues=[{"name": "idle", "durable": True, "arguments": {}}])
    status, text, error = run()
    assert (status, error) == (1, "Registry and workers disagree: 2 errors, 0 warnings.")
    assert re.match(r"Compared with:\n  worker 1\.0 \(imported \d{4}-", text)
    assert "\nC031  error    llm\n      No worker consumes queue 'llm'" in text
    assert "\n      → Start a worker (`manage.py dispatch worker-command llm`)" in text
    assert text.index("C031") < text.index("C034")
    assert max(map(len, text.splitlines())) <= 120


def test_agreement_is_said_in_a_line_and_ends_with_0(registry):
    status, text, _ = run()
    assert status == 0
    assert text.splitlines()[-1] == "Registry and workers agree: 0 errors, 0 warnings."


def test_warnings_fail_only_where_that_is_asked_for(registry):
    make_trigger(registry, "created")
    TaskDefinition.objects.update(deprecated="")
    assert run()[0] == 0
    assert run("--strict")[0] == 1
    status, text, _ = run("--strict", "--ignore", "C007")
    assert status == 0
    assert "1 ignored" in text


@pytest.mark.parametrize("text", ["{", "[]", '{"manifest": 7}', None])
def test_a_manifest_that_cannot_be_read_ends_with_2(registry, tmp_path, text):
    path = tmp_path / "manifest.json"
    if text is not None:
        path.write_text(text)
    status, _, error = run("--manifest", str(path))
    assert status == 2
    assert str(path) in error


def test_an_id_that_does_not_exist_cannot_be_ignored(registry):
    with pytest.raises(CommandError, match="'C999' is no finding"):
        call_command("dispatch", "verify", "--ignore", "C999")


def test_what_is_wrong_with_relay_collector_and_outbox_is_a_warning(registry, broker_settings):
    broker_settings("memory://", "redis://host/1")
    make_process("relay", seconds=300)
    waiting("llm", seconds=3_600, kwargs=json.dumps(ARGUMENTS))
    waiting("llm", seconds=3_600, status="published")
    waiting("llm", status="dead")
    found = contract.verify("default").findings
    assert [(each.id, each.severity, each.subject) for each in found] == [
        ("C061", "warning", "relay"),
        ("C063", "warning", "dead"),
        ("C064", "warning", "collector"),
    ]
    Process.objects.update(seen_at=timezone.now())
    [late, *_] = contract.verify("default").findings
    assert (late.id, late.subject) == ("C062", "llm")
    assert "due for 1 h" in late.sentence


# -- the page ----------------------------------------------------------------------------------------


def test_the_page_lists_every_kind_in_the_words_of_the_code():
    rows = re.findall(
        r"^\| `(C\d{3})` \| (\w+) \| (.+?) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert rows == [
        (kind.id, kind.severity, kind.title, kind.remedy.replace("{subject}", "NAME"))
        for kind in contract.KINDS
    ]


def test_ids_are_unique_and_in_order():
    ids = [kind.id for kind in contract.KINDS]
    assert ids == sorted(set(ids))
