from __future__ import annotations

import io
import json
import shlex
import sys

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from kombu.transport import memory

from dispatch import health, queues
from dispatch.client.worker_replies import Consumed
from dispatch.exceptions import BrokerUnavailable, ConfigurationError, QueueUnavailable
from dispatch.management.subcommands.output import table
from dispatch.models import Exchange, Manifest, Queue, Route, TaskDefinition
from dispatch.queues import operations, worker_commands, worker_sync
from tests.support.registry import TASK, make_queue, make_registry, waiting

OTHER_TASK = "worker.tasks.stt.transcribe_audio"


@pytest.fixture(autouse=True)
def fresh(broker_settings, db):
    memory.Channel.queues.clear()
    memory.Transport.global_state.clear()
    broker_settings("memory://", BROKER_TIMEOUT=0.05)


def run(*arguments):
    output = io.StringIO()
    call_command("dispatch", *arguments, stdout=output, stderr=output)
    return output.getvalue()


def put(queue, *bodies):
    store = memory.Channel.queues.setdefault(queue, memory.Queue())
    for body in bodies:
        store.put(body)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def answer(monkeypatch):
    """Return a function that lets somebody type a line at a terminal."""
    return lambda text: monkeypatch.setattr(sys, "stdin", Terminal(f"{text}\n"))


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action", ["declare", "delete", "purge", "peek", "pause", "resume", "apply", "worker-command"]
)
def test_an_unknown_queue_is_refused_with_close_matches_before_anything_is_done(action):
    make_registry()
    arguments = [action] if action == "worker-command" else ["queues", action]
    names = ["lml"] if action == "peek" else ["default", "lml"]
    with pytest.raises(CommandError, match=r"No queue 'lml' in the registry \(did you mean 'llm'\?\)"):
        run(*arguments, *names)
    assert not Queue.objects.filter(paused=True).exists()


def test_a_queue_named_twice_is_worked_on_once():
    make_queue("llm")
    assert run("queues", "pause", "llm", "llm") == "llm: paused\n"


# -- asking -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["delete", "purge"])
def test_without_a_terminal_a_destructive_command_wants_yes(action, monkeypatch):
    make_queue("llm")
    put("llm", "1", "2")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(
        CommandError, match=r"queue 'llm' with 2 messages\? Nobody is here to answer: add --yes"
    ):
        run("queues", action, "llm")
    assert memory.Channel.queues["llm"].qsize() == 2


@pytest.mark.parametrize("word", ["", "n", "no", "x"])
def test_whoever_does_not_say_yes_keeps_the_messages(word, answer):
    make_queue("llm")
    put("llm", "1")
    answer(word)
    assert "Throw away the messages of queue 'llm' with 1 message? [y/N]" in run("queues", "purge", "llm")
    assert memory.Channel.queues["llm"].qsize() == 1


@pytest.mark.parametrize("word", ["y", "Y", "yes"])
def test_whoever_says_yes_loses_them(word, answer):
    make_queue("llm")
    put("llm", "1")
    answer(word)
    assert "llm: purged, 1 message gone" in run("queues", "purge", "llm")


def test_the_question_leaves_standard_output_to_the_machine(answer):
    make_queue("llm")
    answer("y")
    output = io.StringIO()
    call_command(
        "dispatch", "queues", "purge", "llm", "--format", "json", stdout=output, stderr=io.StringIO()
    )
    assert json.loads(output.getvalue()) == [{"queue": "llm", "done": "purged", "error": "", "messages": 0}]


def test_a_broker_lost_on_the_way_is_not_asked_again_for_each_queue_that_is_left(monkeypatch):
    asked = []

    def purge(link, queue):
        asked.append(queue.name)
        raise BrokerUnavailable("Broker 'default' was lost: gone")

    monkeypatch.setattr(operations.queue_admin, "purge", purge)
    for name in ("a", "b", "c"):
        make_queue(name)
    assert [outcome.error for outcome in queues.purge(["a", "b", "c"])] == [
        "Broker 'default' was lost: gone"
    ] * 3
    assert asked == ["a"]


# -- pause and resume -------------------------------------------------------------------------------


def test_pausing_and_resuming_change_the_row_and_say_what_was_so_already():
    make_queue("llm")
    make_queue("stt", paused=True)
    assert run("queues", "pause", "llm", "stt") == "llm: paused\nstt: was paused already\n"
    assert Queue.objects.filter(paused=True).count() == 2
    assert run("queues", "resume", "llm") == "llm: resumed\n"
    assert run("queues", "resume", "llm") == "llm: was not paused\n"


