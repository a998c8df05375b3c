"""A client of HTTP/2 that sends what it is told to, right or wrong, and keeps all that it hears.

The libraries that speak HTTP/2 refuse to send what a test of a server wants to send.
"""

import socket
import ssl
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW = 1 << 30
FRAME = 1 << 14
Fields = list[tuple[str, str]]


@dataclass
class Stream:
    """What was heard of one."""

    heads: list[dict[str, str]] = field(default_factory=list)
    """Of the response, and of its trailers if it has some."""
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None
    """Its code."""

    @property
    def status(self) -> int | None:
        return int(self.heads[0][":status"]) if self.heads else None

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None


def connected(port: int, little_room: bool = False) -> socket.socket:
    """With little room the kernel keeps hardly anything that is not read."""
    connection = socket.socket()
    connection.settimeout(10)
    if little_room:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.connect(("127.0.0.1", port))
    return connection


class Connection:
    def __init__(
        self,
        port: int,
        authority: str | None = None,
        window: int = WINDOW,
        little_room: bool = False,
    ) -> None:
        """Each stream begins with this window; with little room also the kernel has."""
        self._socket = connected(port, little_room)
        if authority:
            context = ssl.create_default_context(cafile=authority)
            context.set_alpn_protocols(["h2"])
            self._socket = context.wrap_socket(
                self._socket, server_hostname="localhost"
            )
        self._encoder, self._decoder = Encoder(), Decoder()
        self.at_most, self.pause_s = 65536, 0.0
        """How many bytes are read at once, and how long the pause after that is."""
        self._read = b""
        self._next = 1
        self._window = 65535
        self._windows: dict[int, int] = defaultdict(
            lambda: self.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, 65535)
        )
        self.settings: dict[int, int] = {}
        self.streams: dict[int, Stream] = defaultdict(Stream)
        self.goaway: int | None = None
        """Its code, unless it is only a polite end."""
        self.closed = False
        mine = {SettingsFrame.INITIAL_WINDOW_SIZE: window, SettingsFrame.ENABLE_PUSH: 0}
        self._socket.sendall(PREFACE)
        self.send(SettingsFrame(0, mine))
        self.send(WindowUpdateFrame(0, WINDOW))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, *frames: Frame) -> None:
        self.send_bytes(b"".join(frame.serialize() for frame in frames))

    def send_bytes(self, data: bytes) -> None:
        self._socket.sendall(data)

    def headers(self, fields: Fields, end: bool = True, stream: int = 0) -> int:
        """A new stream's head, or a stream's trailers, with exactly these fields."""
        if not stream:
            stream, self._next = self._next, self._next + 2
        frame = HeadersFrame(stream, self._encoder.encode(fields, huffman=False))
        frame.flags.add("END_HEADERS")
        if end:
            frame.flags.add("END_STREAM")
        self.send(frame)
        return stream

    def data(self, stream: int, data: bytes, end: bool = False) -> None:
        """As the windows allow."""
        while data or end:
            room = min(self._window, self._windows[stream], FRAME)
            if data and room <= 0:
                self._take_one()
                assert not self.closed, "no window, and then closed"
                continue
            part, data = data[:room], data[room:]
            frame = DataFrame(stream, part)
            if end and not data:
                frame.flags.add("END_STREAM")
                end = False
            self._window -= len(part)
            self._windows[stream] -= len(part)
            self.send(frame)

    def reset(self, stream: int, code: int = 8) -> None:
        self.send(RstStreamFrame(stream, code))

    def ping(self) -> None:
        """All that was sent before it has been looked at when this is over, or the connection is."""
        self.send(PingFrame(0, b"all seen"))
        self._pinged = False
        self.until(lambda: self._pinged)

    def until(self, look: Callable[[], object]) -> None:
        """Reads until this is so, or the connection is closed."""
        while not look() and not self.closed:
            self._take_one()

    def until_over(self, stream: int) -> Stream:
        self.until(lambda: self.streams[stream].over)
        return self.streams[stream]

    def until_head(self, stream: int) -> Stream:
        self.until(lambda: self.streams[stream].over or self.streams[stream].heads)
        return self.streams[stream]

    def until_body(self, stream: int, length: int) -> bytes:
        heard = self.streams[stream]
        self.until(lambda: heard.over or len(heard.body) >= length)
        return bytes(heard.body)

    def _take_one(self) -> None:
        if head := self._exactly(9):
            frame, length = Frame.parse_frame_header(memoryview(head))
            if length == 0 or (payload := self._exactly(length)):
                frame.parse_body(memoryview(payload if length else b""))
                return self._take(frame)
        self.closed = True

    def _exactly(self, length: int) -> bytes:
        while len(self._read) < length:
            try:
                data = self._socket.recv(self.at_most)
            except ConnectionError:
                data = b""
            if not data:
                return b""
            self._read += data
            time.sleep(self.pause_s)
        data, self._read = self._read[:length], self._read[length:]
        return data

    def _take(self, frame: Frame) -> None:
        stream = frame.stream_id
        match frame:
            case SettingsFrame() if "ACK" not in frame.flags:
                self.settings.update(frame.settings)
                ack = SettingsFrame(0)
                ack.flags.add("ACK")
                self.send(ack)
            case WindowUpdateFrame() if stream:
                self._windows[stream] += frame.window_increment
            case WindowUpdateFrame():
                self._window += frame.window_increment
            case PingFrame() if "ACK" in frame.flags:
                self._pinged = True
            case PingFrame():
                answer = PingFrame(0, frame.opaque_data)
                answer.flags.add("ACK")
                self.send(answer)
            case HeadersFrame():
                assert "END_HEADERS" in frame.flags, "a head in many frames"
                self.streams[stream].heads.append(
                    dict(self._decoder.decode(frame.data))
                )
            case DataFrame():
                self.streams[stream].body += frame.data
            case RstStreamFrame():
                self.streams[stream].reset = frame.error_code
            case GoAwayFrame() if frame.error_code:
                self.goaway = frame.error_code
        if "END_STREAM" in frame.flags:
            self.streams[stream].ended = True


def request(path: str = "/", method: str = "GET", *fields: tuple[str, str]) -> Fields:
    """The head of an ordinary request."""
    pseudo = [(":method", method), (":scheme", "http"), (":authority", "localhost")]
    return [*pseudo, (":path", path), *fields]
