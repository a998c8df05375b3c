"""A TCP hop that loses connections as networks do: by a reset, or without a word to the server."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from harness.waiting import wait_for

# Closing is then a reset.
AT_ONCE = struct.pack("ii", 1, 0)
DEADLINE_S = 10


@dataclass
class Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    asked: bytearray = field(default_factory=bytearray)
    heard: bytearray = field(default_factory=bytearray)
    is_lost: bool = False
    """What becomes of one side is no business of the other any more."""


class Hop:
    """Relays connections to `port`, on one thread."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._connections: list[Connection] = []
        self._lost = 0
        self._loop = asyncio.new_event_loop()
        self._mended = asyncio.Event()
        self._mended.set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._relay, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._server.close)
        self._call(self._abort_all)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)

    @property
    def asked(self) -> bytes:
        return b"".join(connection.asked for connection in self._connections)

    @property
    def heard(self) -> bytes:
        return b"".join(connection.heard for connection in self._connections)

    def reset(self) -> None:
        """Resets every connection, on both sides; what is asked on new ones waits until `mend`."""
        self._call(self._lose, True)

    def vanish(self) -> None:
        """The same, but the server hears nothing of it: its connections stay open, and unread."""
        self._call(self._lose, False)

    def wait_back(self) -> None:
        """Until somebody asks for something on a new connection."""
        lost = self._lost

        def is_back() -> bool:
            return any(connection.asked for connection in self._connections[lost:])

        wait_for(is_back, "the client is back")

    def mend(self) -> None:
        self._call(self._mended.set)

    def redirect(self, port: int) -> None:
        """Relays new connections to this port."""
        self._target = port

    def _lose(self, also_server: bool) -> None:
        self._mended.clear()
        for connection in self._connections[self._lost :]:
            connection.is_lost = True
            reset(connection.client)
            if connection.server:
                if also_server:
                    reset(connection.server)
                else:
                    connection.server.transport.pause_reading()
        self._lost = len(self._connections)

    def _abort_all(self) -> None:
        for connection in self._connections:
            connection.client.transport.abort()
            if connection.server:
                connection.server.transport.abort()

    async def _relay(
        self, reader: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        connection = Connection(client)
        self._connections.append(connection)
        with suppress(OSError):
            connection.asked += (first := await reader.read(65536))
            await self._mended.wait()
            answers, server = await asyncio.open_connection("127.0.0.1", self._target)
            connection.server = server
            server.write(first)
            await asyncio.gather(
                pass_on(reader, server, connection, connection.asked),
                pass_on(answers, client, connection, connection.heard),
            )

    def _call(self, what: Callable, *arguments: object) -> None:
        async def call() -> None:
            what(*arguments)

        self._run(call())

    def _run(self, what):
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(DEADLINE_S)


async def pass_on(
    source: asyncio.StreamReader,
    sink: asyncio.StreamWriter,
    connection: Connection,
    record: bytearray,
) -> None:
    """Until either of them is gone, which the other is told."""
    try:
        while data := await source.read(65536):
            record += data
            sink.write(data)
            await sink.drain()
        if not connection.is_lost:
            sink.close()
    except OSError:
        if not connection.is_lost:
            reset(sink)


def reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    writer.transport.abort()
