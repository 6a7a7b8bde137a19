"""Addresses at which nobody answers, in the two ways in which that happens."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from tests.support.proxy import HOST


def closed_port() -> int:
    """A port that refuses connections."""
    with socket.create_server((HOST, 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def silent_ports(count: int) -> Iterator[list[int]]:
    """Ports that accept connections and never answer; afterwards whoever still waits there is told."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        yield [server.getsockname()[1] for server in servers]


class HangsUp:
    """A server that ends each connection at once, and counts them."""

    def __init__(self) -> None:
        self.connections = 0
        self._server = socket.create_server((HOST, 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self.connections += 1
                client.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
