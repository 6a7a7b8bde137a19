"""Settings that pass ``check``, whatever they are: relay, collector and pages take them, or say what is wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.checks import ERROR, run_checks
from django.test import Client, override_settings
from django.urls import reverse
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from kombu import Connection

from dispatch.api import send_task
from dispatch.conf import Conf, Setting
from dispatch.core.celery_settings import CONF, TRANSPORT_OPTIONS
from dispatch.models import OutboxMessage
from dispatch.relay import Relay
from dispatch.results import Collector
from tests.support.registry import ARGUMENTS, TASK, make_registry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_database]

Status = OutboxMessage.Status
#: Where nobody listens.
NOWHERE = "127.0.0.1:1"
BROKERS = {"default": {"URL": "memory://"}}
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 40_000),
    st.floats(),
    st.sampled_from([0, 1e300, -1e300, 10**30, 10**5_000, 0.001, 1e-9, 31_536_000, 315_360_000]),
    st.text(max_size=8),
    st.lists(st.integers(0, 300) | st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=3) | st.integers(), st.integers(), max_size=2),
)
#: Each asks relay, collector and eight pages.
FEWER = examples(max_examples=examples.default.max_examples // 5)
KEYS = sorted(name for name, value in vars(Conf).items() if isinstance(value, Setting))
#: URLs of the shapes that people and tools write, and of some that nobody should.
URLS = [
    "pyro://x",
    "sqla+sqlite:///nowhere/x.db",
    "sqla+nope://x",
    "sqla+postgresql://127.0.0.1:1/x",
    "sqla+://",
    "http://x",
    "://",
    "+://x",
    "a b://x",
    "sqs://",
    "redis://:99999999",
    "redis://h:port",
    f"redis://{NOWHERE}/notadb",
    "redis+socket:///nowhere",
    "amqp://[::1",
    "amqp://h:99999",
    f"sentinel://{NOWHERE}",
    "memory://x:9:9",
    "MEMORY://",
]
#: One of each kind: nobody's transport, what cannot be read, a server that is not there, a broker that works.
WALKED = ["pyro://x", "redis://h:port", f"redis://{NOWHERE}/notadb", "memory://x:9:9"]
BACKENDS = [
    "http://x",
    "://",
    "localhost",
    "redis",
    "redis://h:port",
    f"redis://{NOWHERE}/notadb",
    f"sentinel://{NOWHERE}",
    "db+",
    "db+nope://",
    "db+sqlite:////nowhere/x.db",
    "cache+x://",
    "cache+memory://",
    "file:///nowhere",
    "file://",
    "django-db",
    "django-cache",
    "mongodb://",
    "s3://",
    "elasticsearch://x",
    "os.path:join",
    "nowhere.nothing:X",
    "disabled",
]


@pytest.fixture(autouse=True)
def boss(
    broker_settings: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    monkeypatch.chdir(tmp_path)  # some brokers are folders
    drain = Connection.drain_events  # nobody is there to answer: no test waits a year for that
    monkeypatch.setattr(
        Connection, "drain_events", lambda self, timeout=0, **_: drain(self, timeout=min(timeout, 0.1))
    )
    broker_settings("memory://")
    make_registry()
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    yield client
    for thread in threading.enumerate():
        if thread.name == "dispatch call":  # Celery's retries use `random`, which later tests may seed
            thread.join(30)


def passes_check() -> bool:
    return not [message for message in run_checks() if message.level >= ERROR]


def use(boss: Client) -> None:
    """Do what an operator's processes and an operator do; an error of theirs is the test's."""
    work()
    for model in ("taskdefinition", "route", "exchange", "trigger", "outboxmessage"):
        assert boss.get(reverse(f"admin:dispatch_{model}_changelist")).status_code == 200
    ask_broker(boss)


def work() -> OutboxMessage:
    """Publish, and ask for results; return the message that waits for its own."""
    with override_settings(DISPATCH={"BROKERS": BROKERS}):
        OutboxMessage.objects.all().delete()
        message = send_task(TASK, kwargs=ARGUMENTS)
    Relay().step()
    message.refresh_from_db()
    assert message.status in (Status.PENDING, Status.PUBLISHED)
    assert message.status == Status.PUBLISHED or message.last_error
    OutboxMessage.objects.update(status=Status.PUBLISHED, published_at=message.created_at)
    Collector().sweep(patience=1)
    send_task(TASK, kwargs=ARGUMENTS)
    return message


def ask_broker(boss: Client) -> None:
    assert boss.get(reverse("admin:dispatch_queue_changelist")).status_code == 200
    assert boss.get(reverse("admin:dispatch_queue_seen"), {"queue": "llm"}).status_code == 200


@pytest.mark.parametrize("url", URLS)
def test_a_broker_is_used_or_its_messages_wait_with_a_reason(boss: Client, settings: Any, url: str) -> None:
    settings.DISPATCH = {"BROKERS": {"default": {"URL": url}}, "BROKER_TIMEOUT": 0.5}
    if url in WALKED:
        use(boss)
    else:
        work()
        ask_broker(boss)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_result_backend_is_read_or_told(boss: Client, settings: Any, backend: str) -> None:
    settings.DISPATCH = {
        "BROKERS": {"default": {"URL": "memory://", "RESULT_BACKEND": backend}},
        "BROKER_TIMEOUT": 0.5,
    }
    message = work()  # of all pages, the one that tells how far it is alone asks the result backend
    assert boss.get(reverse("admin:dispatch_outboxmessage_progress", args=[message.pk])).status_code == 200


@pytest.mark.parametrize("key", KEYS)
@FEWER
@given(value=ODD)
def test_whatever_value_of_a_key_passes_check_can_be_worked_with(boss: Client, key: str, value: Any) -> None:
    with override_settings(DISPATCH={"BROKERS": BROKERS, key: value}):
        if passes_check():
            use(boss)


@pytest.mark.parametrize("url", ["memory://", f"redis://{NOWHERE}/0", f"amqp://{NOWHERE}"])
@FEWER
@given(
    conf=st.dictionaries(
        st.sampled_from(sorted({*CONF, "task_protocol", "task_queues", "s3_bucket"})), ODD, max_size=3
    ),
    options=st.dictionaries(st.sampled_from(sorted(TRANSPORT_OPTIONS)), ODD, max_size=2),
)
def test_whatever_celery_settings_pass_check_can_be_worked_with(
    boss: Client, url: str, conf: dict[str, Any], options: dict[str, Any]
) -> None:
    entry = {
        "URL": url,
        "CONF": {"broker_transport_options": options, **conf},
        "RESULT_BACKEND": f"redis://{NOWHERE}",
    }
    with override_settings(DISPATCH={"BROKERS": {"default": entry}, "BROKER_TIMEOUT": 0.5}):
        if passes_check():
            use(boss)


def test_a_relay_that_is_to_end_ends_though_the_broker_is_down(settings: Any) -> None:
    send_task(TASK, kwargs=ARGUMENTS)
    settings.DISPATCH = {
        "BROKERS": {"default": {"URL": f"redis://{NOWHERE}"}},
        "BACKOFF_BASE": 0.001,
        "BACKOFF_MAX": 0,
    }
    relay = Relay()
    assert relay.drain() == 0
    assert "cannot be reached" in OutboxMessage.objects.values_list("last_error", flat=True).get()


def test_settings_that_cannot_be_read_are_told_by_the_pages(boss: Client, settings: Any) -> None:
    settings.DISPATCH = {"BROKERS": {"default": {"URL": "user:s3cret@host:6379"}}}
    response = boss.get(reverse("admin:dispatch_queue_changelist"))
    assert response.status_code == 503
    assert "URL&quot;] is missing or no URL" in response.content.decode()
    assert "s3cret" not in response.content.decode()
    assert Client().get(reverse("admin:dispatch_queue_changelist")).status_code == 302
