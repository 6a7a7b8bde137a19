"""A TCP proxy in front of a real broker, which can be cut, stalled and opened again."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

HOST = "127.0.0.1"


class Proxy:
    """Forwards to ``target`` while it is open.

    ``cut`` closes every connection and refuses new ones; ``stall`` accepts, and never answers; ``swallow_replies``
    lets requests through and keeps the answers back, ``hold_replies`` only until it is opened again; ``limit`` does one
    of these in the middle of a stream, ``when_asked`` before a request passes.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.connections = 0
        self._stalled = threading.Event()
        self._mute = threading.Event()
        self._frozen = threading.Event()
        self._replies_flow = threading.Event()
        self._limit: tuple[bool, Callable[[], None]] | None = None
        self._left = 0
        self._awaited: tuple[bytes, Callable[[], None]] | None = None
        self._sockets: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.open()

    def open(self) -> None:
        """Forward again, on the same port."""
        self._stalled.clear()
        self._mute.clear()
        self._frozen.clear()
        self._replies_flow.set()
        self._limit = self._awaited = None
        if self._listener is None:
            self._listener = socket.create_server((HOST, self.port))
            self.port = self._listener.getsockname()[1]
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Refuse connections, as a broker does that is down."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._drop()

    def stall(self) -> None:
        """Accept connections and never answer; those that are open fall silent too."""
        self._stalled.set()
        self._drop()

    def swallow_replies(self) -> None:
        """Let requests reach the broker and keep its answers back."""
        self._mute.set()

    def hold_replies(self) -> None:
        """Let requests reach the broker, and hold its answers until :meth:`open`."""
        self._replies_flow.clear()

    def freeze(self) -> None:
        """Pass nothing on any more, in either direction, and keep the connections open."""
        self._mute.set()
        self._frozen.set()

    def limit(self, count: int, then: Callable[[], None], *, replies: bool) -> None:
        """Let so many more bytes through, of the replies or of the requests, and do then what is asked."""
        self._left, self._limit = count, (replies, then)

    def when_asked(self, text: bytes, then: Callable[[], None]) -> None:
        """Do what is asked before the next requests that hold this text are let through."""
        self._awaited = text, then

    def close(self) -> None:
        self.cut()

    def _drop(self) -> None:
        sockets, self._sockets = self._sockets, []
        for connection in sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(client)
            if not self._stalled.is_set():
                self._forward(client)

    def _forward(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection((HOST, self.target_port))
        except OSError:  # it is down, and so is the proxy
            client.close()
            return
        self._sockets.append(server)
        threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
        threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, replies: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if replies:
                    self._replies_flow.wait()
                elif self._awaited and self._awaited[0] in data:
                    (_, then), self._awaited = self._awaited, None
                    then()
                if self._frozen.is_set() or (replies and self._mute.is_set()):
                    continue
                limit = self._limit
                if limit is None or limit[0] != replies or len(data) < self._left:
                    self._left -= len(data) * (limit is not None and limit[0] == replies)
                    sink.sendall(data)
                else:
                    self._limit = None
                    sink.sendall(data[: self._left])
                    limit[1]()
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
