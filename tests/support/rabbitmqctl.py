"""Vhosts and users of a test's own on the shared RabbitMQ, made by ``rabbitmqctl``."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.support import servers

CONTROL = shutil.which("rabbitmqctl") or ""
PASSWORD = "s3cret"


def control(*commands: Sequence[str]) -> None:
    """Run commands side by side, since each takes two seconds to begin."""
    running = [subprocess.Popen([CONTROL, "-q", *words], stdout=subprocess.DEVNULL) for words in commands]
    assert [process.wait(timeout=60) for process in running] == [0] * len(commands)


@dataclass(frozen=True)
class Site:
    """A vhost, and the URL under which somebody who may do everything is there."""

    vhost: str
    owner: str

    def url(self, user: str) -> str:
        """Return the URL of one of its users."""
        address = urlsplit(self.owner)
        return f"amqp://{user}:{PASSWORD}@{address.hostname}:{address.port}/{self.vhost}"


@contextmanager
def own_vhost(*users: str) -> Iterator[Site]:
    """Make a vhost, and users without any rights, for this block."""
    address, vhost = urlsplit(servers.RABBITMQ.require()), f"dispatch-test-{uuid.uuid4().hex[:12]}"
    if not CONTROL:
        servers.missing("no rabbitmqctl was found")
    control(("add_vhost", vhost), *(("add_user", user, PASSWORD) for user in users))
    try:
        control(("set_permissions", "-p", vhost, str(address.username), ".*", ".*", ".*"))
        host = f"{address.hostname}:{address.port}"
        yield Site(vhost, f"amqp://{address.username}:{address.password}@{host}/{vhost}")
    finally:
        control(("delete_vhost", vhost), *(("delete_user", user) for user in users))
