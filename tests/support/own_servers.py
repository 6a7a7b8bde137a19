"""Servers of a test's own, which it may kill, fill up and misconfigure; each keeps its data in a folder.

They are processes of :class:`project.stack.Process`: ``kill`` and ``start`` again is a crash and a restart.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from project.stack import Process
from project.stack.network import HOST, free_port, redis_answers
from tests.support import servers

S = TypeVar("S", bound="OwnServer")


@dataclass(frozen=True)
class OwnServer:
    """A server's process, and the URL at which it is the broker or the database."""

    url: str
    process: Process

    def crash(self) -> None:
        """End it at once, with nothing written down that is not yet."""
        self.process.kill()

    def restart(self) -> None:
        self.crash()
        self.start()

    def start(self) -> None:
        self.process.start()
        self.process.wait_ready(60)


@contextmanager
def own_redis(directory: Path, *options: str) -> Iterator[OwnServer]:
    """Run a Redis with these options of ``redis-server``."""
    binary = shutil.which("redis-server")
    if binary is None:
        servers.missing("no redis-server was found")
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    process = Process(
        "redis",
        [str(binary), "--bind", HOST, "--port", str(port), "--save", "", "--dir", str(directory), *options],
        log=directory / "redis.log",
        ready=lambda process: redis_answers(port),
    )
    with _running(OwnServer(f"redis://{HOST}:{port}/0", process)) as server:
        yield server


@dataclass(frozen=True)
class OwnRabbitMQ(OwnServer):
    """A node of RabbitMQ, with a port mapper of its own: those of other nodes do not see it."""

    scripts: Path
    environment: dict[str, str]

    def ctl(self, *arguments: str) -> None:
        """Run ``rabbitmqctl``."""
        command = [str(self.scripts / "rabbitmqctl"), "-q", *arguments]
        subprocess.run(command, env=self.environment, check=True, capture_output=True, timeout=60)


@contextmanager
def own_rabbitmq(directory: Path, *configuration: str) -> Iterator[OwnRabbitMQ]:
    """Run a node of RabbitMQ with these lines of ``rabbitmq.conf``."""
    found = Path("/usr/lib/rabbitmq/bin/rabbitmqctl")
    epmd = shutil.which("epmd")
    if not found.exists() or epmd is None:
        servers.missing("no rabbitmq-server was found")
    scripts = found.resolve().parent
    directory.mkdir(parents=True, exist_ok=True)
    cookie = directory / ".erlang.cookie"
    cookie.write_text(secrets.token_hex(10))
    cookie.chmod(0o400)
    (directory / "rabbitmq.conf").write_text("\n".join([*configuration, ""]))
    port, mapper_port = free_port(), free_port()
    environment = os.environ | {
        "HOME": str(directory),
        "ERL_EPMD_PORT": str(mapper_port),
        "ERL_EPMD_ADDRESS": HOST,
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_NODENAME": f"own{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": HOST,
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
    }
    mapper = Process(
        "epmd", [str(epmd), "-port", str(mapper_port)], log=directory / "epmd.log", env=environment
    )
    node = Process(
        "rabbitmq",
        [scripts / "rabbitmq-server"],
        log=directory / "rabbitmq.log",
        env=environment,
        ready=lambda process: speaks_amqp(port),
    )
    mapper.start()
    try:
        server = OwnRabbitMQ(f"amqp://guest:guest@{HOST}:{port}//", node, scripts, environment)
        with _running(server) as running:
            yield running
    finally:
        mapper.kill()


def speaks_amqp(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1) as connection:
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        return bool(connection.recv(8))
    return False


@dataclass(frozen=True)
class OwnPostgreSQL(OwnServer):
    def crash(self) -> None:
        self.process.signal(
            signal.SIGQUIT
        )  # its "immediate" shutdown; a new one waits for all processes of the old
        self.process.wait()
        self.process.kill()


@contextmanager
def own_postgresql(directory: Path) -> Iterator[OwnPostgreSQL]:
    """Run a PostgreSQL cluster of its own, as the user ``postgres``: it refuses to run as root."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not binaries:
        servers.missing("no PostgreSQL was found to make a cluster with")
    folder, port = binaries[-1].parent, free_port()
    as_postgres: list[str] = []
    # not in the test's own folder, which pytest keeps to root
    with tempfile.TemporaryDirectory(prefix="dispatch-postgresql-") as data:
        if os.getuid() == 0:
            as_postgres = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
            shutil.chown(data, "postgres", "postgres")
        initdb = [
            *as_postgres,
            str(folder / "initdb"),
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
        ]
        subprocess.run(initdb, check=True, capture_output=True, cwd="/", timeout=60)
        process = Process(
            "postgresql",
            [*as_postgres, str(folder / "postgres"), "-D", data, "-p", str(port), "-h", HOST, "-k", ""],
            log=directory / "postgresql.log",
            cwd=Path("/"),
            ready=lambda process: accepts_sessions(port),
        )
        with _running(OwnPostgreSQL(f"postgres://postgres@{HOST}:{port}/postgres", process)) as server:
            yield server


def accepts_sessions(port: int) -> bool:
    import psycopg

    with suppress(psycopg.OperationalError):
        psycopg.connect(f"postgresql://postgres@{HOST}:{port}/postgres").close()
        return True
    return False


@contextmanager
def _running(server: S) -> Iterator[S]:
    try:
        server.start()
        yield server
    finally:
        server.process.kill()