def test_a_paused_queue_is_seen_as_such_at_once():
    from dispatch import registry

    make_queue("llm")
    assert registry.current().paused == frozenset()
    run("queues", "pause", "llm")
    assert registry.current().paused == {"llm"}


# -- peek -------------------------------------------------------------------------------------------


def test_a_broker_that_cannot_show_messages_says_so():
    make_queue("llm")
    with pytest.raises(
        CommandError, match=r"cannot show messages without taking them away; Redis and RabbitMQ"
    ):
        run("queues", "peek", "llm")


@pytest.mark.parametrize("limit", ["0", "-1", "x"])
def test_a_limit_is_a_number_from_one(limit):
    with pytest.raises(CommandError, match="--limit"):
        run("queues", "peek", "llm", "--limit", limit)


# -- list -------------------------------------------------------------------------------------------


def test_an_empty_registry_is_said_in_words():
    assert run("queues", "list") == "The registry has no queue.\n"
    assert json.loads(run("queues", "list", "--format", "json")) == []


def test_queues_are_listed_by_name_with_the_default_and_the_paused_one_marked():
    make_queue("b", is_default=True)
    make_queue("a", paused=True)
    put("a", "1")
    *lines, empty, note = run("queues", "list").splitlines()
    assert (empty, note.partition(":")[0]) == ("", "a, b")
    assert "No worker answered within 0.05 s" in note
    assert lines == [
        "QUEUE  BROKER   READY  CONSUMERS  WAITING  PAUSED  DEFAULT  STATE",
        "a      default      1          ?        0  yes              ok",
        "b      default      0          ?        0          yes      ok",
    ]


# -- tables -----------------------------------------------------------------------------------------


def test_columns_are_aligned_numbers_to_the_right():
    rows = [{"name": "a", "count": 5}, {"name": "long", "count": None}, {"name": "b", "count": 12345}]
    assert table(rows) == ["NAME  COUNT", "a         5", "long      ?", "b     12345"]


def test_what_a_stranger_wrote_cannot_steer_the_terminal():
    assert table([{"name": "\x1b[2Jx\ny"}]) == ["NAME", "\\x1b[2Jx\\ny"]


def test_what_waits_in_the_outbox_is_counted_to_a_bound_and_the_list_says_so(broker_settings, monkeypatch):
    broker_settings("memory://")
    make_registry()
    waiting("llm"), waiting("llm"), waiting("llm", status="dead")
    monkeypatch.setattr(health, "MOST_COUNTED", 2)
    lines = {line.queue: line.waiting for line in queues.overview("default")}
    assert lines == {"default": 0, "llm": 2}
    assert "2+" in run("queues", "list")


# -- worker-command -----------------------------------------------------------------------------------


def test_a_command_is_printed_per_broker(broker_settings):
    broker_settings("memory://", brokers={"media": {"URL": "redis://elsewhere"}})
    for name in ("llm", "default"):
        make_queue(name)
    make_queue("video", broker="media")
    assert run("worker-command").splitlines() == [
        "# broker 'default'",
        "celery -A worker worker -Q default,llm -n default@%h",
        "# broker 'media'",
        "BROKER_ALIAS=media celery -A worker worker -Q video -n media@%h",
    ]


def test_only_the_named_queues_are_printed_in_a_node_named_after_them():
    for name in ("llm", "stt", "default"):
        make_queue(name)
    [launch] = json.loads(run("worker-command", "stt", "llm", "--format", "json"))
    assert launch == {
        "broker": "default",
        "queues": ["stt", "llm"],
        "command": "celery -A worker worker -Q stt,llm -n stt-llm@%h",
    }


def test_two_long_names_that_begin_alike_do_not_make_one_node():
    """RabbitMQ does not let a second worker of a name start."""
    names = [f"{'a-long-name-' * 4}{number}" for number in range(2)]
    for name in names:
        make_queue(name)
    nodes = {queues.launches([name])[0].command.rpartition(" ")[2].partition("@")[0] for name in names}
    assert len(nodes) == 2
    assert all(len(node) == worker_commands.LONGEST_NODE_NAME for node in nodes)


def test_a_broadcast_is_consumed_by_every_worker_of_its_broker(broker_settings):
    broker_settings("memory://", brokers={"media": {"URL": "redis://elsewhere"}})
    make_registry()
    make_queue("video", broker="media")
    Exchange.objects.create(name="news", type="fanout")
    explained = run("routes", "explain", TASK, "--exchange", "news", "--offline")
    assert "Consumed by:\ncelery -A worker worker -Q default,llm -n default@%h" in explained
    assert "video" not in explained


