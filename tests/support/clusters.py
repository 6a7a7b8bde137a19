"""Brokers that are more than one server on one machine: Redis under sentinels, a RabbitMQ cluster, both over TLS."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import redis

from project.stack import Process
from project.stack.network import HOST, free_port, redis_answers
from project.stack.process import says
from tests.support import servers

#: Debian's wrapper would change the user, and with it the folder of the cookie.
RABBITMQ_BIN = Path("/usr/lib/rabbitmq/bin")
#: What a replica of Redis is called by its sentinels.
MASTER = "outbox"


@dataclass(frozen=True)
class Certificates:
    """An authority of the test's own, and what it signed for 127.0.0.1."""

    authority: Path
    certificate: Path
    key: Path


def certificates(directory: Path) -> Certificates:
    """Make an authority and a server's certificate."""
    directory.mkdir(parents=True, exist_ok=True)
    made = Certificates(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    authority_key = directory / "ca.key"
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    _run([*new, "-subj", "/CN=authority", "-keyout", authority_key, "-out", made.authority])
    signed = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=IP:{HOST}", "-keyout", made.key]
    _run([*new, *signed, "-CA", made.authority, "-CAkey", authority_key, "-out", made.certificate])
    return made


def _run(command: Sequence[str | Path], **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


# -- Redis --------------------------------------------------------------------


def _redis(directory: Path, name: str, *flags: str, port: int | None = None) -> tuple[Process, int]:
    binary = shutil.which("redis-server")
    if binary is None:
        servers.missing("no redis-server was found")
    port = port or free_port()
    ours = ["--bind", HOST, "--dir", str(directory), "--save", "", *flags]
    plain = [] if "--tls-port" in flags else ["--port", str(port)]
    process = Process(name, [str(binary), *plain, *ours], log=directory / f"{name}.log")
    process.start()
    return process, port


@contextlib.contextmanager
def redis_over_tls(directory: Path, signed: Certificates) -> Iterator[int]:
    """Yield the port of a Redis that speaks TLS alone."""
    port = free_port()
    files = ["--tls-cert-file", signed.certificate, "--tls-key-file", signed.key]
    files += ["--tls-ca-cert-file", signed.authority]
    flags = ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no", *map(str, files)]
    process, _ = _redis(directory, "redis-tls", *flags)
    try:
        process._ready = says("Ready to accept connections")
        process.wait_ready(10)
        yield port
    finally:
        process.stop()


@dataclass(frozen=True)
class Sentinels:
    """A Redis, its replica, and three sentinels that name the one that is the master."""

    master: Process
    ports: tuple[int, ...]

    @property
    def url(self) -> str:
        return ";".join(f"sentinel://{HOST}:{port}" for port in self.ports)

    def client(self) -> redis.Redis:
        """A client of whichever is the master now."""
        watched = redis.Sentinel([(HOST, port) for port in self.ports], socket_timeout=1)
        return watched.master_for(MASTER, socket_timeout=5)


@contextlib.contextmanager
def sentinels(directory: Path) -> Iterator[Sentinels]:
    """Run a Redis with a replica under three sentinels, which need two votes and a second of silence."""
    with contextlib.ExitStack() as stack:
        master, port = _redis(directory, "master")
        stack.callback(master.stop)
        replica, replica_port = _redis(directory, "replica", "--replicaof", HOST, str(port))
        stack.callback(replica.stop)
        for process, each in ((master, port), (replica, replica_port)):
            process._ready = lambda _, each=each: redis_answers(each)
            process.wait_ready(10)
        watching = [_sentinel(stack, directory / f"sentinel{number}", port) for number in range(3)]
        with redis.Redis(port=watching[0]) as client:
            _until(lambda: _knows(client))
        yield Sentinels(master, tuple(watching))


def _sentinel(stack: contextlib.ExitStack, directory: Path, master_port: int) -> int:
    directory.mkdir()
    port = free_port()
    lines = [
        f"port {port}",
        f"bind {HOST}",
        f"dir {directory}",
        f"sentinel monitor {MASTER} {HOST} {master_port} 2",
    ]
    lines += [f"sentinel down-after-milliseconds {MASTER} 1000", f"sentinel failover-timeout {MASTER} 5000"]
    (directory / "sentinel.conf").write_text("\n".join(lines) + "\n")
    command = [shutil.which("redis-server") or "", directory / "sentinel.conf", "--sentinel"]
    process = Process(directory.name, command, log=directory / "log", ready=lambda _: redis_answers(port))
    process.start()
    stack.callback(process.stop)
    process.wait_ready(10)
    return port


def _knows(client: redis.Redis) -> bool:
    state = client.sentinel_master(MASTER)
    return state["num-slaves"] == 1 and state["num-other-sentinels"] == 2


def _until(question: object) -> None:
    from tests.support.stacks import eventually

    eventually(question)  # type: ignore[arg-type]


# -- RabbitMQ -----------------------------------------------------------------


@dataclass(frozen=True)
class Node:
    """One RabbitMQ server of our own, out of reach of the machine's."""

    name: str
    process: Process
    port: int
    environment: dict[str, str]

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{HOST}:{self.port}//"

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl for this node."""
        command = [RABBITMQ_BIN / "rabbitmqctl", "-q", "-n", self.name, *arguments]
        return _run(command, env=self.environment)


@contextlib.contextmanager
def rabbitmq(directory: Path, count: int = 1, *, tls: Certificates | None = None) -> Iterator[list[Node]]:
    """Run a RabbitMQ of so many nodes, with an epmd of its own; over TLS alone, where there are certificates."""
    if not (RABBITMQ_BIN / "rabbitmq-server").exists():
        servers.missing("no rabbitmq-server was found")
    home = directory / "home"
    home.mkdir(parents=True)
    cookie = home / ".erlang.cookie"
    cookie.write_text("OUTBOX")
    cookie.chmod(0o400)
    names = [f"node{number}@localhost" for number in range(count)]
    common = {"PATH": os.environ["PATH"], "HOME": str(home), "ERL_EPMD_PORT": str(free_port())}
    common |= {"ERL_EPMD_ADDRESS": HOST, "RABBITMQ_ENABLED_PLUGINS_FILE": "/dev/null", "LANG": "C.UTF-8"}
    nodes = [_node(directory / name.partition("@")[0], name, names, common, tls) for name in names]
    try:
        for node in nodes:
            node.process.start()
        for node in nodes:
            node.process.wait_ready(60)
        yield nodes
    finally:
        for node in nodes:
            node.process.kill()
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["epmd", "-kill"], env=common, capture_output=True, timeout=10, check=False)


def _node(
    directory: Path, name: str, names: Sequence[str], common: dict[str, str], tls: Certificates | None
) -> Node:
    directory.mkdir()
    port = free_port()
    kind = "ssl" if tls else "tcp"
    lines = [f"listeners.{kind}.1 = {HOST}:{port}", "log.console = true", "log.file = false"]
    lines += ["cluster_formation.peer_discovery_backend = classic_config"]
    lines += [
        f"cluster_formation.classic_config.nodes.{place} = {each}" for place, each in enumerate(names, 1)
    ]
    if tls:
        lines += [
            "listeners.tcp = none",
            f"ssl_options.cacertfile = {tls.authority}",
            f"ssl_options.certfile = {tls.certificate}",
            f"ssl_options.keyfile = {tls.key}",
        ]
    (directory / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
    environment = common | {
        "RABBITMQ_NODENAME": name,
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_MNESIA_BASE": str(directory),
        "RABBITMQ_LOG_BASE": str(directory),
        "RABBITMQ_PID_FILE": str(directory / "pid"),
    }
    process = Process(
        name.partition("@")[0],
        [RABBITMQ_BIN / "rabbitmq-server"],
        log=directory / "log",
        env=environment,
        ready=says("Server startup complete"),
    )
    return Node(name, process, port, environment)
