"""django-celery-beat: each run is one message, whoever of several schedulers is first, and the contract knows of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from project.stack import Process, Stack
from tests.support.servers import DATABASES
from tests.support.stacks import eventually, fresh_database, in_django, prepare, system

pytestmark = pytest.mark.slow

SETTINGS = "tests.support.beat.settings"
PREPARE = """
    call_command("migrate", "django_celery_beat", verbosity=0)
    call_command("configure_notes")
"""
SCHEDULERS = """
    from django_celery_beat.models import IntervalSchedule, PeriodicTask
    from dispatch.contrib.beat import OutboxScheduler
    from tests.support.beat.app import app

    TASK, KWARGS = "worker.tasks.llm.summarize_note", '{"note_id": "1", "text": "Cats sleep."}'

    def periodic(name, every=1, period="seconds", **columns):
        schedule, _ = IntervalSchedule.objects.get_or_create(every=every, period=period)
        columns = {"task": TASK, "kwargs": KWARGS, "last_run_at": "2020-01-01T00:00:00Z", **columns}
        return PeriodicTask.objects.create(name=name, interval=schedule, **columns)

    def runs():
        return sum(PeriodicTask.objects.values_list("total_run_count", flat=True))

    def tick(*schedulers, until):
        deadline = time.monotonic() + 60
        while runs() < until and time.monotonic() < deadline:
            for each in schedulers:
                each.tick()
            time.sleep(0.05)
