"""An outbox with the processes that a test starts over it, and the broker that they talk to."""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kombu
from django.conf import settings
from django.db import connection

from dispatch.models import OutboxMessage
from project.stack import Process, Stack
from project.stack.stack import ROOT
from tests.support.ledger import Ledger
from tests.support.proxy import Proxy
from tests.support.stacks import eventually


@dataclass
class Site:
    """The outbox of the test's database, a broker, and the processes that a test starts over both."""

    directory: Path
    url: str
    queue: str
    ledger: Ledger = field(default_factory=Ledger)
    running: list[Process] = field(default_factory=list)

    def start(
        self, *arguments: str, failpoint: str = "", through: Proxy | None = None, **keys: Any
    ) -> Process:
        """Start ``manage.py dispatch ARGUMENTS`` with these keys of ``DISPATCH``; the broker may be behind a proxy."""
        dispatch = {**settings.DISPATCH, **keys}
        if through:
            default = {**dispatch["BROKERS"]["default"], "URL": behind(self.url, through)}
            dispatch["BROKERS"] = {**dispatch["BROKERS"], "default": default}
        command = ["-m", "tests.support.failpoints", failpoint] if failpoint else ["manage.py"]
        name = f"{arguments[0]}-{len(self.running)}"
        process = Process(
            name,
            [sys.executable, *command, "dispatch", *arguments],
            log=self.directory / f"{name}.log",
            env=environment(dispatch),
            cwd=ROOT,
        )
        self.running.append(process)
        process.start()
        return process

    def relay(self, **options: Any) -> Process:
        return self.start("relay", **options)

    def take(self) -> int:
        """Take what is in the queue into the ledger; return how many copies there are in all."""
        self.ledger.take(self.url, self.queue)
        return self.ledger.copies.total()

    def settled(self, seconds: float = 30) -> None:
        """Wait until nothing is pending or claimed, and take what arrived."""
        try:
            eventually(lambda: not open_rows(), seconds=seconds)
        except AssertionError:
            logs = "\n".join(process.tail() for process in self.running)
            raise AssertionError(f"{open_rows()} are still waiting.\n{logs}") from None
        self.take()

    def stop(self) -> None:
        for process in self.running:
            process.kill()


def environment(dispatch: dict[str, Any]) -> dict[str, str]:
    """The environment of a process over the test's database."""
    stack = Stack(Path(), database_url=database_url(), broker_url="", result_backend_url="", web_port=1)
    return stack.web_environment | {
        "DJANGO_SETTINGS_MODULE": "tests.support.process_settings",
        "TEST_DISPATCH": json.dumps(dispatch),
    }


def database_url() -> str:
    entry = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{entry['NAME']}"
    scheme = {"postgresql": "postgres", "mysql": "mysql"}[connection.vendor]
    return f"{scheme}://{entry['USER']}@{entry['HOST']}:{entry['PORT']}/{entry['NAME']}"


def behind(url: str, proxy: Proxy) -> str:
    return url.replace(f":{urlsplit(url).port}", f":{proxy.port}")


def open_rows() -> dict[str, list[str]]:
    """The rows that are pending or claimed, by status, with their errors."""
    rows = OutboxMessage.objects.filter(status__in=["pending", "claimed"]).values_list("status", "last_error")
    found: dict[str, list[str]] = {}
    for status, error in rows[:5]:
        found.setdefault(status, []).append(error)
    return found


def statuses() -> Counter[str]:
    return Counter(OutboxMessage.objects.values_list("status", flat=True))


def length(site: Site) -> int:
    """How many copies are in the queue; they stay there."""
    with kombu.Connection(site.url) as link:
        channel = link.channel()
        with contextlib.suppress(*link.channel_errors):
            return int(channel.queue_declare(site.queue, passive=True).message_count)
    return 0
