"""A backend that restarts is not there for some seconds. Nothing was sent to it then, so
that every request may wait: one for events as long as `timeouts.connect`, since whoever
hears of an error does not come back, and any other for a second."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from harness.backends import Backend
from harness.clients import Client
from harness.scripted import Peer, Scripted, Serve
from harness.sidecar import Sidecar
from harness.waiting import wait_for
from harness.wire import ask, fetch, now_ms

pytestmark = pytest.mark.usefixtures("proxied")

EVENTS = {"Accept": "text/event-stream"}
DOWN_S = 3
SHORTLY_S = 0.5
CONNECT_S = 2
# What a machine that is busy may be late.
GRACE_S = 1.5
LEFT = 'upstream_cancels_total{phase="connecting"}'
ROUTES = """
[[route]]
path = "/streaming/"
events.streaming = true
"""


def page(peer: Peer) -> None:
    while head := peer.head():
        body = peer.body(head)
        peer.answer(body or b"a page")


class Absent:
    """A backend that is to come, and the sidecar in front of it."""

    def __init__(self, stack: ExitStack, start, settings: str) -> None:
        self._stack, self._listener = stack, socket.socket()
        # Its port is refused until it listens, and nobody else's.
        self._listener.bind(("127.0.0.1", 0))
        stack.enter_context(self._listener)
        url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.sidecar = start(
            Sidecar, url, f'timeouts.connect = "{CONNECT_S}s"\n{settings}'
        )

    @property
    def url(self) -> str:
        return self.sidecar.url

    def comes(self, after_s: float = 0, serve: Serve = page) -> None:
        """Listens after so long."""

        def come() -> None:
            self._listener.listen(64)
            self._stack.enter_context(Scripted(serve, listener=self._listener))

        if not after_s:
            return come()
        timer = threading.Timer(after_s, come)
        timer.start()
        self._stack.callback(timer.join)


@pytest.fixture
def absent(start) -> Iterator[Callable[..., Absent]]:
    with ExitStack() as stack:
        yield lambda settings="": Absent(stack, start, settings)


@contextmanager
def takes(at_least_s: float, at_most_s: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert at_least_s <= took <= at_most_s, f"{took:.2f} s"


def test_a_browsers_event_source_survives_a_restart(start, tmp_path, key):
    """It reconnects after an end, and gives up for good after an error."""
    backend = Backend(tmp_path, "express")
    try:
        # Express itself takes its time to start on a machine that is busy.
        sidecar = start(Sidecar, backend.url, 'timeouts.connect = "20s"')
        url = f"{sidecar.url}/endless?retry=100&key={key}"
        with Client("reconnecting", url, count=10) as browser:
            browser.until_heard(4)
            backend.restart(DOWN_S)
            heard = browser.until_end()
    finally:
        backend.stop()
    kinds = [event.type for event in heard.events]
    assert "closed" not in kinds, kinds
    assert kinds.count("open") == 2
    assert kinds.count("lost") == 1, "and not again while the backend was away"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", EVENTS),
        ("/streaming/", {}),
        ("/", {"Accept": "text/event-stream, */*;q=0.1"}),
    ],
    ids=["asked for", "by the route", "in a list"],
)
def test_a_request_for_events_waits(absent, path, headers):
    backend = absent(ROUTES)
    backend.comes(1.5)
    with takes(1.4, CONNECT_S + GRACE_S):
        assert fetch(backend.url + path, headers).status == 200


def test_all_that_come_back_at_once_wait(absent):
    backend = absent()
    with ExitStack() as stack:
        crowd = [stack.enter_context(ask(backend.url, EVENTS)) for _ in range(20)]
        backend.comes(SHORTLY_S)
        assert [each.getresponse().status for each in crowd] == [200] * 20


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_any_other_request_waits_for_a_moment(absent, method):
    backend = absent()
    backend.comes(SHORTLY_S)
    body = b"x" * 100_000 if method == "POST" else None
    with takes(SHORTLY_S - 0.1, SHORTLY_S + GRACE_S):
        answer = fetch(backend.url, body=body, method=method)
    assert (answer.status, answer.body) == (200, body or b"a page")


def test_the_end_of_the_wait_is_soon_after_the_backend_is_there(absent):
    """Many short waits, and not a few long ones."""
    backend = absent()
    backend.comes(1)
    with takes(0.9, 1 + 0.9):
        assert fetch(backend.url, EVENTS).status == 200


@pytest.mark.parametrize(
    ("settings", "headers", "waited"),
    [
        ("", EVENTS, CONNECT_S),
        ("", {}, 1),
        ('timeouts.connect_retry = "auto"', EVENTS, CONNECT_S),
        ('timeouts.connect_retry = "off"', EVENTS, 0),
        ('timeouts.connect_retry = "off"', {}, 0),
        ('timeouts.connect_retry = "500ms"', EVENTS, 0.5),
        ('timeouts.connect_retry = "500ms"', {}, 0.5),
    ],
)
def test_a_backend_that_does_not_come_is_502(absent, settings, headers, waited):
    backend = absent(settings)
    with takes(waited * 0.7, waited + GRACE_S):
        answer = fetch(backend.url, headers)
    assert answer.status == 502
    # The reason is the last attempt's.
    assert b"upstream_unreachable" in answer.body


def test_how_long_all_wait_can_be_said(absent):
    backend = absent('timeouts.connect_retry = "2s"')
    backend.comes(1.3)
    with takes(1.2, 1.3 + GRACE_S):
        assert fetch(backend.url).status == 200


def test_a_mistake_in_it_is_told(start, tmp_path):
    with pytest.raises(ChildProcessError) as mistake:
        Sidecar(tmp_path, "http://127.0.0.1:1", 'timeouts.connect_retry = "soon"')
    [note] = mistake.value.__notes__
    assert "connect_retry" in note
    assert "auto" in note


def all_work(sidecar: Sidecar) -> bool:
    workers = sidecar.status()["workers"]
    return workers["answered"] == workers["all"]


@pytest.mark.parametrize("headers", [{}, EVENTS], ids=["page", "events"])
def test_a_client_that_leaves_while_it_waits_is_missed(absent, headers):
    backend = absent('timeouts.connect_retry = "20s"')
    wait_for(lambda: all_work(backend.sidecar), "all of the sidecar has started")
    before = backend.sidecar.open_files()
    with ask(backend.url, headers) as client:
        wait_for(lambda: backend.sidecar.status()["requests_open"], "the request waits")
        left = now_ms()
        client.close()
        wait_for(lambda: backend.sidecar.count(LEFT) == 1, "it is missed", seconds=2)
        assert now_ms() - left < 1000
    wait_for(lambda: backend.sidecar.open_files() <= before, "nothing of it stays")


def test_a_request_that_was_sent_is_not_sent_again(absent):
    """A backend that takes the request and ends the connection is not away."""
    backend = absent()
    seen = []

    def reads_and_ends(peer: Peer) -> None:
        seen.append(peer.head())

    backend.comes(serve=reads_and_ends)
    with takes(0, GRACE_S):
        assert fetch(backend.url, body=b"once", method="POST").status == 502
    assert len(seen) == 1
