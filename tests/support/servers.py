"""Which real servers the tests may use, and where they are.

``DISPATCH_REQUIRE_SERVERS=all`` turns every skip for a missing server into a failure.
"""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urlsplit

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
PROMTOOL = shutil.which("promtool") or ""  # of Prometheus


@dataclass(frozen=True)
class Server:
    name: str
    url: str

    @property
    def answers(self) -> bool:
        address = urlsplit(self.url)
        try:
            with socket.create_connection((address.hostname, address.port), timeout=1):
                return True
        except OSError:
            return False

    def require(self) -> str:
        """Return the URL; without the server, skip with the reason, or fail where servers are required."""
        if not self.answers:
            missing(f"{self.name} does not answer at {urlsplit(self.url).hostname}:{urlsplit(self.url).port}")
        return self.url


def missing(reason: str) -> NoReturn:
    """Skip with the reason, or fail where servers are required."""
    if servers_required():
        pytest.fail(f"{reason}, and DISPATCH_REQUIRE_SERVERS asks for it.")
    pytest.skip(reason)


def servers_required() -> bool:
    return os.environ.get("DISPATCH_REQUIRE_SERVERS", "") not in ("", "0")


POSTGRESQL = Server(
    "PostgreSQL", os.environ.get("TEST_POSTGRESQL_URL", "postgres://postgres@127.0.0.1:5432/postgres")
)
MARIADB = Server("MariaDB", os.environ.get("TEST_MARIADB_URL", "mysql://root@127.0.0.1:3306/test"))
RABBITMQ = Server("RabbitMQ", os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//"))
DATABASES = {"postgresql": POSTGRESQL, "mariadb": MARIADB}
