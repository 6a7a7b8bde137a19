"""What is refused when it is sent, because only a broker or a worker would refuse it later."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from dispatch.api import send_task
from dispatch.core import codecs
from dispatch.exceptions import InvalidArguments, InvalidOption
from dispatch.models import OutboxMessage, Queue, TaskDefinition
from tests.support.registry import ARGUMENTS, TASK, make_registry

pytestmark = pytest.mark.one_database

REDIS, RABBITMQ = "redis://127.0.0.1:1/0", "amqp://127.0.0.1:1//"
#: Nothing is open there: sending touches no broker.


@pytest.fixture
def registry(broker_settings: Callable[..., None], db: None) -> None:
    broker_settings(REDIS, SERIALIZERS=["json", "yaml", "msgpack"])
    make_registry()


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes modules seem not installed."""

    def hide(*modules: str) -> None:
        monkeypatch.setattr(codecs, "is_installed", lambda module: module not in modules)

    return hide


@pytest.mark.parametrize(
    ("options", "module"),
    [({"serializer": "msgpack"}, "msgpack"), ({"compression": "lzma"}, "lzma")],
    ids=str,
)
@pytest.mark.parametrize("level", ["call", "task"])
def test_a_codec_that_is_not_installed_is_refused_at_the_call(
    registry: None, without: Callable[..., None], options: dict[str, str], module: str, level: str
) -> None:
    without(module)
    if level == "task":
        TaskDefinition.objects.update(**options)
    with pytest.raises(InvalidOption, match=f"^{module} is not installed here: .*, or choose another"):
        send_task(TASK, kwargs=ARGUMENTS, **(options if level == "call" else {}))
    assert not OutboxMessage.objects.exists()


def test_a_serializer_that_is_not_allowed_is_refused_at_the_call(registry: None) -> None:
    with pytest.raises(InvalidOption, match="pickle never"):
        send_task(TASK, kwargs=ARGUMENTS, serializer="pickle")


@pytest.mark.parametrize("level", ["call", "task", "broker"])
def test_arguments_that_the_serializer_cannot_write_are_refused_at_the_call(
    registry: None, broker_settings: Callable[..., None], level: str
) -> None:
    TaskDefinition.objects.update(parameters={}, serializer="msgpack" if level == "task" else "")
    if level == "broker":
        entry = {"URL": REDIS, "CONF": {"task_serializer": "msgpack"}}
        broker_settings("", brokers={"default": entry}, SERIALIZERS=["json", "msgpack"])
    options: dict[str, Any] = {"serializer": "msgpack"} if level == "call" else {}
    with pytest.raises(InvalidArguments, match="cannot be written as msgpack"):
        send_task(TASK, kwargs={"number": 2**64}, **options)
    send_task(TASK, kwargs={"number": 2**64}, serializer="json")


def test_deliver_eta_is_refused_where_it_would_stop_the_worker(
    registry: None, broker_settings: Callable[..., None]
) -> None:
    Queue.objects.create(name="safe", queue_type="quorum")
    eta = timezone.now() + dt.timedelta(hours=1)
    send_task(TASK, kwargs=ARGUMENTS, eta=eta, deliver_eta=True)  # Redis knows no quorum queues
    broker_settings(RABBITMQ)
    with pytest.raises(InvalidOption, match=r"quorum queue 'safe'.*Leave deliver_eta out"):
        send_task(TASK, kwargs=ARGUMENTS, eta=eta, deliver_eta=True)
    send_task(TASK, kwargs=ARGUMENTS, eta=eta)
    send_task(TASK, kwargs=ARGUMENTS, deliver_eta=True)
    Queue.objects.filter(name="safe").update(broker="other")
    send_task(TASK, kwargs=ARGUMENTS, eta=eta, deliver_eta=True)
