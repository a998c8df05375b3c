"""A backend in this process, of which a test says what each of its connections does."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from harness.certificate import certificate

Serve = Callable[["Peer"], None]


class Peer:
    """One connection to the backend, numbered from 1 on."""

    def __init__(self, connection: socket.socket, number: int) -> None:
        self.connection, self.number = connection, number
        self._read = b""

    def head(self) -> bytes:
        """The next request's, or nothing once the other side has closed."""
        while b"\r\n\r\n" not in self._read:
            if not (data := self.connection.recv(65536)):
                return b""
            self._read += data
        head, self._read = self._read.split(b"\r\n\r\n", 1)
        return head

    def body(self, head: bytes) -> bytes:
        """What belongs to a head with a length."""
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        while len(self._read) < length:
            if not (data := self.connection.recv(65536)):
                raise ConnectionResetError("in the middle of a body")
            self._read += data
        body, self._read = self._read[:length], self._read[length:]
        return body

    def until(self, end: bytes) -> bool:
        """Reads up to `end`; whether it came before the other side closed."""
        while end not in self._read:
            if not (data := self.connection.recv(65536)):
                return False
            self._read += data
        self._read = self._read.split(end, 1)[1]
        return True

    def answer(self, body: bytes = b"", *fields: str, status: str = "200 OK") -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields]
        self.connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)


class Scripted:
    """Gives each connection to `serve`, on a thread of its own, and closes it after that.

    It is silent for `slow_s` before that, and before the TLS handshake if there is one.
    """

    def __init__(
        self,
        serve: Serve,
        tls: ssl.SSLContext | None = None,
        listener: socket.socket | None = None,
        slow_s: float = 0,
    ) -> None:
        self._serve, self._tls, self._slow_s = serve, tls, slow_s
        self._listener = listener or socket.create_server(("127.0.0.1", 0), backlog=64)
        self._is_tcp = self._listener.family != socket.AF_UNIX
        if self._is_tcp:
            self.port = self._listener.getsockname()[1]
            self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A thread that waits in `accept` would keep the socket listening.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def accepted(self) -> int:
        """How many connections were opened to it so far."""
        return len(self._connections)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                if self._is_tcp:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections.append(connection)
                arguments = (connection, self.accepted)
                threading.Thread(target=self._run, args=arguments, daemon=True).start()

    def _run(self, connection: socket.socket, number: int) -> None:
        with suppress(OSError), connection:
            time.sleep(self._slow_s)
            if self._tls:
                with self._tls.wrap_socket(connection, server_side=True) as secure:
                    self._serve(Peer(secure, number))
            else:
                self._serve(Peer(connection, number))


def offering(protocol: str) -> ssl.SSLContext:
    """TLS for this machine, with this protocol and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate().chain, certificate().private_key)
    context.set_alpn_protocols([protocol])
    return context
