"""``dispatch status``."""

from __future__ import annotations

import io
import json
import re
import socket

import pytest
from django.core.management import call_command, execute_from_command_line
from django.core.management.base import CommandError
from django.utils import timezone

from dispatch.management.subcommands import status
from dispatch.models import MinuteCount, Queue, TaskDefinition
from dispatch.outbox import PAUSED_TASK
from tests.support.processes import make_process
from tests.support.registry import make_registry, waiting

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh(broker_settings):
    broker_settings("memory://")


def run(*arguments):
    """Return the exit code, the output and the error."""
    output = io.StringIO()
    try:
        call_command("dispatch", "status", *arguments, stdout=output)
    except CommandError as error:
        return error.returncode, output.getvalue(), str(error)
    return 0, output.getvalue(), ""


def cells(line):
    """Return the cells of a line of a table."""
    return re.sub(r"\s\s+", ", ", line.strip())


def test_nothing_to_do_and_nobody_there_is_no_problem():
    code, text, _ = run()
    assert code == 0
    assert text == "No relay or collector has run.\n\nAll is well.\n"


def test_the_tables_show_processes_and_queues_with_what_was_done():
    make_registry()
    relay = make_process(seconds=3, errors={"llm": "The queue is full."})
    for outcome, number in {"published": 1_200, "failed": 3}.items():
        MinuteCount.objects.create(
            minute=timezone.now(), process=relay.pk, queue="llm", outcome=outcome, number=number
        )
    waiting("llm", seconds=90)
    waiting("llm", seconds=-90)
    code, text, _ = run()
    process, _, heading, default, llm = text.splitlines()[1:6]
    assert process.split()[:4] == ["relay", "alive", "web-1:7", "1.0"]
    assert re.search(r"  \d+ s ago  1,200 published, 3 failed attempts$", process)
    assert cells(heading) == (
        "QUEUE, BROKER, PENDING, CLAIMED, OLDEST DUE, PUBLISHED, A MINUTE, FAILED, PAUSED"
    )
    assert cells(default) == "default, default, 0, 0, 0, 0.0, 0"
    assert re.fullmatch(r"llm, default, 2, 0, 1 min \d\d s, 1200, 240\.0, 3", cells(llm))
    assert "llm: The queue is full." in text
    assert code == 0


def test_due_messages_without_a_relay_are_a_problem_after_a_while():
    waiting("llm", seconds=55)
    assert run()[0] == 0
    waiting("llm", seconds=65)
    code, text, error = run()
    assert (code, error) == (
        1,
        "No relay was seen for 1 min, and messages are due, the oldest for 1 min 5 s.",
    )
    assert "→ Start one: `manage.py dispatch relay`." in text
    assert run("--max-silence", "300")[0] == 0
    make_process(seconds=30, stopped_at=timezone.now())
    assert run()[0] == 0, "another may be about to start"


def test_the_silence_that_the_settings_allow_is_no_problem(broker_settings):
    broker_settings("memory://", RELAY_POLL_INTERVAL=600)
    make_process(seconds=300)
    waiting("llm", seconds=250)
    code, text, _ = run()
    assert code == 0
    assert "alive" in text


def test_messages_that_are_due_for_too_long_are_a_problem_though_a_relay_lives():
    make_process()
    waiting("llm", seconds=400)
    assert run()[2].startswith("Messages for queue 'llm' are due for 6 min ")
    assert run("--max-age", "600")[0] == 0


def test_what_waits_on_purpose_is_no_problem():
    make_registry()
    Queue.objects.filter(name="llm").update(paused=True)
    waiting("llm", seconds=86_400)
    waiting(PAUSED_TASK, seconds=86_400)
    code, text, _ = run()
    assert code == 0
    assert "1 d" in text


