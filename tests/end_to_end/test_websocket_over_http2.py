"""A WebSocket on a stream of HTTP/2 (RFC 8441). The backend, with HTTP/1.1, sees an upgrade like any other."""

import socket
import struct
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from websockets.utils import accept_key

from harness import doors, expect
from harness.certificate import certificate
from harness.clients import listen
from harness.frames import Connection, Fields
from harness.scripted import Peer, Scripted
from harness.sidecar import Sidecar
from harness.tap import Tap
from harness.waiting import wait_for
from harness.websocket import accepts, key_of
from harness.wire import now_ms

pytestmark = pytest.mark.usefixtures("proxied")

ENABLE_CONNECT_PROTOCOL = 8
CANCEL = 8
LARGE = b"all of it, and in this order\n" * 100_000


def connect(path: str = "/echo", protocol: str = "websocket", *more) -> Fields:
    return [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "http"),
        (":authority", "ws.example"),
        (":path", path),
        ("sec-websocket-version", "13"),
        *more,
    ]


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture
def opened(start) -> Iterator[Callable[..., Connection]]:
    """A connection to a sidecar in front of a backend that serves like this."""
    with ExitStack() as stack:

        def opened(serve: Callable[[Peer], None], settings: str = "") -> Connection:
            backend = stack.enter_context(Scripted(serve))
            sidecar = start(Sidecar, backend.url, settings)
            http = stack.enter_context(Connection(sidecar.port))
            http.until(lambda: http.settings)
            return http

        yield opened


def test_the_settings_say_that_it_is_known(opened):
    assert opened(accepts).settings[ENABLE_CONNECT_PROTOCOL] == 1


def test_the_backend_sees_an_upgrade(opened):
    heads = []
    http = opened(lambda peer: heads.append(accepts(peer)))
    offered = ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits")
    others = [("sec-websocket-protocol", "a, b"), ("origin", "https://page.example")]
    for _ in range(2):
        stream = http.headers(
            connect("/a?b=c", "websocket", offered, *others), end=False
        )
        http.until_over(stream)
    assert len(heads) == 2
    for head in heads:
        first, *lines = head.decode().lower().split("\r\n")
        assert first == "get /a?b=c http/1.1"
        for line in (
            "host: ws.example",
            "upgrade: websocket",
            "connection: upgrade",
            "sec-websocket-version: 13",
            "sec-websocket-protocol: a, b",
            "origin: https://page.example",
            ": ".join(offered),
        ):
            assert lines.count(line) == 1, line
        assert ":protocol" not in head.decode()
    keys = {key_of(head) for head in heads}
    assert [len(b64decode(key)) for key in keys] == [16, 16], "each has its own"


def test_the_client_hears_200_and_what_was_agreed_on(opened):
    def serve(peer: Peer) -> None:
        agreed = "Sec-WebSocket-Extensions: permessage-deflate"
        accepts(peer, agreed, "X-Backend: here")
        peer.connection.recv(1)

    http = opened(serve)
    heard = http.until_head(http.headers(connect(), end=False))
    [head] = heard.heads
    assert head.pop(":status") == "200"
    assert head["x-backend"] == "here"
    assert head["sec-websocket-extensions"] == "permessage-deflate"
    # RFC 8441, section 5, and RFC 9113, section 8.2.2.
    assert not head.keys() & {"sec-websocket-accept", "upgrade", "connection"}
    assert not heard.over


def test_bytes_pass_both_ways_and_so_do_the_ends(opened):
    """The client's first."""
    got = []

    def serve(peer: Peer) -> None:
        accepts(peer)
        peer.connection.sendall(LARGE)
        got.append(read_all(peer.connection))
        peer.connection.sendall(b"the last word")

    http = opened(serve)
    stream = http.headers(connect(), end=False)
    assert http.until_head(stream).status == 200
    http.data(stream, LARGE, end=True)
    heard = http.until_over(stream)
    assert (heard.ended, heard.reset) == (True, None)
    assert bytes(heard.body) == LARGE + b"the last word"
    assert got == [LARGE]


def test_bytes_that_come_with_the_response_are_not_lost(opened):
    def serve(peer: Peer) -> None:
        accepts(peer, at_once=b"at once")
        peer.connection.recv(1)

    http = opened(serve)
    stream = http.headers(connect(), end=False)
    assert http.until_body(stream, 7) == b"at once"


def test_bytes_that_do_not_wait_for_the_response_are_not_lost(opened):
    got = []

    def serve(peer: Peer) -> None:
        accepts(peer)
        got.append(read_all(peer.connection))

    http = opened(serve)
    stream = http.headers(connect(), end=False)
    http.data(stream, b"at once", end=True)
    heard = http.until_over(stream)
    assert (heard.status, heard.ended, heard.reset) == (200, True, None)
    assert got == [b"at once"]


def test_a_reset_closes_the_backends_connection(opened):
    ended = []

    def serve(peer: Peer) -> None:
        accepts(peer)
        try:
            ended.append(peer.connection.recv(1))
        except ConnectionResetError:
            ended.append(b"")

    http = opened(serve)
    stream = http.headers(connect(), end=False)
    assert http.until_head(stream).status == 200
    http.reset(stream, CANCEL)
    wait_for(lambda: ended == [b""], "the backend misses it", seconds=2)
    http.ping()
    assert not http.closed


