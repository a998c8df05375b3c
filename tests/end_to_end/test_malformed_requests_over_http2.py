"""A load balancer sends the requests of all its clients on one connection: one that is malformed is to cost its
own stream and nobody else's (RFC 9113, section 8.1.1).

Where the library underneath makes more of it, that is written down here, too.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hyperframe.frame import (
    HeadersFrame,
    PriorityFrame,
    RstStreamFrame,
    WindowUpdateFrame,
)

from harness.frames import Connection, Fields, Stream, request
from harness.scripted import Peer, Scripted
from harness.sidecar import Sidecar
from harness.waiting import wait_for

pytestmark = pytest.mark.usefixtures("proxied")

PROTOCOL_ERROR, FRAME_SIZE, CALM = 1, 6, 11
SETTINGS = 'server.workers = 1\ntimeouts.request_body = "2s"'
PSEUDO = request("/malformed")
Send = Callable[[Connection], int]


class Backend:
    """It has one stream that is open until it is told to end."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.seen: list[bytes] = []

    def serve(self, peer: Peer) -> None:
        while head := peer.head():
            target = head.split(b" ")[1]
            self.seen.append(target)
            # What breaks off has no answer before its end, which does not come.
            if b"\r\ntransfer-encoding: chunked" in head.lower():
                if not peer.until(b"0\r\n\r\n"):
                    return
            elif head.startswith(b"POST"):
                peer.body(head)
            if target != b"/stream":
                # An upload in chunks that ends early ends the connection.
                peer.answer(b"a page", "Connection: close")
                return
            peer.connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Connection: close\r\n\r\ndata: 1\n\n"
            )
            self.may_end.wait(20)
            peer.connection.sendall(b"data: 2\n\n")
            return


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    backend = Backend()
    with Scripted(backend.serve) as scripted:
        backend.url = scripted.url
        yield backend


@contextmanager
def others(start, backend: Backend) -> Iterator[tuple[Connection, Stream]]:
    """A connection on which a stream is open already."""
    backend.may_end.clear()
    with Connection(start(Sidecar, backend.url, SETTINGS).port) as http:
        stream = http.headers(request("/stream"))
        http.until_body(stream, len(b"data: 1\n\n"))
        backend.seen.clear()
        yield http, http.streams[stream]
        backend.may_end.set()


def head(*fields: tuple[str, str], without: str = "") -> Send:
    """A request with these fields after the usual ones."""
    pseudo = [field for field in PSEUDO if field[0] != without]
    return lambda http: http.headers([*pseudo, *fields])


def instead(name: str, value: str) -> Send:
    """With this pseudo-field's value."""
    fields = [(each, value if each == name else old) for each, old in PSEUDO]
    return lambda http: http.headers(fields)


def upload(*parts: bytes, trailers: Fields | None = None, length: str = "") -> Send:
    fields = request(
        "/malformed", "POST", *([("content-length", length)] if length else [])
    )

    def send(http: Connection) -> int:
        stream = http.headers(fields, end=False)
        for part in parts:
            http.data(stream, part, end=part is parts[-1] and trailers is None)
        if trailers is not None:
            http.headers(trailers, stream=stream)
        return stream

    return send


def frame_within(frame: Callable[[int], bytes]) -> Send:
    """A frame of an upload that has begun."""

    def send(http: Connection) -> int:
        stream = http.headers(request("/malformed", "POST"), end=False)
        http.send_bytes(frame(stream))
        return stream

    return send


