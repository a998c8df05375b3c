"""A wire tap: a TCP relay that keeps what was said, and knows who hung up."""

import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Self

from harness.waiting import wait_for


@dataclass
class Connection:
    asked: bytearray = field(default_factory=bytearray)
    heard: bytearray = field(default_factory=bytearray)
    left: float | None = None
    """When the client closed it, in ms."""
    ended: bool = False
    """Whether the server has closed it."""
    sides: tuple[socket.socket, ...] = ()


class Tap:
    """Relays connections to `port`, each on threads of its own.

    What a client is *not* told by its library is still on the wire: here one
    can see it. An end or a reset on one side is passed to the other at once.

    With `crossing` the end that a server puts to an idle connection crosses the
    client's next request: it is passed on when that request has been sent.
    """

    def __init__(self, port: int, crossing: bool = False) -> None:
        self._target = ("127.0.0.1", port)
        self._crossing = crossing
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[Connection] = []
        self._mended = threading.Event()
        self._mended.set()
        self._closed = False
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._listener.close()

    @property
    def asked(self) -> bytes:
        return b"".join(connection.asked for connection in self._connections)

    @property
    def heard(self) -> bytes:
        return b"".join(connection.heard for connection in self._connections)

    def heartbeats(self) -> int:
        return self.heard.count(b": heartbeat\n")

    def wait_heartbeats(self, count: int) -> None:
        wait_for(lambda: self.heartbeats() >= count, f"{count} heartbeats")

    def left(self, key: str) -> float:
        """When the client closed the connection on which it had named the key."""
        mine = [c for c in self._connections if key.encode() in c.asked]
        what = "the client closes its connection"
        return wait_for(lambda: mine[-1].left, what)

    def wait_ended(self) -> None:
        what = "the server closes its connection"
        wait_for(lambda: self._connections[-1].ended, what)

    def requests(self) -> list[int]:
        """How many each connection has carried, none of which had a body."""
        return [connection.asked.count(b"\r\n\r\n") for connection in self._connections]

    def hellos(self) -> list[bytes]:
        """How each connection began: what TLS says in the clear."""
        return [bytes(connection.asked[:2048]) for connection in self._connections]

    def hold(self) -> None:
        """Keeps requests waiting until `mend`; answers go on."""
        self._mended.clear()

    def cut(self) -> None:
        """Ends all connections; what is asked on new ones waits until `mend`."""
        self.hold()
        for connection in self._connections:
            hang_up(*connection.sides)

    def mend(self) -> None:
        self._mended.set()

    def redirect(self, port: int) -> None:
        """Relays new connections to this port."""
        self._target = ("127.0.0.1", port)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sides=(client, server))
            self._connections.append(connection)
            for relay in (self._relay_requests, self._relay_answers):
                arguments = (client, server, connection)
                threading.Thread(target=relay, args=arguments, daemon=True).start()

    def _relay_requests(
        self, client: socket.socket, server: socket.socket, connection: Connection
    ) -> None:
        relay(client, server, connection.asked, self._mended)
        connection.left = time.time() * 1000
        hang_up(client, server)

    def _relay_answers(
        self, client: socket.socket, server: socket.socket, connection: Connection
    ) -> None:
        relay(server, client, connection.heard)
        asked = len(connection.asked)
        connection.ended = True
        if self._crossing:
            wait_for(
                lambda: (
                    len(connection.asked) > asked or connection.left or self._closed
                ),
                "another request, or the end",
            )
        hang_up(client, server)


def relay(
    source: socket.socket,
    sink: socket.socket,
    record: bytearray,
    mended: threading.Event | None = None,
) -> None:
    """Until either of them is gone."""
    try:
        while data := source.recv(65536):
            record += data
            if mended:
                mended.wait()
            sink.sendall(data)
    except OSError:
        pass


def hang_up(*sides: socket.socket) -> None:
    for side in sides:
        try:
            side.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
