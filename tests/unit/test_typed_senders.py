from __future__ import annotations

import datetime as dt
import importlib.util
import inspect
import uuid
import warnings
from decimal import Decimal

import pytest
from asgiref.sync import async_to_sync

from dispatch import api
from dispatch.api import Call, InvalidArguments, SendOptions, UnknownTask, send_many, send_task, sender
from dispatch.contract.typed_stubs import module
from dispatch.models import OutboxMessage
from tests.support.offers import OFFERS
from tests.support.registry import make_queue, make_task

NOTE = uuid.UUID(int=7)
WHEN = dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC)
VARYING = {"id", "created_at", "available_at", "_state"}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """The generated module, imported."""
    path = tmp_path_factory.mktemp("stubs") / "typed_tasks.py"
    path.write_text(module(OFFERS), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("typed_tasks", path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def registry(db, broker_settings):
    broker_settings("memory://")
    make_queue("default", is_default=True)
    make_queue("urgent")
    for offer in OFFERS:
        make_task(offer.name, parameters=offer.parameters)


def row(message):
    stored = OutboxMessage.objects.get(pk=message.pk)
    return {key: value for key, value in vars(stored).items() if key not in VARYING}


CALLS = [
    ("everything", [NOTE, WHEN], {}),
    (
        "everything",
        [],
        {"note": str(NOTE), "when": WHEN, "tags": ["a"], "amount": Decimal("1.5"), "pair": (1, "b")},
    ),
    (
        "everything",
        [NOTE],
        {"when": WHEN, "address": {"street": "x", "date": dt.date(2026, 1, 1)}, "tree": ["a"]},
    ),
    ("positions", [1, "b", 2.5, 3, 4], {"more": True}),
    ("flags", [], {"urgent": False}),
    ("print_", [1, None], {"self": 1, "name": "x", "options": {}}),
]


@pytest.mark.parametrize(("function", "args", "kwargs"), CALLS)
def test_calling_a_task_enqueues_what_send_task_enqueues(function, args, kwargs, tasks, registry):
    sent = getattr(tasks, function)
    assert row(sent(*args, **kwargs)) == row(send_task(sent.name, args, kwargs))


def test_what_is_left_out_is_not_sent(tasks, registry):
    assert row(tasks.flags(urgent=True))["kwargs"] == '{"urgent":true}'


def test_a_renamed_parameter_is_sent_by_the_workers_name(tasks, registry):
    assert row(tasks.flags(urgent=True, from_="x")) == row(
        send_task("worker.tasks.flags", kwargs={"urgent": True, "from": "x"})
    )


def test_options_are_those_of_send_task(tasks, registry):
    options = {"queue": "urgent", "priority": 9, "headers": {"tenant": "7"}, "expires": WHEN}
    assert row(tasks.flags.with_options(**options)(urgent=True)) == row(
        send_task("worker.tasks.flags", kwargs={"urgent": True}, **options)
    )


def test_options_add_up_and_leave_the_task_as_it_was(tasks, registry):
    urgent = tasks.flags.with_options(queue="urgent", priority=1)
    assert row(urgent.with_options(priority=9)(urgent=True))["options"] == {"queue": "urgent", "priority": 9}
    assert row(tasks.flags(urgent=True))["options"] == {}


def test_the_database_may_be_named(tasks, registry):
    assert tasks.flags.with_options(using="default")(urgent=True)._state.db == "default"


def test_async_code_sends_by_asend(tasks, registry):
    message = async_to_sync(tasks.flags.asend)(urgent=True)
    assert row(message) == row(tasks.flags(urgent=True))


def test_many_calls_are_made_with_call(tasks, registry):
    calls = [tasks.flags.with_options(priority=3).call(urgent=urgent) for urgent in (True, False)]
    assert calls[0] == Call("worker.tasks.flags", (), {"urgent": True}, priority=3)
    assert [message.kwargs for message in send_many(calls)] == ['{"urgent":true}', '{"urgent":false}']


def test_wrong_arguments_are_refused_as_by_send_task(tasks, registry):
    with pytest.raises(InvalidArguments, match="argument 'urgent' is missing"):
        tasks.flags()
    with pytest.raises(InvalidArguments) as caught:
        tasks.flags(urgent="yes")
    assert caught.value.pointer == "/kwargs/urgent"


def test_a_task_that_left_the_registry_is_refused(registry):
    @sender("worker.tasks.flag")
    def flag() -> None:
        """A typing error."""

    with pytest.raises(UnknownTask, match=r"did you mean 'worker.tasks.flags'"):
        flag()


def test_sending_a_deprecated_task_warns_where_it_is_sent(tasks, registry):
    for send in (tasks.mail_send, tasks.mail_send.call):
        with pytest.warns(
            DeprecationWarning, match=r"worker.mail.send is deprecated: use worker.post.send"
        ) as caught:
            send("a@example.org")
        assert caught[0].filename == __file__


def test_other_tasks_do_not_warn(tasks, registry):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tasks.flags(urgent=True)


def test_send_options_are_the_options_of_send_task():
    parameters = inspect.signature(send_task).parameters.values()
    wanted = {each.name: each.annotation for each in parameters if each.kind is each.KEYWORD_ONLY}
    assert {name: each.__forward_arg__ for name, each in SendOptions.__annotations__.items()} == wanted


def test_what_generated_modules_import_is_public():
    assert {"Array", "SendOptions", "Sender", "deprecated", "sender"} <= set(api.__all__)
