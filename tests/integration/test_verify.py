"""`dispatch verify --live` and brokers that do not answer; running workers are in tests/acceptance."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from django.core.management import call_command
from django.core.management.base import CommandError

from dispatch.models import Manifest, TaskDefinition
from tests.integration.conftest import Broker
from tests.support.proxy import Proxy
from tests.support.registry import TASK, make_registry

#: On a shared RabbitMQ workers of others may run.
REDIS = pytest.mark.parametrize("broker", ["redis"], indirect=True)

pytestmark = pytest.mark.slow


def verify(*ignored: str) -> list[dict[str, Any]]:
    output = io.StringIO()
    arguments = [f"--ignore={each}" for each in ignored]
    with pytest.raises(CommandError, match="Registry and workers disagree"):
        call_command("dispatch", "verify", "--live", "--format", "json", *arguments, stdout=output)
    found: list[dict[str, Any]] = json.loads(output.getvalue())["findings"]
    return found


@pytest.fixture
def imported(broker: Broker) -> None:
    queues = [{"name": name, "durable": True, "arguments": {}} for name in ("default", broker.queue)]
    manifest = Manifest.objects.create(
        worker="worker", version="1.0", checksum="1", queues=queues, offers=[TASK]
    )
    TaskDefinition.objects.update(manifest=manifest, source=TaskDefinition.Source.MANIFEST)


@pytest.mark.parametrize("fault", ["cut", "stall", "swallow_replies"])
def test_a_broker_that_is_down_or_silent_is_one_finding_in_bounded_time(
    broker: Broker, imported: None, broker_settings: Callable[..., None], fault: str
) -> None:
    port = urlsplit(broker.url).port
    assert port
    proxy = Proxy(port)
    broker_settings(broker.url.replace(f":{port}", f":{proxy.port}"), BROKER_TIMEOUT=0.5)
    getattr(proxy, fault)()
    try:
        [found] = verify()
    finally:
        proxy.close()
    assert (found["id"], found["subject"]) == ("C051", "default")
    assert "guest:guest" not in found["sentence"]


def test_a_broker_that_falls_silent_while_the_workers_are_asked_is_a_finding(
    broker: Broker, imported: None, broker_settings: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dispatch.contract.verification import live_probe

    port = urlsplit(broker.url).port
    assert port
    proxy = Proxy(port)
    broker_settings(broker.url.replace(f":{port}", f":{proxy.port}"), BROKER_TIMEOUT=0.5)
    consumed = live_probe.worker_control.consumed

    def then_silence(link: Any) -> Any:
        answer = consumed(link)
        proxy.swallow_replies()
        return answer | {"somebody@here": []}

    monkeypatch.setattr(live_probe.worker_control, "consumed", then_silence)
    try:
        found = verify()
    finally:
        proxy.close()
    assert [(each["id"], "was lost" in each["sentence"]) for each in found] == [("C051", True)]


@REDIS
def test_no_answer_of_any_worker_is_one_finding_for_the_broker(
    broker: Broker, imported: None, broker_settings: Callable[..., None]
) -> None:
    broker_settings(broker.url, BROKER_TIMEOUT=0.5)
    [found] = verify("C056")
    assert found["id"] == "C052"
    assert f"queue {broker.queue} there" in found["sentence"]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("configured", "told"),
    [
        ("appendonly=no", {"C056": "no append-only file: when it ends it loses all messages since"}),
        ("appendonly=yes appendfsync=everysec", {"C056": "appendfsync everysec: when its machine fails"}),
        ("appendonly=yes appendfsync=no", {"C056": "about 30 s"}),
        ("appendonly=yes appendfsync=always", {}),
        ("appendonly=yes appendfsync=always maxmemory=1gb maxmemory-policy=volatile-lru", {}),
        (
            "appendonly=yes appendfsync=always maxmemory=1gb maxmemory-policy=allkeys-lru",
            {"C055": "it deletes whole queues"},
        ),
    ],
)
def test_what_a_redis_would_lose_is_told_by_its_settings(
    own_redis: redis.Redis, transactional_db: None, configured: str, told: dict[str, str]
) -> None:
    make_registry()
    for setting in configured.split():
        own_redis.config_set(*setting.split("="))
    found = {each["id"]: each["sentence"] for each in verify() if each["id"] in ("C055", "C056")}
    assert found.keys() == told.keys()
    for name, text in told.items():
        assert text in found[name]


@pytest.mark.one_database
def test_an_account_that_may_not_ask_how_a_redis_keeps_messages_is_told_nothing_of_it(
    own_redis: redis.Redis, transactional_db: None
) -> None:
    make_registry()
    own_redis.acl_setuser("default", enabled=True, nopass=True, commands=["+@all", "-info"], keys=["*"])
    assert "C056" not in {each["id"] for each in verify()}
