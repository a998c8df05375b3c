"""A client that reads slowly is not one that has stopped: what counts is what it acknowledges, and not when
the kernel next has room for more."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from hyperframe.frame import WindowUpdateFrame

from harness import doors
from harness.certificate import certificate
from harness.frames import Connection, connected, request
from harness.scripted import Peer, Scripted
from harness.sidecar import Sidecar
from harness.waiting import wait_for

pytestmark = pytest.mark.usefixtures("proxied")

WRITE_S = 2
# About 11 kB in a second, and that for so long.
SOME, PAUSE_S, SLOWLY_S = 600, 0.05, 5
# TLS takes 16 KiB at once from the kernel, and nothing until they are read.
SOME_OF_TLS = 2000
# What a machine that is busy may be late.
GRACE_S = 3
EVENT = b"data: an event that is as long as a line of this file is, more or less\n\n"
BODY = EVENT * 30_000
# The kernel takes all of it at once.
LITTLE = EVENT * 1200
SETTINGS = f"""
server.workers = 1
heartbeat.interval = "off"
timeouts.write = "{WRITE_S}s"
"""
PATIENT = """
[[route]]
path = "/patient"
timeouts.write = "60s"
"""
HURRIED = f"""
server.workers = 1
timeouts.write = "60s"
[[route]]
path = "/hurried"
timeouts.write = "{WRITE_S}s"
"""
TYPES = {"page": "text/plain", "stream": "text/event-stream"}
with_types = pytest.mark.parametrize("kind", TYPES)
with_sizes = pytest.mark.parametrize("kind", [*TYPES, "page/little", "stream/little"])


def body_at(target: bytes) -> bytes:
    return LITTLE if target.endswith(b"/little") else BODY


def much(peer: Peer) -> None:
    head = peer.head()
    kind = TYPES["stream" if b"/stream" in head else "page"]
    peer.answer(body_at(head.split()[1]), f"Content-Type: {kind}")
    peer.head()


@pytest.fixture
def sidecar(start) -> Iterator[Callable[..., Sidecar]]:
    with ExitStack() as stack:

        def sidecar(settings: str = SETTINGS, listener: str = "") -> Sidecar:
            backend = stack.enter_context(Scripted(much))
            return start(Sidecar, backend.url, settings, listener)

        yield sidecar


def slowly(take: Callable[[], None]) -> None:
    began = time.monotonic()
    while time.monotonic() - began < SLOWLY_S:
        take()
        time.sleep(PAUSE_S)


@with_sizes
def test_a_slow_reader_gets_all(sidecar, kind):
    asked = f"GET /{kind} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
    with closing(connected(sidecar().port, little_room=True)) as client:
        client.sendall(asked.encode())
        heard = bytearray()

        def take() -> None:
            some = client.recv(SOME)
            assert some, f"dropped after {len(heard)} bytes"
            heard.extend(some)

        slowly(take)
        while some := client.recv(65536):
            heard += some
    head, body = bytes(heard).split(b"\r\n\r\n", 1)
    if b"chunked" in head.lower():
        assert body.endswith(b"\r\n0\r\n\r\n")
        body = without_chunks(body)
    assert body == body_at(kind.encode())


def without_chunks(body: bytes) -> bytes:
    whole = bytearray()
    while body:
        size, body = body.split(b"\r\n", 1)
        length = int(size, 16)
        whole += body[:length]
        body = body[length + 2 :]
    return bytes(whole)


@with_sizes
@pytest.mark.parametrize("door", ["h2c", "h2"])
def test_a_slow_reader_of_http2_gets_all(sidecar, door, kind):
    port = sidecar(listener=doors.listener(door)).port
    authority = str(certificate().authority) if door == "h2" else None
    with Connection(port, authority, little_room=True) as http:
        stream = http.headers(request(f"/{kind}"))
        http.at_most = SOME_OF_TLS if authority else SOME
        http.pause_s = PAUSE_S
        done = time.monotonic() + SLOWLY_S
        http.until(lambda: time.monotonic() > done or http.streams[stream].over)
        http.at_most, http.pause_s = 65536, 0
        heard = http.until_over(stream)
    assert (heard.ended, heard.reset) == (True, None)
    assert bytes(heard.body) == body_at(kind.encode())


@with_types
def test_a_reader_of_http2_that_opens_its_window_slowly_gets_all(sidecar, kind):
    with Connection(sidecar().port, window=SOME) as http:
        stream = http.headers(request(f"/{kind}"))
        heard = http.streams[stream]

        def take() -> None:
            http.until_body(stream, len(heard.body) + SOME)
            assert not heard.over
            http.send(WindowUpdateFrame(stream, SOME))

        slowly(take)
        http.send(WindowUpdateFrame(stream, 1 << 30))
        http.until_over(stream)
    assert (heard.ended, heard.reset) == (True, None)
    assert bytes(heard.body) == BODY


def dropped(sidecar: Sidecar) -> int:
    page = sidecar.count('upstream_cancels_total{phase="body"}')
    return page + sidecar.count(
        'stream_ends_total{reason="client_stalled",side="client"}'
    )


@with_types
def test_who_takes_nothing_is_dropped_in_time(sidecar, kind):
    server = sidecar()
    with closing(connected(server.port, little_room=True)) as client:
        asked = time.monotonic()
        client.sendall(f"GET /{kind} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
        wait_for(lambda: dropped(server) == 1, "it is dropped")
        took = time.monotonic() - asked
    assert WRITE_S * 0.9 < took < WRITE_S + GRACE_S, took


@with_types
def test_who_takes_nothing_any_more_is_dropped_in_time(sidecar, kind):
    """After it was slow for a while."""
    server = sidecar()
    with closing(connected(server.port, little_room=True)) as client:
        client.sendall(f"GET /{kind} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
        slowly(lambda: client.recv(SOME))
        assert dropped(server) == 0
        stopped = time.monotonic()
        wait_for(lambda: dropped(server) == 1, "it is dropped")
        took = time.monotonic() - stopped
    assert WRITE_S * 0.7 < took < WRITE_S + GRACE_S, took


@with_types
def test_a_route_may_wait_longer_for_a_client_of_http2(sidecar, kind):
    """A time of the whole connection, such as the kernel's, is not to cut it short."""
    server = sidecar(SETTINGS + PATIENT)
    with Connection(server.port, little_room=True) as http:
        stream = http.headers(request(f"/patient/{kind}"))
        assert http.until_head(stream).status == 200
        time.sleep(SLOWLY_S)
        heard = http.until_over(stream)
    assert (heard.ended, heard.reset) == (True, None)
    assert bytes(heard.body) == BODY


@with_types
def test_a_route_may_wait_less_for_a_client_of_http2(sidecar, kind):
    server = sidecar(HURRIED)
    with Connection(server.port, little_room=True) as http:
        asked = time.monotonic()
        http.headers(request(f"/hurried/{kind}"))
        wait_for(lambda: dropped(server) == 1, "it is dropped")
        took = time.monotonic() - asked
    assert WRITE_S * 0.9 < took < WRITE_S + GRACE_S, took
