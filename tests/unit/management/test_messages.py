"""``manage.py dispatch messages``, as an operator uses it."""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import uuid

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone
from django_celery_results.models import TaskResult

from dispatch.api import Call, send_chain, send_task
from dispatch.management.subcommands import message_changes
from dispatch.models import OutboxMessage, TaskDefinition
from dispatch.outbox import Origin, lifecycle
from tests.support.odd_values import ODD_ROWS, write
from tests.support.old_messages import message
from tests.support.registry import ARGUMENTS, TASK, dead_message, make_queue, make_registry, make_task

pytestmark = pytest.mark.django_db
OTHER = "worker.tasks.other"


@pytest.fixture(autouse=True)
def registry(broker_settings, db):
    broker_settings("memory://", BROKER_TIMEOUT=0.1)
    make_registry()
    make_task(OTHER, queue=make_queue("other"))


def run(*arguments):
    output = io.StringIO()
    call_command("dispatch", "messages", *map(str, arguments), stdout=output)
    return output.getvalue()


def answer(*arguments):
    return json.loads(run(*arguments, "--format", "json"))


def refusal(*arguments):
    """What a command says that fails, and its exit code."""
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    return str(caught.value), caught.value.returncode


def status(pk):
    return OutboxMessage.objects.get(pk=pk).status


# -- list ------------------------------------------------------------------------------------------