def test_names_are_quoted_for_the_shell_and_for_celery():
    make_queue("it's; rm %h")
    [launch] = queues.launches(None)
    assert shlex.split(launch.command)[5] == "it's; rm %h"
    [launch] = queues.launches(["it's; rm %h"])
    assert shlex.split(launch.command)[7] == "it-s--rm--h@%h"


def test_a_name_that_celery_would_split_is_refused():
    make_queue("a,b")
    with pytest.raises(ConfigurationError, match="comma"):
        queues.launches(None)


def test_the_app_is_the_manifests_unless_it_is_named():
    make_queue("llm")
    Manifest.objects.create(worker="media_worker", checksum="1")
    assert "celery -A media_worker worker" in run("worker-command")
    assert "celery -A other worker" in run("worker-command", "--app", "other")
    Manifest.objects.create(worker="second", checksum="2")
    assert "celery -A worker worker" in run("worker-command")


# -- apply: the plan ------------------------------------------------------------------------------------


@pytest.fixture
def fleet(monkeypatch):
    """Return a function that sets what runs: worker → (queues it consumes, tasks it knows)."""

    def running(**workers):
        consumed = {name: [_entry(queue) for queue in entry[0]] for name, entry in workers.items()}
        tasks = {name: frozenset(entry[1]) for name, entry in workers.items()}
        monkeypatch.setattr(worker_sync.worker_control, "consumed", lambda link: consumed)
        monkeypatch.setattr(
            worker_sync.worker_control,
            "registered",
            lambda link, names: {name: tasks[name] for name in names},
        )

    return running


def _entry(queue):
    return queue if isinstance(queue, Consumed) else Consumed(queue, own=False)


@pytest.fixture
def registry_of_two():
    """Queues default, llm and stt, each of the last two with a task routed to it."""
    make_registry()
    Route.objects.create(pattern="worker.tasks.stt.*", kind="glob", queue=make_queue("stt"))
    TaskDefinition.objects.create(name=OTHER_TASK)


def steps(*arguments, **options):
    return [(step.worker, step.action, step.queue) for step in queues.plan(*arguments, **options).steps]


def test_a_queue_nobody_consumes_goes_to_each_worker_that_knows_all_its_tasks(fleet, registry_of_two):
    fleet(a=(["default"], [TASK]), b=([], [OTHER_TASK, TASK]), c=(["llm"], [OTHER_TASK]))
    assert steps() == [("b", "consume", "stt"), ("c", "consume", "stt")]


def test_a_queue_without_tasks_goes_to_every_worker_of_ours(fleet, registry_of_two):
    fleet(a=(["llm", "stt"], [TASK]), b=([], [OTHER_TASK]))
    assert steps() == [("a", "consume", "default"), ("b", "consume", "default")]


def test_a_queue_that_the_registry_does_not_have_is_left(fleet, registry_of_two):
    put("old", "1", "2", "3")
    fleet(a=(["default", "llm", "stt", "old"], [TASK, OTHER_TASK]))
    [step] = queues.plan().steps
    assert (step.worker, step.action, step.queue, step.messages) == ("a", "leave", "old", 3)


def test_a_queue_of_a_workers_own_is_not_left(fleet, registry_of_two):
    fleet(a=(["default", "llm", "stt", Consumed("bcast.1", own=True)], [TASK]))
    assert steps() == []


def test_a_worker_that_knows_no_task_of_the_registry_is_left_alone(fleet, registry_of_two):
    fleet(a=(["default", "llm", "stt"], [TASK]), stranger=(["theirs"], ["other.task"]))
    plan = queues.plan()
    assert plan.steps == []
    assert plan.notes == ["Worker 'stranger' knows no task of the registry, and is left alone."]
    assert steps(worker="stranger") == []


def test_a_queue_no_worker_can_serve_is_a_problem(fleet, registry_of_two):
    fleet(a=(["default", "llm"], [TASK]))
    plan = queues.plan()
    assert plan.steps == []
    assert plan.problems == [f"Queue 'stt' finds no worker that knows all of its tasks: {OTHER_TASK}."]


def test_a_named_queue_goes_also_to_workers_beside_the_one_that_has_it(fleet, registry_of_two):
    fleet(a=(["default", "llm", "stt"], [TASK, OTHER_TASK]), b=(["old"], [TASK]))
    assert steps(["llm"]) == [("b", "consume", "llm")]


