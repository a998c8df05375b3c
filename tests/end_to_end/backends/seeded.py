"""A backend of seeded streams that fail as they are asked to, with HTTP/1.1 and HTTP/2.

/seeded?seed=S&count=N&gap_ms=N&fault=F&at=N    see harness/seeded.py
anything else                                  an ordinary page
seeded.py PORT
"""

import asyncio
import random
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, RequestReceived, StreamReset, WindowUpdated
from h2.exceptions import ProtocolError

sys.path.insert(0, str(Path(__file__).parents[1]))
from harness import seeded  # noqa: E402

PAGE = b"<p>An ordinary page.</p>\n" * 100
Gone = Callable[[str], None]


async def play(query: dict[str, str], out: "Http1 | Http2Stream") -> None:
    """What a request is answered, over either protocol."""
    if "seed" not in query:
        await out.head("text/html")
        await out.send(PAGE)
        return await out.end()
    fault, at = query["fault"], int(query["at"])
    gap = int(query["gap_ms"]) / 1000
    if fault != "none" and at < 0:
        return await out.fail(fault)
    await out.head("text/event-stream")
    dice, sent = random.Random(query["seed"]), 0
    for event in seeded.events(query["seed"], int(query["count"])):
        if fault != "none" and sent + len(event) > at:
            await out.send(event[: at - sent])
            await asyncio.sleep(gap)
            return await out.fail(fault)
        sent += len(event)
        if dice.random() < 0.2:
            half = dice.randrange(1, len(event))
            await out.send(event[:half])
            await asyncio.sleep(gap)
            event = event[half:]
        await out.send(event)
        await asyncio.sleep(gap)
    await out.end()


class Http1:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def head(self, content_type: str) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n"
        self._writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())

    async def send(self, data: bytes) -> None:
        if data:
            self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await self._writer.drain()

    async def end(self) -> None:
        self._writer.write(b"0\r\n\r\n")

    async def fail(self, fault: str) -> None:
        if fault == "hang":
            await asyncio.sleep(1e6)
        if fault == "garbage":
            self._writer.write(b"this is no chunk\r\n")
        if fault == "reset":
            connection = self._writer.get_extra_info("socket")
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.close()


class Http2Stream:
    def __init__(self, connection: "Http2", stream: int) -> None:
        self._connection = connection
        self._h2 = connection.h2
        self._stream = stream

    async def head(self, content_type: str) -> None:
        head = [(":status", "200"), ("content-type", content_type)]
        self._h2.send_headers(self._stream, head)
        self._connection.flush()

    async def send(self, data: bytes) -> None:
        while data:
            room = self._h2.local_flow_control_window(self._stream)
            piece = data[: min(room, self._h2.max_outbound_frame_size)]
            if not piece:
                await self._connection.room()
                continue
            self._h2.send_data(self._stream, piece)
            self._connection.flush()
            data = data[len(piece) :]

    async def end(self) -> None:
        self._h2.end_stream(self._stream)
        self._connection.flush()

    async def fail(self, fault: str) -> None:
        """A stream has no more to break than itself."""
        if fault == "hang":
            await asyncio.sleep(1e6)
        self._h2.reset_stream(self._stream, 2)
        self._connection.flush()


class Http2:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False))
        self._writer = writer
        self._room = asyncio.Event()

    def flush(self) -> None:
        self._writer.write(self.h2.data_to_send())

    async def room(self) -> None:
        self._room.clear()
        await self._room.wait()

    async def serve(
        self, reader: asyncio.StreamReader, read: bytes, gone: Gone
    ) -> None:
        self.h2.initiate_connection()
        streams: dict[int, asyncio.Task] = {}
        try:
            while read:
                for event in self.h2.receive_data(read):
                    match event:
                        case RequestReceived(stream_id=stream, headers=headers):
                            path = dict(headers)[b":path"].decode()
                            answer = self._answer(stream, path, gone)
                            streams[stream] = asyncio.create_task(answer)
                        case StreamReset(stream_id=stream):
                            streams[stream].cancel()
                        case WindowUpdated():
                            self._room.set()
                        case ConnectionTerminated():
                            return
                self.flush()
                read = await reader.read(65536)
        finally:
            for task in streams.values():
                task.cancel()

    async def _answer(self, stream: int, path: str, gone: Gone) -> None:
        query = seeded.asked(path)
        try:
            await play(query, Http2Stream(self, stream))
        except asyncio.CancelledError:
            gone(query.get("seed", ""))
        except ProtocolError:
            pass  # it was reset a moment ago


async def serve_http1(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, gone: Gone
) -> None:
    async def next_byte() -> bytes:
        with suppress(OSError):
            return await reader.read(1)
        return b""

    while True:
        query = seeded.asked(head.split(b" ")[1].decode())
        playing = asyncio.create_task(play(query, Http1(writer)))
        # The sidecar sends no request before this one is answered: it can only leave.
        following = asyncio.create_task(next_byte())
        await asyncio.wait({playing, following}, return_when=asyncio.FIRST_COMPLETED)
        playing.cancel()
        try:
            await playing
        except (OSError, asyncio.CancelledError):
            following.cancel()
            return gone(query.get("seed", ""))
        if writer.is_closing():
            return
        head = await following + await reader.readuntil(b"\r\n\r\n")


async def start(
    listener: socket.socket, gone: Gone = lambda seed: None
) -> asyncio.Server:
    """Serves on `listener`; says which streams' clients are gone."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, asyncio.CancelledError):
            read = await reader.readuntil(b"\r\n\r\n")
            if read.startswith(b"PRI "):
                await Http2(writer).serve(reader, read, gone)
            else:
                await serve_http1(reader, writer, read, gone)
        writer.close()

    return await asyncio.start_server(serve, sock=listener)


async def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
    server = await start(listener)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