def test_a_backend_that_breaks_off_is_a_reset(opened):
    def serve(peer: Peer) -> None:
        accepts(peer)
        peer.connection.sendall(b"half a ")
        peer.connection.recv(1)
        linger = struct.pack("ii", 1, 0)
        peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    http = opened(serve)
    stream = http.headers(connect(), end=False)
    assert http.until_body(stream, 7) == b"half a "
    http.data(stream, b"x")
    heard = http.until_over(stream)
    assert heard.reset is not None
    assert not heard.ended
    http.ping()
    assert not http.closed


@pytest.mark.parametrize(
    "status", ["403 Forbidden", "404 Not Found", "503 Service Unavailable"]
)
def test_another_answer_passes(opened, status):
    http = opened(
        lambda peer: (peer.head(), peer.answer(b"why", "X-Why: y", status=status))
    )
    stream = http.headers(connect(), end=False)
    heard = http.until_over(stream)
    assert heard.status == int(status[:3])
    assert bytes(heard.body) == b"why"
    assert heard.heads[0]["x-why"] == "y"


def test_an_agreement_to_another_key_is_none(opened):
    """From a cache, say. The key is the sidecar's, so nobody else can tell."""

    def serve(peer: Peer) -> None:
        peer.head()
        fields = ["Upgrade: websocket", "Connection: Upgrade"]
        accepted = f"Sec-WebSocket-Accept: {accept_key('another')}"
        peer.answer(b"", *fields, accepted, status="101 Switching Protocols")
        peer.connection.recv(1)

    http = opened(serve)
    assert http.until_over(http.headers(connect(), end=False)).status == 502


def test_a_page_is_no_agreement(opened):
    """To the client 200 would say that the backend has changed the protocol."""
    http = opened(lambda peer: (peer.head(), peer.answer(b"a page")))
    heard = http.until_over(http.headers(connect(), end=False))
    assert heard.status != 200


def test_an_absent_backend_is_502(start):
    with Scripted(accepts) as gone:
        pass
    sidecar = start(Sidecar, gone.url)
    with Connection(sidecar.port) as http:
        assert http.until_over(http.headers(connect(), end=False)).status == 502


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(connect(protocol="connect-udp"), id="another protocol"),
        pytest.param(
            [(":method", "CONNECT"), (":authority", "elsewhere.example:443")],
            id="a tunnel to anywhere",
        ),
        pytest.param(
            [(":method", "GET"), *connect()[1:]],
            id="a protocol with another method",
        ),
    ],
)
def test_what_else_there_is_of_connect_is_refused(opened, fields):
    seen = []
    http = opened(lambda peer: seen.append(peer.head()))
    heard = http.until_over(http.headers(fields, end=False))
    assert heard.reset is not None or heard.status >= 400
    assert seen == []
    http.ping()
    assert not http.closed


def test_others_on_the_connection_are_not_disturbed(opened):
    """Also where the backend takes nothing for a while."""
    go_on = []

    def serve(peer: Peer) -> None:
        if b"/slow" in accepts(peer):
            wait_for(lambda: go_on, "the others are done")
        peer.connection.sendall(read_all(peer.connection))

    http = opened(serve)
    slow = http.headers(connect("/slow"), end=False)
    assert http.until_head(slow).status == 200
    http.data(slow, b"x" * 60_000, end=True)
    for _ in range(10):
        quick = http.headers(connect("/quick"), end=False)
        assert http.until_head(quick).status == 200
        http.data(quick, b"hello", end=True)
        assert bytes(http.until_over(quick).body) == b"hello"
    go_on.append(True)
    assert len(http.until_over(slow).body) == 60_000


@pytest.mark.parametrize("backend", ["websocket_node"], indirect=True)
def test_a_browser_uses_the_connection_that_it_has(start, backend, key):
    """Where HTTP/2's settings do not say so, Chromium opens one on which it offers only HTTP/1.1."""
    sidecar = start(Sidecar, backend.url, "", doors.listener("h2"))
    with Tap(sidecar.port) as tap:
        url = tap.url.replace("http", "https")
        heard = listen("chromium_websocket", f"{url}/echo", key=key, messages=["hello"])
        offers_http2 = [b"\x02h2" in hello for hello in tap.hellos()]
    assert [(event.type, event.data) for event in heard.events[1:]] == [
        ("text", "hello"),
        ("close", "4002 bye"),
    ]
    assert "permessage-deflate" in heard.events[0].data
    assert all(offers_http2)
    backend.wait_aborted(key)
    assert backend.probe(key)["code"] == 4002


@pytest.mark.parametrize("backend", ["websocket_python"], indirect=True)
def test_it_ends_with_the_clients_connection(start, backend, key):
    sidecar = start(Sidecar, backend.url, "", doors.listener("h2"))
    with Connection(sidecar.port, str(certificate().authority)) as http:
        stream = http.headers(connect(f"/echo?key={key}"), end=False)
        assert http.until_head(stream).status == 200
        left = now_ms()
    expect.soon_after(left, backend.wait_aborted(key))
