"""Many clients at once, through each door, and what has become of their streams."""

import asyncio
import itertools
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from harness import seeded
from harness.certificate import certificate
from harness.listeners import Heard, Http1, Http2, tls
from harness.ports import free_port
from harness.process import HERE, Server, python
from harness.sidecar import Sidecar

STREAMS_PER_CONNECTION = 25


class SeededBackend(Server):
    def __init__(self, folder: Path) -> None:
        port = free_port()
        argv = python(HERE / "backends/seeded.py", str(port))
        super().__init__("seeded", argv, port, folder / "backend.log")


@dataclass
class Stream:
    target: str
    heard: Heard
    leave: object
    """Called, it gives the stream up."""

    def __post_init__(self) -> None:
        self.asked = seeded.asked(self.target)

    @property
    def said(self) -> bytes:
        return seeded.without_heartbeats(bytes(self.heard.body))

    def account(self) -> str:
        """How it ended; its bytes are those of the backend, in any case."""
        seed, count = self.asked["seed"], int(self.asked["count"])
        said, expected = self.said, bytearray()
        for event in seeded.events(seed, count):
            expected += event
            if len(expected) > len(said):
                break
        assert said == expected[: len(said)], f"other bytes: {self.target}"
        whole = len(said) == len(expected)
        assert self.heard.status == 200, f"{self.heard.status}: {self.target}"
        assert self.heard.end, f"it never ended: {self.target}"
        if self.heard.end == "clean" and not whole:
            assert seeded.is_at_boundary(said), f"half an event: {self.target}"
            return "ended"
        return "complete" if self.heard.end == "clean" else self.heard.end


def pss_mib(pid: int) -> float:
    """The memory that is its own."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)[1]) / 1024


class Crowd:
    """Streams in equal parts over HTTP/1.1 and HTTP/2, with TLS and without."""

    def __init__(self, sidecar: Sidecar, tls_port: int) -> None:
        authority = str(certificate().authority)
        plain = {"host": "127.0.0.1", "port": urlsplit(sidecar.url).port}
        secure = {"host": "127.0.0.1", "port": tls_port}
        self._doors = itertools.cycle(
            [
                (Http1, plain),
                (Http2, plain),
                (Http1, secure | {"ssl": tls(authority, "http/1.1")}),
                (Http2, secure | {"ssl": tls(authority, "h2")}),
            ]
        )
        self.streams: list[Stream] = []
        self._connections: list[Http1 | Http2] = []

    async def join(self, targets: list[str]) -> None:
        """Asks for all of these; each has said something then."""
        joined: list[Stream] = []
        for start in range(0, len(targets), STREAMS_PER_CONNECTION):
            batch = targets[start : start + STREAMS_PER_CONNECTION]
            client, to = next(self._doors)
            connections = await asyncio.gather(
                *(
                    client.connect(**to)
                    for _ in (batch if client is Http1 else batch[:1])
                )
            )
            self._connections += connections
            for target, connection in zip(batch, itertools.cycle(connections)):
                heard = await connection.get(target)
                leave = connection.leave
                if client is Http2:
                    leave = lambda c=connection, h=heard: c.reset(h)  # noqa: E731
                joined.append(Stream(target, heard, leave))
        await asyncio.gather(*(stream.heard.until(1) for stream in joined))
        self.streams += joined

    async def until_end(self) -> Counter[str]:
        """How many ended how."""
        await asyncio.gather(*(stream.heard.until_end() for stream in self.streams))
        return Counter(stream.account() for stream in self.streams)

    def disperse(self) -> None:
        for connection in self._connections:
            connection.leave()
        self.streams.clear()
        self._connections.clear()
