"""Clients of event streams in this process, a thousand if need be, that keep every byte."""

import asyncio
import ssl
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes

WINDOW = 1 << 20
GOAWAY = 7


@dataclass
class Heard:
    """What one request brought."""

    status: int | None = None
    body: bytearray = field(default_factory=bytearray)
    end: str | None = None
    """`clean`, `cut`, or `refused` before there was an answer."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, data: bytes) -> None:
        self.body += data
        self.changed.set()

    def ended(self, end: str) -> None:
        self.end = self.end or ("refused" if self.status is None else end)
        self.changed.set()

    async def until(self, length: int) -> None:
        """Waits for so many bytes, or the end."""
        while len(self.body) < length and not self.end:
            self.changed.clear()
            await self.changed.wait()

    async def until_end(self) -> None:
        await self.until(1 << 62)


def tls(authority: str, protocol: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority)
    context.set_alpn_protocols([protocol])
    return context


class Http1:
    """A request on a connection of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._reader, self._writer = reader, writer
        self._reading: asyncio.Task | None = None

    @classmethod
    async def connect(cls, **to):
        return cls(*await asyncio.open_connection(limit=1 << 14, **to))

    async def get(self, target: str, pause: float = 0) -> Heard:
        """Gives what is heard while it goes on; rests for `pause` after each read."""
        heard = Heard()
        request = (
            f"GET {target} HTTP/1.1\r\nHost: t\r\nAccept: text/event-stream\r\n\r\n"
        )
        self._writer.write(request.encode())
        self._reading = asyncio.create_task(self._read(heard, pause))
        return heard

    async def _read(self, heard: Heard, pause: float) -> None:
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            heard.status = int(head.split(b" ")[1])
            if b"chunked" not in head.lower():
                length = int(head.lower().split(b"content-length:")[1].split(b"\r")[0])
                heard.take(await self._reader.readexactly(length))
                return heard.ended("clean")
            while True:
                size = int(await self._reader.readuntil(b"\r\n"), 16)
                data = await self._reader.readexactly(size + 2)
                if not size:
                    return heard.ended("clean")
                heard.take(data[:-2])
                await asyncio.sleep(pause)
        except (OSError, EOFError):
            pass
        finally:
            heard.ended("cut")
            self._writer.close()

    def leave(self) -> None:
        self._writer.transport.abort()
        if self._reading:
            self._reading.cancel()


class Http2:
    """A connection for many requests."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._reader, self._writer = reader, writer
        self._h2 = H2Connection(H2Configuration(client_side=True))
        self._h2.initiate_connection()
        self._h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: WINDOW})
        self._h2.increment_flow_control_window(16 * WINDOW)
        self._streams: dict[int, Heard] = {}
        self.goes_away = False
        self._flush()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def connect(cls, **to):
        return cls(*await asyncio.open_connection(**to))

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())

    async def get(self, target: str) -> Heard:
        stream, heard = self._h2.get_next_available_stream_id(), Heard()
        self._streams[stream] = heard
        pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "t")]
        fields = [(":path", target), ("accept", "text/event-stream")]
        self._h2.send_headers(stream, pseudo + fields, end_stream=True)
        self._flush()
        return heard

    def reset(self, heard: Heard) -> None:
        """Gives one request up."""
        [stream] = [s for s, each in self._streams.items() if each is heard]
        heard.ended("cut")
        self._h2.reset_stream(stream, 8)
        self._flush()

    def leave(self) -> None:
        self._writer.transport.abort()
        self._reading.cancel()

    async def _read(self) -> None:
        try:
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3]))
                if head[3] == GOAWAY:
                    # For the library that is the connection's end.
                    self._goes_away(int.from_bytes(payload[:4]))
                    continue
                for event in self._h2.receive_data(head + payload):
                    self._take(event)
                self._flush()
        except (OSError, EOFError):
            pass
        finally:
            for heard in self._streams.values():
                heard.ended("cut")
            self._writer.close()

    def _goes_away(self, last: int) -> None:
        self.goes_away = True
        for stream, heard in self._streams.items():
            if stream > last:
                heard.ended("refused")

    def _take(self, event: object) -> None:
        match event:
            case ResponseReceived(stream_id=stream, headers=headers):
                self._streams[stream].status = int(dict(headers)[b":status"])
            case DataReceived(stream_id=stream, data=data):
                self._h2.acknowledge_received_data(len(data), stream)
                self._streams[stream].take(data)
            case StreamEnded(stream_id=stream):
                self._streams[stream].ended("clean")
            case StreamReset(stream_id=stream):
                self._streams[stream].ended("cut")
