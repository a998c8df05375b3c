"""Connections that have changed their protocol, as bytes. One that is idle may stay: who is to say what is said in it, and when. But
one of which a side has ended may be forgotten by the other, and ends when nothing moves in it for `timeouts.read`."""

import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from harness import doors
from harness.certificate import certificate
from harness.frames import Connection
from harness.listeners import tls
from harness.scripted import Peer, Scripted, offering
from harness.sidecar import Sidecar
from harness.waiting import wait_for
from harness.websocket import accepts

pytestmark = pytest.mark.usefixtures("proxied")

READ_S = 1
# What a machine that is busy may be late.
GRACE_S = 2
SETTINGS = f'timeouts.read = "{READ_S}s"'
OFF = 'timeouts.read = "off"'
ROUTE = f'timeouts.read = "60s"\n[[route]]\npath = "/"\n{SETTINGS}'
UPGRADE = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: bytes\r\n\r\n"
UPGRADED = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: bytes\r\n\r\n"


class Side:
    """What a side of a tunnel hears, while it says what it likes."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.heard = bytearray()
        self.ended: float | None = None
        """When the other one's end was heard, or a reset."""
        connection.settimeout(30)
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self) -> None:
        with suppress(OSError):
            while data := self.connection.recv(65536):
                self.heard += data
        self.ended = time.monotonic()

    def half_closes(self) -> None:
        self.connection.shutdown(socket.SHUT_WR)

    def hears_the_end(self) -> float:
        return wait_for(lambda: self.ended, "the end is heard", READ_S + GRACE_S)


class Tunnel:
    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = Side(near), Side(far)

    def sides(self, first: str) -> tuple[Side, Side]:
        return (self.near, self.far) if first == "client" else (self.far, self.near)


@pytest.fixture
def tunnel(start) -> Iterator[Callable[..., Tunnel]]:
    """Opened through a sidecar with these settings, with TLS or without on either side."""
    with ExitStack() as stack:

        def tunnel(
            settings: str = SETTINGS, door: str = "http", upstream: str = "http"
        ):
            opened: list[socket.socket] = []
            done = threading.Event()

            def serve(peer: Peer) -> None:
                if b"upgrade: bytes" not in peer.head().lower():
                    return
                opened.append(peer.connection)
                peer.connection.sendall(UPGRADED)
                done.wait()

            secure = offering("http/1.1") if upstream == "https" else None
            backend = stack.enter_context(Scripted(serve, tls=secure))
            stack.callback(done.set)
            if secure:
                settings = f'upstream.tls.ca = "{certificate().authority}"\n{settings}'
            sidecar = start(Sidecar, backend.url, settings, doors.listener(door))
            near = stack.enter_context(enter(sidecar.port, door))
            near.sendall(UPGRADE)
            head = b""
            # Not a byte of what comes after it.
            while (byte := near.recv(1)) and not head.endswith(b"\r\n\r"):
                head += byte
            assert head.startswith(b"HTTP/1.1 101 "), head
            return Tunnel(near, opened[0])

        yield tunnel


def enter(port: int, door: str) -> socket.socket:
    near = socket.create_connection(("127.0.0.1", port), timeout=5)
    if door == "http":
        return near
    context: ssl.SSLContext = tls(str(certificate().authority), "http/1.1")
    return context.wrap_socket(near, server_hostname="localhost")


DOORS = ["http", "https"]


@pytest.mark.parametrize("upstream", DOORS)
@pytest.mark.parametrize("door", DOORS)
def test_it_opens_and_either_side_may_speak_first(tunnel, door, upstream):
    for first in ("client", "backend"):
        opened = tunnel(door=door, upstream=upstream)
        for side, other in itertools.permutations(opened.sides(first)):
            side.connection.sendall(b"hello")
            wait_for(lambda other=other: other.heard == b"hello", "it is heard")


@pytest.mark.parametrize("settings", [SETTINGS, ROUTE], ids=["for all", "for a route"])
@pytest.mark.parametrize("first", ["client", "backend"])
def test_a_half_closed_tunnel_in_which_nothing_moves_is_closed(tunnel, first, settings):
    opened = tunnel(settings)
    side, other = opened.sides(first)
    closed = time.monotonic()
    side.half_closes()
    other.hears_the_end()
    assert time.monotonic() - closed < READ_S, "the end passes at once"
    took = side.hears_the_end() - closed
    assert READ_S * 0.9 < took < READ_S + GRACE_S, took
    # And nobody can be told anything more.
    wait_for(lambda: is_gone(other), "the other's connection is closed, too")


def is_gone(side: Side) -> bool:
    try:
        side.connection.sendall(b"is anybody there?")
    except OSError:
        return True
    return False


@pytest.mark.parametrize("first", ["client", "backend"])
def test_a_half_closed_tunnel_in_which_bytes_move_stays(tunnel, first):
    side, other = tunnel().sides(first)
    side.half_closes()
    sent, began = 0, time.monotonic()
    while time.monotonic() - began < 2.5 * READ_S:
        other.connection.sendall(b"more")
        sent += 1
        time.sleep(READ_S / 4)
    assert side.ended is None
    other.half_closes()
    side.hears_the_end()
    assert bytes(side.heard) == b"more" * sent


@pytest.mark.parametrize("first", ["client", "backend", None])
def test_an_idle_tunnel_stays(tunnel, first):
    """An open one in any case, and a half-closed one where the timeout is off."""
    opened = tunnel(SETTINGS if first is None else OFF)
    side, other = opened.sides(first or "client")
    if first:
        side.half_closes()
    time.sleep(2.5 * READ_S)
    assert side.ended is None
    other.connection.sendall(b"still here")
    wait_for(lambda: side.heard == b"still here", "it is heard")


@pytest.mark.parametrize("first", ["client", "backend"])
def test_a_half_closed_tunnel_on_a_stream_is_closed(start, first):
    """RFC 8441's."""
    ended = []
    done = threading.Event()

    def serve(peer: Peer) -> None:
        accepts(peer)
        if first == "backend":
            peer.connection.shutdown(socket.SHUT_WR)
        while peer.connection.recv(65536):
            pass
        ended.append(time.monotonic())
        done.wait()

    with Scripted(serve) as backend:
        sidecar = start(Sidecar, backend.url, SETTINGS)
        with Connection(sidecar.port) as http:
            fields = [(":method", "CONNECT"), (":protocol", "websocket")]
            fields += [(":scheme", "http"), (":authority", "localhost"), (":path", "/")]
            stream = http.headers([*fields, ("sec-websocket-version", "13")], end=False)
            heard = http.until_head(stream)
            assert heard.status == 200
            began = time.monotonic()
            if first == "client":
                http.data(stream, b"", end=True)
                http.until(lambda: heard.over)
                took = time.monotonic() - began
            else:
                http.until(lambda: heard.ended)
                wait_for(lambda: ended, "the backend's connection is closed", 5)
                took = ended[0] - began
            http.ping()
            assert not http.closed
    done.set()
    assert READ_S * 0.9 < took < READ_S + GRACE_S, took
