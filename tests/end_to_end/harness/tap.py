"""A wire tap: a TCP relay that keeps what the server said."""

import socket
import threading
from typing import Self


class Tap:
    """Relays connections to `port`, each on threads of its own.

    What a client is *not* told by its library is still on the wire: here one
    can see it. An end or a reset on one side is passed to the other at once.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.heard = bytearray()
        self.asked = bytearray()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            for source, sink, record in (
                (client, server, self.asked),
                (server, client, self.heard),
            ):
                sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(
                    target=self._relay, args=(source, sink, record), daemon=True
                ).start()

    @staticmethod
    def _relay(source: socket.socket, sink: socket.socket, record: bytearray) -> None:
        try:
            while data := source.recv(65536):
                record += data
                sink.sendall(data)
        except OSError:
            pass
        for side in (source, sink):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def heartbeats(self) -> int:
        return self.heard.count(b": heartbeat\n")