def test_list_shows_the_newest_first_and_no_more_than_asked_for():
    ids = [str(send_task(TASK, kwargs=ARGUMENTS).pk) for _ in range(3)]
    heading, *rows = run("list", "--limit", 2).splitlines()
    assert heading.split() == [
        "ID",
        "TASK",
        "STATUS",
        "QUEUE",
        "ATTEMPTS",
        "ENQUEUED",
        "OBJECT",
        "LAST",
        "ERROR",
    ]
    assert [row.split()[:4] for row in rows] == [[pk, TASK, "pending", "llm"] for pk in ids[:0:-1]]
    assert run("list", "--status", "dead") == "There is no such message.\n"
    assert "args" not in answer("list")[0]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--status", "dead", "--status", "cancelled"], {"dead", "cancelled"}),
        (["--task", OTHER], {"other"}),
        (["--queue", "llm"], {"queue"}),
        (["--broker", "second"], {"broker"}),
        (["--object", "notes.note:42"], {"object"}),
        (["--object", "notes.Note"], {"object", "another"}),
        (["--error", "REFUSED"], {"dead"}),
        (["--older-than", "2d"], {"old"}),
        (["--newer-than", "2d", "--status", "cancelled"], {"cancelled"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_each_filter_finds_what_it_says(filters, expected):
    made = {
        "dead": message("dead", 1, last_error="The broker refused it."),
        "cancelled": message("cancelled", 1),
        "queue": message("pending", 1, queue="llm"),
        "broker": message("pending", 1, broker="second"),
        "object": message("pending", 1, object_model="notes.note", object_pk="42"),
        "another": message("pending", 1, object_model="notes.note", object_pk="43"),
        "old": message("published", 3),
        "other": message("pending", 1),
    }
    OutboxMessage.objects.filter(pk=made["other"]).update(task_name=OTHER)
    assert {row["id"] for row in answer("list", *filters)} == {str(made[name]) for name in expected}


def test_ids_are_filters_too():
    one, _ = message("dead", 1), message("dead", 1)
    assert [row["id"] for row in answer("list", one)] == [str(one)]
    assert refusal("list", "x") == ("'x' is no task id: write it as `messages list` shows it.", 2)


@pytest.mark.parametrize("age", ["", "5", "5w", "-1d", "999999999d", "1.5h", "9" * 5_000 + "s"], ids=range(7))
def test_an_age_that_is_none_is_refused(age):
    with pytest.raises(CommandError, match="write a number and its unit, such as 90s, 15m, 2h or 7d"):
        run("list", f"--older-than={age}")


# -- show ------------------------------------------------------------------------------------------


@pytest.fixture
def told():
    """A message that failed twice, was requeued and published, and has a result."""
    TaskDefinition.objects.filter(name=TASK).update(sensitive_parameters=["text"])
    sent = send_task(TASK, kwargs=ARGUMENTS, priority=5)
    at = sent.created_at
    for number in (1, 2):
        sent.failed_attempts.create(
            id=uuid.uuid4(), number=number, at=at + dt.timedelta(minutes=number), error="refused", queue="llm"
        )
    published = at + dt.timedelta(hours=1)
    OutboxMessage.objects.filter(pk=sent.pk).update(status="published", published_at=published)
    TaskResult.objects.create(task_id=str(sent.pk), status="SUCCESS", result="5", worker="w@x")
    TaskResult.objects.update(date_done=published + dt.timedelta(hours=1))  # saving it sets the moment
    return sent


def test_show_tells_all_that_happened_in_the_order_of_time(told):
    document = answer("show", told.pk)
    happened = [(each["kind"], each["number"], each["error"]) for each in document["events"]]
    assert happened == [
        ("enqueued", None, ""),
        ("failed", 1, "refused"),
        ("failed", 2, "refused"),
        ("published", None, ""),
        ("finished", None, ""),
    ]
    assert (document["result"]["status"], document["result"]["worker"]) == ("SUCCESS", "w@x")
    text = run("show", told.pk)
    assert re.search(r"attempt 2 failed +llm +refused\n", text)
    assert "status: SUCCESS\n" in text


def test_show_masks_what_is_sensitive(told):
    assert answer("show", told.pk)["arguments"] == {"note_id": "1", "text": "***"}
    assert "note_id = '1'\ntext = '***'\n" in run("show", told.pk)
    TaskDefinition.objects.filter(name=TASK).delete()
    assert answer("show", told.pk)["arguments"] is None
    assert "Its arguments are hidden" in run("show", told.pk)


def test_show_masks_the_arguments_of_linked_tasks():
    TaskDefinition.objects.filter(name=OTHER).update(sensitive_parameters=["text"])
    sent = send_task(
        TASK, kwargs=ARGUMENTS, link={"task": OTHER, "kwargs": {"note_id": "1", "text": "secret"}}
    )
    for format_ in ("text", "json"):
        assert "secret" not in run("show", sent.pk, "--format", format_)


def test_show_tells_of_a_message_that_is_not_there():
    nobody = uuid.uuid4()
    assert refusal("show", nobody) == (
        f"There is no message {nobody}: it was never sent from here, or it was pruned.",
        1,
    )


@pytest.mark.parametrize(("column", "value"), ODD_ROWS.values(), ids=ODD_ROWS)
def test_an_odd_row_is_shown_as_far_as_it_can_be(column, value):
    sent = send_task(TASK, kwargs=ARGUMENTS)
    write(sent, column, value)
    assert str(sent.pk) in run("show", sent.pk)
    assert answer("show", sent.pk)["id"] == answer("list")[0]["id"] == str(sent.pk)


@pytest.mark.one_database
@pytest.mark.parametrize("column", ["created_at", "available_at", "expires_at"])
def test_a_moment_that_is_none_is_left_out_and_one_that_cannot_be_read_is_told(column):
    sent = send_task(TASK, kwargs=ARGUMENTS)
    for arguments in (["list"], ["show", sent.pk]):
        write(sent, column, "x")
        assert str(sent.pk) in run(*arguments)
        write(sent, column, "2026-13-01 00:00:00")
        assert refusal(*arguments)[0].startswith("A message among these holds what cannot be read (")


# -- requeue and cancel ------------------------------------------------------------------------------


def test_requeue_and_cancel_by_filter_in_small_steps(monkeypatch):
    monkeypatch.setattr(lifecycle, "STEP", 2)
    dead = [message("dead", 1, last_error="refused") for _ in range(5)]
    kept = message("dead", 1, last_error="too long")
    assert run("requeue", "--status", "dead", "--error", "refused", "--yes") == "5 messages requeued.\n"
    assert [{status(pk) for pk in dead}, status(kept)] == [{"pending"}, "dead"]
    assert run("cancel", "--status", "pending", "--limit", 3, "--yes") == "3 messages cancelled.\n"
    assert [status(pk) for pk in dead] == [*["cancelled"] * 3, *["pending"] * 2]
    assert answer("cancel", "--status", "dead", "--yes") == {"cancelled": 1, "refused": {}}


def test_a_named_message_that_cannot_be_moved_is_told_and_the_others_are_moved():
    dead, published, nobody = message("dead", 1), message("published", 1), uuid.uuid4()
    told, code = refusal("requeue", dead, published, nobody, "--yes")
    assert code == 1
    assert told.startswith("Could not be requeued: ")
    assert f"{published} (published)" in told
    assert f"{nobody} (not there)" in told
    assert status(dead) == "pending"


def test_a_later_step_of_a_chain_leads_to_its_first_message():
    first, second = send_chain([Call(TASK, kwargs=ARGUMENTS), Call(TASK, kwargs=ARGUMENTS, immutable=True)])
    assert refusal("cancel", second.pk, "--yes")[0].endswith("name that one, the step's root id.")
    assert f"root id: {first.pk}" in run("show", second.pk)


def test_what_a_trigger_could_not_make_is_not_requeued():
    dead_message(TASK, "no such field", Origin("trigger", "changed"))
    assert run("requeue", "--status", "dead", "--yes") == "0 messages requeued.\n"


@pytest.mark.parametrize("verb", ["requeue", "cancel", "revoke"])
def test_all_messages_are_never_meant_by_saying_nothing(verb):
    message("dead", 1)
    told = "Which messages? Give task ids, or filters such as --status dead."
    assert refusal(verb, "--yes") == (told, 2)


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        (["requeue", "--status", "dead"], "Requeue 2 messages?"),
        (["cancel", "--status", "dead", "--limit", 1], "Cancel 1 message?"),
        (
            ["revoke", "--status", "published", "--terminate"],
            "Revoke 1 message, and end those that run by SIGTERM?",
        ),
        (
            ["prune", "--older-than", "2d"],
            "published ones older than 2 days, superseded ones older than 2 days, ",
        ),
    ],
    ids=str,
)
def test_nothing_is_done_before_somebody_agreed(arguments, question):
    ids = [message("dead", 3), message("dead", 3), message("published", 3)]
    told, code = refusal(*arguments)
    assert question in told
    assert told.endswith("Nobody is here to answer: add --yes.")
    assert [code, *map(status, ids)] == [1, "dead", "dead", "published"]