# The request does not reach the backend.
COSTS_ITS_STREAM = {
    "connection": head(("connection", "close")),
    "keep-alive": head(("keep-alive", "timeout=5")),
    "proxy-connection": head(("proxy-connection", "close")),
    "transfer-encoding": head(("transfer-encoding", "chunked")),
    "upgrade": head(("upgrade", "websocket")),
    "te: gzip": head(("te", "gzip")),
    "te: trailers, gzip": head(("te", "trailers, gzip")),
    "no method": head(without=":method"),
    "no path": head(without=":path"),
    "no scheme": head(without=":scheme"),
    "no pseudo-field": lambda http: http.headers([("x", "y")]),
    "nothing at all": lambda http: http.headers([]),
    "two methods": head((":method", "POST")),
    "two paths": head((":path", "/another")),
    "two schemes": head((":scheme", "https")),
    "two authorities": head((":authority", "another")),
    "a pseudo-field after a field": lambda http: http.headers(
        [*PSEUDO[:3], ("x", "y"), PSEUDO[3]]
    ),
    "a pseudo-field of responses": head((":status", "200")),
    "a protocol for GET": head((":protocol", "websocket")),
    "an empty path": instead(":path", ""),
    "a path without a slash": instead(":path", "path"),
    "a space in the path": instead(":path", "/a b"),
    "a control in the path": instead(":path", "/a\x01b"),
    "an empty authority": instead(":authority", ""),
    "a space in the authority": instead(":authority", "a b"),
    "a slash in the authority": instead(":authority", "a/b"),
    "a user in the authority": instead(":authority", "user@localhost"),
    "another host": head(("host", "another")),
    "two hosts": head(("host", "a"), ("host", "b"), without=":authority"),
    "a length and no body": head(("content-length", "5")),
    "a length that is none": head(("content-length", "five")),
    "a length below nothing": head(("content-length", "-1")),
    "a length with a sign": head(("content-length", "+0")),
    "two lengths": head(("content-length", "0"), ("content-length", "1")),
    "a list of lengths": head(("content-length", "0, 0")),
    "a length beyond all numbers": head(("content-length", "9" * 30)),
    "more than the length": upload(b"five5", length="2"),
    "a tunnel": lambda http: http.headers([(":method", "CONNECT"), PSEUDO[2]]),
    "a tunnel with a path": instead(":method", "CONNECT"),
    "too many fields": head(*((f"x-{n}", "y") for n in range(200))),
    "depends on itself": frame_within(
        lambda stream: PriorityFrame(stream, depends_on=stream).serialize()
    ),
}
# The backend has its head by then, and does not get its end.
BREAKS_OFF = {
    "less than the length": upload(b"five5", length="10"),
    "connection in the trailers": upload(b"body", trailers=[("connection", "close")]),
    "a window beyond all numbers": frame_within(
        lambda stream: WindowUpdateFrame(stream, 2**31 - 1).serialize()
    ),
}
# Limits of `h2`: for it these are errors of the connection, which a proxy in front should not pass on.
ENDS_THE_CONNECTION = {
    "a capital letter in a name": (head(("X-Name", "y")), PROTOCOL_ERROR),
    "no name": (head(("", "y")), PROTOCOL_ERROR),
    "a space in a name": (head(("x name", "y")), PROTOCOL_ERROR),
    "a colon in a name": (head(("x:name", "y")), PROTOCOL_ERROR),
    "a control in a name": (head(("x\x01", "y")), PROTOCOL_ERROR),
    "another alphabet in a name": (head(("é", "y")), PROTOCOL_ERROR),
    "a control in a value": (head(("x", "a\x01b")), PROTOCOL_ERROR),
    "NUL in a value": (head(("x", "a\0b")), PROTOCOL_ERROR),
    "CR in a value": (head(("x", "a\rb")), PROTOCOL_ERROR),
    "LF in a value": (head(("x", "a\nb")), PROTOCOL_ERROR),
    "DEL in a value": (head(("x", "a\x7fb")), PROTOCOL_ERROR),
    "an unknown pseudo-field": (head((":name", "y")), PROTOCOL_ERROR),
    "no method's name": (instead(":method", ""), PROTOCOL_ERROR),
    "a space in the method": (instead(":method", "G ET"), PROTOCOL_ERROR),
    "a capital letter in the trailers": (
        upload(b"body", trailers=[("X-Name", "y")]),
        PROTOCOL_ERROR,
    ),
    "a window that grows by nothing": (
        frame_within(lambda stream: b"\0\0\4\x08\0%s\0\0\0\0" % stream.to_bytes(4)),
        PROTOCOL_ERROR,
    ),
    "a priority of another size": (
        frame_within(lambda stream: b"\0\0\4\2\0%s\0\0\0\0" % stream.to_bytes(4)),
        PROTOCOL_ERROR,
    ),
}


def block(data: bytes, stream: int) -> bytes:
    frame = HeadersFrame(stream, data)
    frame.flags.add("END_HEADERS")
    frame.flags.add("END_STREAM")
    return frame.serialize()


