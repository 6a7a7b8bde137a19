"""Outboxes whose brokers and relays are more than one machine: sentinels, TLS, a cluster, hosts that are cut off."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kombu
import pytest
import redis

from project.stack import Process
from project.stack.process import says
from tests.support import clusters, servers
from tests.support.proxy import HOST
from tests.support.stacks import eventually, fresh_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = """
from project.settings import *
import ssl
DISPATCH = {{
    "BROKERS": {{"default": {{"URL": {url!r}, "CONF": {conf}}}}},
    "RELAY_LEASE": 5.0, "RELAY_BATCH_SIZE": 20, "BACKOFF_BASE": 0.1, "BACKOFF_MAX": 1.0, "BROKER_TIMEOUT": 2.0,
}}
"""
PREPARE = """
    from django.core.management import call_command
    from dispatch.models import Queue, TaskDefinition
    call_command("migrate", verbosity=0)
    queue = Queue.objects.create(name="work", is_default=True, queue_type={queue_type!r})
    TaskDefinition.objects.create(name="tasks.note", queue=queue, ignore_result=True, parameters={{
        "type": "object", "properties": {{"number": {{"type": "integer"}}}},
    }})
"""
#: Commits every message by itself, and rolls one back after each.
SEND = """
    committed = []
    for number in range({count}):
        with transaction.atomic():
            committed.append(str(send_task("tasks.note", kwargs={{"number": number}}).id))
        with transaction.atomic():
            send_task("tasks.note", kwargs={{"number": -1}})
            transaction.set_rollback(True)
    answer(committed)
"""
LEFT = """
    from dispatch.models import OutboxMessage
    answer(OutboxMessage.objects.exclude(status="published").count())
"""
ERRORS = """
    from dispatch.models import OutboxMessage
    answer(list(OutboxMessage.objects.exclude(last_error="").values_list("last_error", flat=True)[:1]))
"""
PRELUDE = """
import json, django
django.setup()
from django.db import transaction
from dispatch.api import send_task
def answer(value): print(json.dumps(value))
"""


class Outbox:
    """A migrated database with one queue and one task, and relays over it with settings of their own."""

    def __init__(self, directory: Path, database_url: str, broker_url: str, conf: str = "{}") -> None:
        self.directory = directory
        (directory / "outbox_settings.py").write_text(SETTINGS.format(url=broker_url, conf=conf))
        self.environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "DJANGO_SETTINGS_MODULE": "outbox_settings",
            "PYTHONPATH": f"{directory}:{ROOT}",
            "PYTHONUNBUFFERED": "1",
        }

    def prepare(self, queue_type: str = "classic") -> None:
        self.run(PREPARE.format(queue_type=queue_type))

    def send(self, count: int) -> list[str]:
        """Commit so many messages, roll as many back, and return the ids of the first."""
        return self.run(SEND.format(count=count))

    def run(self, script: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(script)],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else None

    def all_published(self) -> bool:
        return self.run(LEFT) == 0

    @contextmanager
    def relay(self, *before: str) -> Iterator[Process]:
        command = [*before, sys.executable, str(ROOT / "manage.py"), "dispatch", "relay"]
        name = f"relay-{len(list(self.directory.glob('relay-*.log')))}"
        process = Process(
            name,
            command,
            log=self.directory / f"{name}.log",
            env=self.environment,
            cwd=ROOT,
            ready=says("Relaying"),
        )
        process.start()
        try:
            process.wait_ready(30)
            yield process
        finally:
            process.stop()


@pytest.fixture
def database_url(tmp_path: Path) -> Iterator[str]:
    with fresh_database("postgresql", tmp_path) as url:
        yield url


def assert_all_arrived(committed: list[str], arrived: list[str], *, copies: int = 1) -> None:
    """Each committed id, no other, and none more often than that."""
    counts = Counter(arrived)
    assert set(counts) == set(committed)
    assert max(counts.values()) <= copies


def in_redis(client: redis.Redis) -> list[str]:
    return [json.loads(text)["headers"]["id"] for text in client.lrange("work", 0, -1)]


def in_rabbitmq(url: str, **options: Any) -> list[str]:
    with kombu.Connection(url, connect_timeout=5, **options) as connection:
        queue = kombu.Queue("work", no_declare=True).bind(connection.channel())
        found = []
        while message := queue.get(no_ack=True):
            found.append(message.headers["id"])
        return found


def test_sentinels_name_another_master_and_what_waits_goes_there(tmp_path: Path, database_url: str) -> None:
    with clusters.sentinels(tmp_path) as redis_servers:
        conf = f'{{"broker_transport_options": {{"master_name": {clusters.MASTER!r}}}}}'
        outbox = Outbox(tmp_path, database_url, redis_servers.url, conf)
        outbox.prepare()
        with outbox.relay():
            committed = outbox.send(50)
            eventually(outbox.all_published)
            assert (
                redis_servers.client().wait(1, 5000) == 1
            )  # what Redis alone does not promise: the replica has it
            redis_servers.master.kill()
            committed += outbox.send(50)
            eventually(outbox.all_published, seconds=60)
        assert_all_arrived(committed, in_redis(redis_servers.client()), copies=2)


def over_tls(stack: ExitStack, kind: str, directory: Path) -> tuple[str, str, Callable[[], list[str]]]:
    """Return the URL of a broker over TLS, settings that verify it, and what reads its queue."""
    import ssl

    signed = clusters.certificates(directory / "certificates")
    if kind == "redis":
        port = stack.enter_context(clusters.redis_over_tls(directory, signed))
        client = redis.Redis(host=HOST, port=port, ssl=True, ssl_ca_certs=str(signed.authority))
        names = ('"ssl_cert_reqs"', '"ssl_ca_certs"')
        url, read = f"rediss://{HOST}:{port}/0", lambda: in_redis(client)
    else:
        [node] = stack.enter_context(clusters.rabbitmq(directory / "rabbitmq", tls=signed))
        names = ('"cert_reqs"', '"ca_certs"')
        url = node.url.replace("amqp://", "amqps://")
        options = {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": str(signed.authority)}
        read = lambda: in_rabbitmq(url, ssl=options)  # noqa: E731
    verified = f"{names[0]}: ssl.CERT_REQUIRED, {names[1]}: {str(signed.authority)!r}"
    return url, f'{{"broker_use_ssl": {{{verified}}}}}', read


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_tls_that_verifies_carries_messages_and_a_stranger_is_given_none(
    tmp_path: Path, database_url: str, kind: str
) -> None:
    with ExitStack() as stack:
        url, conf, read = over_tls(stack, kind, tmp_path)
        stranger = clusters.certificates(tmp_path / "stranger").authority
        trusted = tmp_path / "certificates" / "ca.pem"
        distrustful = Outbox(tmp_path, database_url, url, conf.replace(str(trusted), str(stranger)))
        distrustful.prepare()
        with distrustful.relay():
            committed = distrustful.send(5)
            eventually(lambda: "certificate verify failed" in str(distrustful.run(ERRORS)).lower())
        outbox = Outbox(tmp_path, database_url, url, conf)
        with outbox.relay():
            eventually(outbox.all_published)
        assert_all_arrived(committed, read())


def test_a_cluster_loses_the_leader_of_a_quorum_queue_and_no_message(
    tmp_path: Path, database_url: str
) -> None:
    with clusters.rabbitmq(tmp_path / "cluster", 3) as nodes:
        outbox = Outbox(tmp_path, database_url, ";".join(node.url for node in nodes))
        outbox.prepare("quorum")
        with outbox.relay():
            committed = outbox.send(50)
            eventually(outbox.all_published)
            [queue] = json.loads(nodes[0].control("list_queues", "name", "leader", "--formatter", "json"))
            [leader] = [node for node in nodes if node.name == queue["leader"]]
            leader.process.kill()
            committed += outbox.send(100)
            eventually(outbox.all_published, seconds=90)
        [alive, _] = [node for node in nodes if node is not leader]
        assert_all_arrived(committed, in_rabbitmq(alive.url), copies=2)


# -- hosts --------------------------------------------------------------------


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)


class Network:
    """Hosts as network namespaces that reach this machine, and so the servers, over a cable each."""

    def __init__(self, stack: ExitStack, unique: str, count: int) -> None:
        self.hosts = [f"{unique}{number}" for number in range(count)]
        self.cables = [f"v{unique}{number}" for number in range(count)]
        for number, (host, cable) in enumerate(zip(self.hosts, self.cables, strict=True)):
            _ip("netns", "add", host)
            stack.callback(_ip, "netns", "del", host)
            _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", host)
            _ip("address", "add", f"{self.gateway(number)}/30", "dev", cable)
            _ip("link", "set", cable, "up")
            inside = ("netns", "exec", host, "ip")
            _ip(*inside, "address", "add", f"10.213.{number}.2/30", "dev", "eth0")
            _ip(*inside, "link", "set", "eth0", "up")
            _ip(*inside, "link", "set", "lo", "up")

    @staticmethod
    def gateway(number: int) -> str:
        """This machine's address as a host sees it."""
        return f"10.213.{number}.1"

    def cut_off(self, number: int) -> None:
        _ip("link", "set", self.cables[number], "down")


