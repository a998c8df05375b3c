"""A client of one event stream in this process, that reads when it is told to."""

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

from harness import cursors, whatwg

STREAM = "text/event-stream"
DEADLINE_S = 10


class Reader:
    """Asks at once; `cursor` goes into Last-Event-ID."""

    def __init__(
        self,
        url: str,
        cursor: str | None = None,
        method: str | None = None,
        body: bytes | None = None,
        accept: str | None = STREAM,
        **fields: str,
    ) -> None:
        parts = urlsplit(url)
        lines = [f"{method or ('GET' if body is None else 'POST')} "]
        lines[0] += f"{parts._replace(scheme='', netloc='').geturl() or '/'} HTTP/1.1"
        named = {"Host": parts.netloc, "Accept": accept, "Last-Event-ID": cursor}
        if body is not None:
            named["Content-Length"] = str(len(body))
        named |= {name.replace("_", "-"): value for name, value in fields.items()}
        lines += [
            f"{name}: {value}" for name, value in named.items() if value is not None
        ]
        self.body = bytearray()
        """Without the chunks."""
        self.end: str | None = None
        """`clean` or `cut`."""
        self._raw = b""
        self._in_chunk = 0
        self._socket = socket.create_connection(
            (parts.hostname, parts.port), DEADLINE_S
        )
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(
            "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")
        )
        self._has_head = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def head(self) -> Self:
        """Reads the head, and no more than came with it."""
        while not self._has_head:
            while b"\r\n\r\n" not in self._raw:
                data = self._socket.recv(65536)
                assert data, f"no answer, only {self._raw!r}"
                self._raw += data
            head, _, self._raw = self._raw.partition(b"\r\n\r\n")
            line, *fields = head.decode("latin-1").split("\r\n")
            self.status = int(line.split(" ")[1])
            split = (field.partition(":") for field in fields)
            self.fields = {name.lower(): value.strip() for name, _, value in split}
            self._has_head = self.status >= 200
        self._is_chunked = "chunked" in self.fields.get("transfer-encoding", "")
        self._length = int(self.fields.get("content-length", 0))
        self._unchunk()
        return self

    @property
    def events(self) -> list[whatwg.Event]:
        return whatwg.parse(bytes(self.body))

    @property
    def data(self) -> list[str]:
        return [event.data for event in self.events]

    @property
    def cursor(self) -> str:
        """Of the last event; it has to be one of the sidecar's."""
        last = self.events[-1].id
        assert cursors.CURSOR.fullmatch(last), f"no cursor of ours: {last!r}"
        return last

    def until(self, seen: Callable[[], bool]) -> Self:
        """Reads until `seen`; an end before that is a failure."""
        self.head()
        while not seen():
            assert not self.end, (
                f"ended {self.end} too early: {bytes(self.body)[-500:]!r}"
            )
            self._more()
        return self

    def until_events(self, count: int) -> Self:
        return self.until(lambda: len(self.events) >= count)

    def until_data(self, number: int) -> Self:
        return self.until(lambda: str(number) in self.data)

    def until_brought(self, stream: bytes) -> Self:
        """Reads until it has brought that and nothing else, apart from ids of the sidecar's."""
        return self.until(lambda: cursors.without(bytes(self.body)) == stream)

    def until_end(self) -> str:
        self.head()
        while not self.end:
            self._more()
        return self.end

    def reset(self) -> None:
        """Leaves by a reset."""
        linger = struct.pack("ii", 1, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._socket.close()

    def _more(self) -> None:
        data = b""
        with suppress(ConnectionError):
            data = self._socket.recv(65536)
        self._raw += data
        self._unchunk()
        if not data:
            self.end = self.end or "cut"

    def _unchunk(self) -> None:
        """Takes what there is of the body, half chunks too."""
        if not self._is_chunked:
            self.body += self._raw
            self._raw = b""
            if len(self.body) >= self._length:
                self.end = "clean"
            return
        while self._raw and not self.end:
            if self._in_chunk:
                taken, self._raw = (
                    self._raw[: self._in_chunk],
                    self._raw[self._in_chunk :],
                )
                # The two last bytes of a chunk are its line's end.
                keep = max(0, min(len(taken), self._in_chunk - 2))
                self.body += taken[:keep]
                self._in_chunk -= len(taken)
                continue
            line, found, rest = self._raw.partition(b"\r\n")
            if not found:
                return
            size = int(line, 16)
            self._raw = rest
            if size:
                self._in_chunk = size + 2
            else:
                self.end = "clean"