def test_only_the_named_worker_is_told_anything(fleet, registry_of_two):
    fleet(a=(["default", "llm", "old"], [OTHER_TASK]), b=(["old"], [OTHER_TASK]))
    assert steps(worker="b") == [("b", "consume", "stt"), ("b", "leave", "old")]


def test_a_worker_that_does_not_run_is_an_error_with_those_that_do(fleet, registry_of_two):
    fleet(**{"celery@one": (["default"], [TASK])})
    with pytest.raises(ConfigurationError, match=r"No worker 'celery@on' .*did you mean 'celery@one'"):
        queues.plan(worker="celery@on")


def test_two_aliases_of_one_broker_do_not_take_each_others_queues_for_gone(
    fleet, registry_of_two, broker_settings
):
    broker_settings("memory://", brokers={"again": {"URL": "memory://"}})
    make_queue("video", broker="again")
    fleet(a=(["default", "llm", "stt", "video"], [TASK]))
    assert steps() == []


def test_a_broker_that_is_down_is_a_problem_and_the_others_are_looked_at(
    fleet, registry_of_two, broker_settings
):
    broker_settings("memory://", brokers={"away": {"URL": "redis://127.0.0.1:1"}})
    make_queue("video", broker="away")
    fleet(a=(["default", "llm"], [TASK, OTHER_TASK]))
    plan = queues.plan()
    assert [step.queue for step in plan.steps] == ["stt"]
    assert len(plan.problems) == 1
    assert "Broker 'away' cannot be reached" in plan.problems[0]


def test_a_broker_that_refuses_the_question_is_a_problem_and_no_error(registry_of_two, monkeypatch):
    def refuse(link, *args):
        raise QueueUnavailable("Broker 'default' refuses: no mailbox for you")

    monkeypatch.setattr(worker_sync.worker_control, "consumed", refuse)
    assert queues.plan().problems == ["Broker 'default' refuses: no mailbox for you"]
    assert {line.seen.state for line in queues.overview("default")} == {"down"}


# -- apply: the command -----------------------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch):
    """Return what the workers were told."""
    log = []

    def consume(link, table, queue, worker):
        if worker == "bad":
            raise QueueUnavailable("Worker 'bad' refuses: it is asleep")
        log.append((worker, queue.name))

    monkeypatch.setattr(worker_sync.worker_control, "consume", consume)
    monkeypatch.setattr(
        worker_sync.worker_control, "leave", lambda link, queue, worker: log.append((worker, queue))
    )
    monkeypatch.setattr(worker_sync.worker_control, "renew_pool", lambda link, worker: worker != "old")
    return log


def test_the_difference_is_shown_and_nothing_told_without_consent(
    fleet, registry_of_two, told, answer, monkeypatch
):
    fleet(a=(["default", "llm"], [TASK, OTHER_TASK]))
    answer("n")
    assert "a       + consume  stt    default         0" in run("queues", "apply")
    assert "+ consume" in run("queues", "apply", "--dry-run")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(CommandError, match="Nobody is here to answer"):
        run("queues", "apply")
    assert told == []


def test_one_worker_that_refuses_does_not_keep_the_others_from_it_and_fails_the_command(
    fleet, registry_of_two, told
):
    fleet(bad=(["default", "llm"], [OTHER_TASK]), good=([], [OTHER_TASK]))
    output = io.StringIO()
    with pytest.raises(CommandError, match="could not all be brought into step"):
        call_command(
            "dispatch", "queues", "apply", "--yes", "--format", "json", stdout=output, stderr=io.StringIO()
        )
    document = json.loads(output.getvalue())
    assert document["applied"] is True
    assert [step["error"] for step in document["steps"]] == ["Worker 'bad' refuses: it is asleep", ""]
    assert told == [("good", "stt")]


def test_a_worker_that_keeps_its_processes_is_named(fleet, registry_of_two, told):
    fleet(old=(["default", "llm"], [OTHER_TASK]), new=([], [OTHER_TASK]))
    text = run("queues", "apply", "--yes")
    assert "Worker 'old' keeps its processes" in text
    assert "Worker 'new' keeps" not in text


def test_where_all_is_well_nothing_is_done(fleet, registry_of_two, told):
    fleet(a=(["default", "llm", "stt"], [TASK]))
    assert run("queues", "apply") == "Nothing to do: the running workers consume what the registry has.\n"