def _forwarder(stack: ExitStack, directory: Path, address: str, port: int) -> int:
    """Let a local server be reached at another address of this machine."""
    from project.stack.network import free_port

    listening = free_port()
    script = f"""
        import asyncio
        async def pump(source, sink):
            try:
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            finally:
                sink.close()
        async def serve(reader, writer):
            there = await asyncio.open_connection({HOST!r}, {port})
            await asyncio.gather(pump(reader, there[1]), pump(there[0], writer), return_exceptions=True)
        async def main():
            server = await asyncio.start_server(serve, {address!r}, {listening})
            print("forwarding", flush=True)
            await server.serve_forever()
        asyncio.run(main())
    """
    process = Process(
        "forwarder",
        [sys.executable, "-c", textwrap.dedent(script)],
        log=directory / f"forwarder-{listening}.log",
        ready=says("forwarding"),
    )
    process.start()
    stack.callback(process.stop)
    process.wait_ready(10)
    return listening


def test_a_host_that_is_cut_off_holds_no_message_longer_than_its_lease(
    tmp_path: Path, database_url: str, redis_url: str, unique: str
) -> None:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        servers.missing("network namespaces need root and the command ip")
    with ExitStack() as stack:
        network = Network(stack, unique[-6:], 2)
        outbox = Outbox(tmp_path, database_url, redis_url)
        outbox.prepare()
        for number, host in enumerate(network.hosts):
            (tmp_path / host).mkdir()
            urls = [
                _moved(stack, tmp_path, url, network.gateway(number)) for url in (database_url, redis_url)
            ]
            stack.enter_context(Outbox(tmp_path / host, *urls).relay("ip", "netns", "exec", host))
        committed = outbox.send(100)
        network.cut_off(0)
        committed += outbox.send(100)
        eventually(outbox.all_published, seconds=60)
        with redis.Redis.from_url(redis_url) as client:
            assert_all_arrived(committed, in_redis(client), copies=2)


def _moved(stack: ExitStack, directory: Path, url: str, address: str) -> str:
    """Return the URL by which a host reaches a local server."""
    parts = urlsplit(url)
    assert parts.port
    port = _forwarder(stack, directory, address, parts.port)
    return url.replace(f"{HOST}:{parts.port}", f"{address}:{port}")