# The two sides no longer agree on where they are: RFC 9113 knows no way on.
BREAKS_THE_CONNECTION = {
    # RFC 9113 has a code of its own for it.
    "HPACK that cannot be decoded": (lambda: block(b"\xff" * 9, 101), PROTOCOL_ERROR),
    "a stream that is the server's": (
        lambda: block(b"\x82\x86\x84", 2),
        PROTOCOL_ERROR,
    ),
    "the reset of no stream": (
        lambda: RstStreamFrame(99, 8).serialize(),
        PROTOCOL_ERROR,
    ),
    "DATA of no stream": (lambda: b"\0\0\1\0\0\0\0\0\0x", PROTOCOL_ERROR),
    "more padding than frame": (lambda: b"\0\0\2\0\x08\0\0\0\1\xff\0", PROTOCOL_ERROR),
    "a frame that is too long": (lambda: b"\xff\xff\xff\0\0\0\0\0\1", FRAME_SIZE),
}


def only_its_own(
    http: Connection, stream: Stream, send: Send, backend: Backend
) -> None:
    number = send(http)
    malformed = http.until_over(number)
    assert not http.closed, f"the connection is over: {http.goaway}"
    assert malformed.reset is not None or malformed.status >= 400, malformed
    after = http.until_over(http.headers(request("/after")))
    assert (after.status, bytes(after.body)) == (200, b"a page")
    assert not stream.over
    backend.may_end.set()
    http.until(lambda: stream.over)
    assert (stream.ended, stream.reset) == (True, None)
    assert bytes(stream.body) == b"data: 1\n\ndata: 2\n\n"


@pytest.mark.parametrize("send", COSTS_ITS_STREAM.values(), ids=COSTS_ITS_STREAM)
def test_it_costs_only_its_stream(start, backend, send):
    with others(start, backend) as (http, stream):
        only_its_own(http, stream, send, backend)
    # Of an upload nothing may be wrong yet when its head goes up.
    assert [seen for seen in backend.seen if seen != b"/malformed"] == [b"/after"]


@pytest.mark.parametrize("send", BREAKS_OFF.values(), ids=BREAKS_OFF)
def test_an_upload_that_becomes_malformed_costs_only_its_stream(start, backend, send):
    with others(start, backend) as (http, stream):
        only_its_own(http, stream, send, backend)


@pytest.mark.parametrize(
    ("send", "code"), ENDS_THE_CONNECTION.values(), ids=ENDS_THE_CONNECTION
)
def test_a_limit_it_ends_the_connection(start, backend, send, code):
    """What fails here costs only its stream by now, and belongs in the table above."""
    with others(start, backend) as (http, stream):
        ends(http, code, lambda: send(http))
        assert not stream.ended, "an end would look as if that were all"
    comes_back(start, backend)


@pytest.mark.parametrize(
    ("frame", "code"), BREAKS_THE_CONNECTION.values(), ids=BREAKS_THE_CONNECTION
)
def test_what_breaks_the_connection_ends_it(start, backend, frame, code):
    with others(start, backend) as (http, stream):
        ends(http, code, lambda: http.send_bytes(frame()))
        assert not stream.ended
    comes_back(start, backend)


def test_a_limit_a_thousand_of_them_end_the_connection(start, backend):
    """One connection has so many in its life, or an attacker could cause work without end (CVE-2025-8671)."""
    send = COSTS_ITS_STREAM["te: gzip"]
    with others(start, backend) as (http, _):
        for _ in range(1024):
            http.until_over(send(http))
            assert not http.closed
        ends(http, CALM, lambda: send(http))
    comes_back(start, backend)


def ends(http: Connection, code: int, send: Callable[[], object]) -> None:
    send()
    http.until(lambda: http.goaway)
    assert http.goaway == code
    http.until(lambda: False)
    assert http.closed


def comes_back(start, backend: Backend) -> None:
    """Nothing of the connection stays, and the next is served."""
    sidecar = start(Sidecar, backend.url, SETTINGS)
    wait_for(lambda: sidecar.status()["requests_open"] == 0, "nothing stays")
    with Connection(sidecar.port) as http:
        assert http.until_over(http.headers(request("/after"))).status == 200
