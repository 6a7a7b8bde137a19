"""OutboxTask: the calls of a Celery app that exists become messages, each the one that Celery would have sent."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import kombu
import pytest
from celery import Celery, chain, chord, group
from celery.contrib.django.task import DjangoTask
from celery.result import AsyncResult
from django.db import connection, transaction

from dispatch.api import InvalidArguments, InvalidOption, NoDestination, UnknownTask
from dispatch.contrib.celery import OutboxTask
from dispatch.models import OutboxMessage
from dispatch.relay import Relay
from tests.integration.conftest import Broker
from tests.support.brokers import delete_queue, read_all
from tests.support.registry import TASK, make_queue, make_task

#: Celery would rather have a task's queue and priority in task_routes.
pytestmark = pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning")

LATER = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
CALL = {"note_id": "1", "text": "Cats."}
#: Who sent a message and where an answer would go, what logs show (masked here), and what differs each time.
OWN_HEADERS = {"origin", "argsrepr", "kwargsrepr"}
OWN_PROPERTIES = {"reply_to", "delivery_tag", "expiration", "application_headers"}


def note(note_id: str, text: str) -> None: ...


def nothing() -> None: ...


@pytest.fixture
def app(broker: Broker) -> Celery:
    """A Celery app on the broker, whose tasks go to the queue that the registry has."""
    app = Celery("shop", broker=broker.url, backend="cache+memory://", set_as_current=False, fixups=[])
    app.conf.task_default_queue = broker.queue
    app.conf.task_ignore_result = True
    return app


@pytest.fixture
def summarize(app: Celery) -> Any:
    """A task that the registry has."""

    @app.task(name=TASK, base=OutboxTask, shared=False)
    def summarize_note(note_id: str, text: str, sentences: int = 2) -> str:
        return text[:sentences]

    return summarize_note


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


def without(names: set[str], mapping: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in names}


def shown(message: kombu.Message) -> list[Any]:
    """What must not differ. Unset, ``ignore_result`` is False in Celery 5.5 and None later, and a priority is 0."""
    unset = {"ignore_result": message.headers["ignore_result"] or None}
    message.accept = {"application/json"}
    return [
        without(OWN_HEADERS, message.headers) | unset,
        {"priority": 0} | without(OWN_PROPERTIES, message.properties),
        without({"delivery_tag"}, message.delivery_info or {}),
        message.content_type,
        message.content_encoding,
        message.decode(),
    ]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"priority": 3},
        {"priority": 0},
        {"expires": LATER, "time_limit": 30, "soft_time_limit": 5.5},
        {"ignore_result": False, "shadow": "other", "compression": "gzip"},
        {"headers": {"tenant": "a"}, "stamped_headers": ["trace"], "trace": ["x"], "delivery_mode": 1},
        {"retry": False, "add_to_parent": False},
        {"link": "signature", "link_error": "signatures"},
        {"queue": "kombu's"},
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("own", [{}, {"priority": 7, "time_limit": 9, "expires": 3600}], ids=str)
def test_a_message_is_what_celery_alone_would_have_sent(
    app: Celery, broker: Broker, relay: Relay, own: dict[str, Any], options: dict[str, Any]
) -> None:
    task = app.task(name=TASK, base=OutboxTask, shared=False, **own)(note)
    link = task.s("2").set(priority=1)
    named = {"signature": link, "signatures": [link], "kombu's": kombu.Queue(broker.queue)}
    given = {
        name: named.get(value, value) if isinstance(value, str) else value for name, value in options.items()
    }
    task_id = str(uuid.uuid4())
    DjangoTask.apply_async(task, ("1",), {"text": "Cats."}, task_id=task_id, **given)
    [expected] = read_all(broker.url, broker.queue)
    delete_queue(broker.url, broker.queue) if broker.kind == "rabbitmq" else None
    assert task.apply_async(("1",), {"text": "Cats."}, task_id=task_id, **given).id == task_id
    assert read_all(broker.url, broker.queue) == []
    assert relay.drain() == 1
    [found] = read_all(broker.url, broker.queue)
    first, second = shown(found), shown(expected)
    if "expires" in own and "expires" not in options:  # seconds, from now
        assert abs(moment(first) - moment(second)) < dt.timedelta(minutes=2)
    assert first == second


def moment(message: list[Any]) -> dt.datetime:
    return dt.datetime.fromisoformat(message[0].pop("expires"))


@pytest.fixture
def quiet(summarize: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The task of an app whose broker must not be asked."""
    monkeypatch.setattr(Celery, "send_task", None)
    return summarize


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
class TestWithoutABroker:
    def test_a_call_returns_celerys_result_of_the_message(self, quiet: Any) -> None:
        for result in (quiet.delay("1", text="Cats."), quiet.s("1").apply_async(("Cats.",))):
            assert isinstance(result, AsyncResult)
            message = OutboxMessage.objects.get(pk=result.id)
            assert (message.task_name, result.ignored) == (TASK, True)

    def test_a_countdown_waits_in_the_outbox(self, quiet: Any) -> None:
        quiet.apply_async(kwargs=CALL, eta=LATER)
        assert OutboxMessage.objects.get().available_at == LATER

    def test_what_is_rolled_back_is_not_sent(self, quiet: Any) -> None:
        with transaction.atomic():
            quiet.delay(**CALL)
            transaction.set_rollback(True)
        assert not OutboxMessage.objects.exists()

    def test_what_waits_for_the_commit_is_committed_with_it(self, quiet: Any) -> None:
        with transaction.atomic():
            quiet.delay_on_commit(**CALL)
            quiet.apply_async_on_commit(kwargs=CALL)
            assert (OutboxMessage.objects.count(), connection.run_on_commit) == (2, [])

    def test_what_the_registry_or_the_signature_refuses_is_refused_at_the_call(
        self, app: Celery, quiet: Any
    ) -> None:
        with pytest.raises(TypeError, match="sentence"):
            quiet.delay("1", "Cats.", sentence=1)
        with pytest.raises(InvalidArguments):
            quiet.delay("1", "Cats.", sentences=0)
        with pytest.raises(NoDestination):
            quiet.apply_async(kwargs=CALL, queue="gpu")
        with pytest.raises(UnknownTask):
            app.task(name="shop.misspelt", base=OutboxTask, shared=False)(nothing).delay()
        assert not OutboxMessage.objects.exists()

    def test_parts_of_a_canvas_are_refused(self, quiet: Any) -> None:
        one = quiet.si(**CALL)
        for canvas in (chain(one, one), group(one, one), chord([one, one], one), chain(group(one, one), one)):
            with pytest.raises(InvalidOption, match=r"chain, group or chord cannot go through it: leave"):
                canvas.apply_async()
        assert not OutboxMessage.objects.exists()

    def test_a_queue_and_a_priority_of_the_class_are_options_of_each_call(
        self, app: Celery, quiet: Any
    ) -> None:
        make_queue("own")
        make_task("shop.own", parameters={})
        app.task(name="shop.own", base=OutboxTask, shared=False, queue="own", priority=0)(nothing).delay()
        message = OutboxMessage.objects.get()
        assert (message.queue, message.pinned, message.options["priority"]) == ("own", True, 9)

    def test_what_is_always_eager_runs_here(self, app: Celery, summarize: Any) -> None:
        app.conf.task_always_eager = True
        assert summarize.delay("1", "Cats.").get() == "Ca"
        assert not OutboxMessage.objects.exists()


def test_what_a_running_task_sends_is_left_to_celery(app: Celery, broker: Broker, summarize: Any) -> None:
    """Its retries and what it calls carry its ids; ``apply`` is how a worker runs it."""

    @app.task(name="shop.caller", base=OutboxTask, shared=False)
    def caller() -> None:
        summarize.delay(**CALL)

    called = caller.apply()
    [message] = read_all(broker.url, broker.queue)
    assert (message.headers["parent_id"], OutboxMessage.objects.count()) == (called.id, 0)


@pytest.mark.one_database
def test_a_celery_app_may_use_it_before_django_has_loaded_its_apps() -> None:
    code = (
        "from dispatch.contrib.celery import OutboxTask; from celery import Celery; "
        "Celery('shop', task_cls=OutboxTask).task(print); import django.apps; "
        "assert not django.apps.apps.ready"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