def test_long_work_tells_how_far_it_is(monkeypatch, capsys):
    monkeypatch.setattr(message_changes, "PROGRESS_EVERY", 0)
    monkeypatch.setattr(lifecycle, "STEP", 2)
    for _ in range(3):
        message("dead", 1)
    run("requeue", "--status", "dead", "--yes")
    assert capsys.readouterr().err == "2 of 3 …\n3 of 3 …\n"


# -- revoke --------------------------------------------------------------------------------------------


def test_revoke_cancels_what_was_not_published_yet():
    waits, dead = message("pending", 1), message("dead", 1)
    assert run("revoke", waits, dead, "--yes") == "1 message cancelled before being published.\n"
    assert [status(waits), status(dead)] == ["cancelled", "dead"]


def test_revoke_fails_where_no_worker_hears_it_or_a_relay_has_it_in_hand():
    published, claimed = message("published", 1), message("claimed", 1)
    done = message("published", 1, handled_at=timezone.now())
    told, code = refusal("revoke", published, claimed, done, "--yes")
    assert code == 1
    assert "No worker took it on broker 'default' within 0.1 s" in told
    assert "1 message in the hands of a relay at this moment: revoke again in a second." in told


def test_revoke_tells_of_a_step_that_goes_with_the_first_message_of_its_chain():
    step = message("chained", 1, root_id=uuid.UUID(int=7))
    told, code = refusal("revoke", step, "--yes")
    assert (code, status(step)) == (1, "chained")
    assert "1 message waiting in a chain: revoke its first message." in told


def test_revoke_tells_of_a_broker_that_is_none():
    lost = message("published", 1, broker="gone")
    told, _ = refusal("revoke", lost, uuid.UUID(int=7), "--yes")
    assert "DISPATCH[\"BROKERS\"] has no broker 'gone': add it." in told
    assert "There is no message 00000000-0000-0000-0000-000000000007." in told


# -- prune -----------------------------------------------------------------------------------------------


def test_prune_does_at_once_what_the_relay_does_in_passing():
    message("published", 8)
    kept = [message("published", 6), message("dead", 900), message("pending", 900)]
    assert run("prune", "--yes") == "1 message pruned.\n"
    assert answer("prune", "--yes") == {"pruned": 0}
    assert [status(pk) for pk in kept] == ["published", "dead", "pending"]


def test_prune_takes_another_age_and_dead_letters_only_by_name():
    dead = message("dead", 3)
    message("cancelled", 3)
    assert run("prune", "--older-than", "2d", "--yes") == "1 message pruned.\n"
    assert status(dead) == "dead"
    assert run("prune", "--older-than", "2d", "--status", "dead", "--yes") == "1 message pruned.\n"


def test_prune_says_so_where_everything_is_kept():
    assert 'DISPATCH["RETENTION"] keeps these for ever' in run("prune", "--status", "dead")


@pytest.mark.parametrize("unsent", ["pending", "claimed"])
def test_prune_knows_no_status_of_what_was_not_sent(unsent):
    with pytest.raises(CommandError, match=f"invalid choice: '{unsent}'"):
        run("prune", "--status", unsent, "--yes")


@pytest.mark.parametrize("option", ["--error", "--object"])
def test_an_empty_text_does_not_mean_every_message(option):
    send_task(TASK, kwargs=ARGUMENTS)
    with pytest.raises(CommandError, match="would mean every message"):
        run("cancel", option, "", "--yes")
    assert OutboxMessage.objects.get().status == "pending"