def test_a_claim_of_a_task_that_is_gone_still_counts():
    TaskDefinition.objects.all().delete()
    waiting("gone", status="claimed", lease_token="0" * 32, lease_expires_at=timezone.now())
    assert [(q["queue"], q["claimed"]) for q in json.loads(run("--format", "json")[1])["queues"]] == [
        ("gone", 1)
    ]


def test_dead_messages_are_told_and_fail_no_probe():
    waiting("llm", status="dead")
    code, text, _ = run()
    assert code == 0
    assert "Dead messages: 1." in text


def test_results_that_nobody_collects_are_a_problem(broker_settings):
    waiting("llm", seconds=120, status="published")
    assert run()[0] == 0, "no result backend: nobody wants them"
    broker_settings("memory://", "redis://host/1")
    code, text, error = run()
    assert (code, error[:16]) == (1, "No collector was")
    assert "Results awaited: 1, the oldest for 2 min." in text
    make_process("collector")
    assert run()[0] == 0


def test_only_results_of_brokers_that_can_be_asked_are_awaited(broker_settings):
    broker_settings("memory://", brokers={"other": {"URL": "memory://", "RESULT_BACKEND": "redis://host/1"}})
    waiting("llm", seconds=120, status="published")
    assert run()[0] == 0
    waiting("far", seconds=120, status="published", ignore_result=True)
    assert run()[0] == 0


def test_counts_end_at_a_thousand(monkeypatch):
    monkeypatch.setattr("dispatch.health.MOST_COUNTED", 2)
    for _ in range(3):
        waiting("llm")
        waiting("llm", status="dead")
    text = run()[1]
    assert "Dead messages: 2+." in text
    assert "2+" in text.splitlines()[3]


def test_the_json_document_has_it_all():
    make_registry()
    make_process(errors={"llm": "The queue is full."})
    waiting("llm", seconds=400)
    code, text, _ = run("--format", "json")
    document = json.loads(text)
    assert (code, document["ok"], document["minutes"], document["counted_up_to"]) == (1, False, 5, 1_000)
    assert document.keys() == {
        "ok", "minutes", "counted_up_to", "processes", "queues", "dead", "awaited", "oldest_awaited", "problems",
    }  # fmt: skip
    assert [(each["kind"], each["subject"]) for each in document["problems"]] == [("overdue", "llm")]
    [process] = document["processes"]
    assert (process["kind"], process["state"], process["did"]) == ("relay", "alive", {})


def test_a_probe_asks_for_a_process_of_this_host_alone():
    make_process()
    code, _, error = run("--check", "relay")
    assert (code, error) == (1, f"No relay on {socket.gethostname()} was seen for 1 min.")
    make_process(host=socket.gethostname(), seconds=30)
    assert run("--check", "relay")[0] == 0
    assert run("--check", "collector")[0] == 1


def test_a_process_that_stopped_is_not_alive():
    make_process(host=socket.gethostname(), stopped_at=timezone.now())
    assert run("--check", "relay")[0] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--check", "worker"],
        ["--max-age", "long"],
        ["--max-age", "nan"],
        ["--max-silence", "-1"],
        ["--database", "none"],
    ],
)
def test_wrong_arguments_end_with_2(arguments):
    with pytest.raises(SystemExit) as caught:
        execute_from_command_line(["manage.py", "dispatch", "status", *arguments])
    assert caught.value.code == 2


def test_watch_looks_again_until_it_is_interrupted(monkeypatch):
    seconds = []

    def sleep(pause):
        seconds.append(pause)
        if len(seconds) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(status.time, "sleep", sleep)
    output = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        call_command("dispatch", "status", "--watch", stdout=output)
    assert output.getvalue().count("All is well.") == 2
    assert seconds == [status.EVERY] * 2


def test_on_a_terminal_each_look_begins_at_its_top(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(status.time, "sleep", interrupt)
    output = Terminal()
    with pytest.raises(KeyboardInterrupt):
        call_command("dispatch", "status", "--watch", stdout=output)
    assert output.getvalue().startswith("\x1b[H\x1b[JNo relay")