"""


@pytest.fixture(params=("sqlite", *DATABASES))
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with fresh_database(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def beat(database_url: str, tmp_path: Path) -> Any:
    """A function that runs a script in a process with django-celery-beat."""
    stack = Stack(tmp_path, database_url=database_url, broker_url="memory://", result_backend_url="")
    prepare(stack, PREPARE, settings=SETTINGS)
    return lambda script: in_django(stack, SCHEDULERS + script, settings=SETTINGS)


def test_of_two_schedulers_that_find_a_run_due_one_sends_it(beat: Any) -> None:
    assert beat("""
    periodic("Often")
    one, two = OutboxScheduler(app), OutboxScheduler(app)
    counts = []
    for schedulers, until in [((one, two), 3), ((two,), 5), ((one, two), 7)]:
        tick(*schedulers, until=until)
        counts.append([runs(), OutboxMessage.objects.filter(status="pending").count()])
    answer([counts, OutboxMessage.objects.values("origin", "origin_name", "queue", "kwargs").distinct().get()])
    """) == [
        [[3, 3], [5, 5], [7, 7]],
        {
            "origin": "code",
            "origin_name": "periodic task Often",
            "queue": "llm",
            "kwargs": '{"note_id":"1","text":"Cats sleep."}',
        },
    ]


def test_what_the_registry_refuses_is_dead_with_its_reason_and_the_others_go_on(beat: Any) -> None:
    dead, pending = beat("""
    periodic("Misspelt", task="worker.tasks.llm.sumarize_note")
    periodic("Fits", queue="default", expire_seconds=60, headers='{"note": "x"}')
    tick(OutboxScheduler(app), until=4)
    found = OutboxMessage.objects.order_by().values_list("queue", "last_error").distinct()
    answer([list(found.filter(status=status)) for status in ("dead", "pending")])
    """)
    [[_, reason]] = dead
    assert "'Misspelt' could not be enqueued: No task 'worker.tasks.llm.sumarize_note'" in reason
    assert pending == [["default", ""]]


def test_a_run_and_its_message_are_one_commit(beat: Any) -> None:
    assert beat("""
    from unittest import mock
    from dispatch import outbox
    task = periodic("Once", 1, "hours")
    with mock.patch.object(outbox, "insert", side_effect=OSError("no space left")):
        OutboxScheduler(app).tick()
    failed = [runs(), OutboxMessage.objects.count()]
    tick(OutboxScheduler(app), until=1)
    answer([failed, [runs(), OutboxMessage.objects.count()]])
    """) == [[0, 0], [1, 1]]


def test_a_run_that_cannot_be_a_message_is_dead_with_its_reason(beat: Any) -> None:
    found = beat("""
    odd = {
        "no queue": {"queue": ""},
        "args no list": {"args": '{"a": 1}', "kwargs": "{}"},
        "kwargs no dictionary": {"kwargs": "[1]"},
        "null": {"args": "null"},
        "both": {"queue": "llm", "routing_key": "x"},
        "nan": {"kwargs": '{"note_id": "1", "text": NaN}'},
    }
    for name, columns in odd.items():
        periodic(name, 1, "hours", **columns)
    tick(OutboxScheduler(app), until=len(odd))
    answer({each.origin_name.removeprefix("periodic task "): each.last_error for each in OutboxMessage.objects.all()})
    """)
    reasons = {name: reason.partition(" could not be enqueued: ")[2][:15] for name, reason in found.items()}
    assert reasons == {
        "no queue": "",
        "args no list": "args must be a ",
        "kwargs no dictionary": "kwargs must be ",
        "null": "",
        "both": "with a queue, t",
        "nan": "nan at /kwargs/",
    }


def test_verify_names_periodic_tasks_that_do_not_fit_the_contract(beat: Any) -> None:
    assert beat("""
    from dispatch import contract
    periodic("Misspelt", task="worker.tasks.llm.sumarize_note")
    periodic("Wrong", kwargs='{"note_id": "1", "text": "T", "sentences": "two"}')
    periodic("Too few", kwargs='{"note_id": "1"}')
    periodic("By position", args='["1", "T"]', kwargs="{}")
    periodic("Too many", args='["1", "T", 2, 3]', kwargs="{}")
    from dispatch.models import TaskDefinition
    TaskDefinition.objects.filter(name="worker.tasks.link.preview_links").update(parameters={})
    periodic("Positions unknown", task="worker.tasks.link.preview_links", args='["1", "T"]', kwargs="{}")
    periodic("Off", task="no.such.task", enabled=False)
    periodic("Celery's own", task="celery.backend_cleanup", kwargs="{}")
    periodic("Fits")
    answer(sorted([each.id, each.subject] for each in contract.verify("default").findings if each.id < "C060"))
    """) == [["C016", "Misspelt"], ["C018", "Too few"], ["C018", "Too many"], ["C018", "Wrong"]]


def test_the_contract_page_names_them_to_those_who_may_view_them(beat: Any) -> None:
    assert beat("""
    from django.contrib.auth.models import Permission, User
    from django.test import Client
    task = periodic("Misspelt", task="worker.tasks.llm.sumarize_note")

    def shown(*codenames):
        user = User.objects.create_user("-".join(codenames), is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=("view_manifest", *codenames)))
        client = Client(headers={"host": "localhost"})
        client.force_login(user)
        page = client.get("/admin/dispatch/manifest/contract/").content.decode()
        return [text in page for text in ("Misspelt", f"/periodictask/{task.pk}/change/", "what you may not view")]

    answer([shown("view_trigger"), shown("view_periodictask")])
    """) == [[False, False, True], [True, True, False]]


def test_the_overview_sees_a_periodic_task_that_was_changed(beat: Any) -> None:
    assert beat("""
    from django.contrib.admin import site
    from django.contrib.auth.models import User
    from django.test import RequestFactory
    from dispatch.admin import overview
    from dispatch.admin.links import Viewer
    request = RequestFactory().get("/admin/")
    request.user = User.objects.create_superuser("ops")
    viewer = Viewer(site, request)
    def misfits():
        return [each.subject for each in overview.drift(viewer)["report"].findings if each.id < "C060"]
    task = periodic("Changed")
    before = misfits()
    task.task = "no.such.task"
    task.save()
    answer([before, misfits()])
    """) == [[], ["Changed"]]


def test_two_beats_send_each_run_to_a_worker_once(tmp_path: Path, redis_url: str, results_url: str) -> None:
    url = f"sqlite:///{tmp_path}/web.sqlite3"
    with system(tmp_path, url, redis_url, results_url) as stack:
        prepare(stack, PREPARE, settings=SETTINGS)
        in_django(stack, SCHEDULERS + '    periodic("Often")', settings=SETTINGS)
        stack.start("worker", "relay", "results")
        environment = stack.web_environment | {"DJANGO_SETTINGS_MODULE": SETTINGS}
        command = [sys.executable, "-m", "celery", "-A", "tests.support.beat.app", "beat"]
        command += ["--scheduler", "dispatch.contrib.beat:OutboxScheduler", "--pidfile="]
        beats = [
            Process(f"beat{n}", command, env=environment, log=tmp_path / f"beat{n}.log") for n in range(2)
        ]
        try:
            for each in beats:
                each.start()
            look = """
                handled = OutboxMessage.objects.exclude(handled_at=None).count()
                answer(handled >= 4)
            """
            eventually(lambda: in_django(stack, look))
        finally:
            for each in beats:
                each.stop()
        look = SCHEDULERS + "    answer([runs(), OutboxMessage.objects.count()])"
        runs, messages = in_django(stack, look, settings=SETTINGS)
        assert runs == messages
