"""A backend that closes its idle connections does so while a request is on its way to it. What may have
been done cannot be sent again, so it is not sent on a connection that is about to be closed."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import chain

import pytest

from harness.distance import Distance
from harness.scripted import Peer, Scripted
from harness.sidecar import Sidecar
from harness.waiting import wait_for
from harness.wire import fetch

SMALL, LARGE = b"an order", b"an order\n" * 100_000


# gunicorn closes after this time, and a connection is this far away.
KEEP_ALIVE_S, DELAY_S = 2, 0.01
# Each on a pool of its own; together their pauses cover the moment of the close.
LANES, STEP_S, ROUNDS = 24, 0.004, 2


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("backend", ["gunicorn_gthread"], indirect=True)
@pytest.mark.usefixtures("proxied")
def test_an_upload_to_gunicorn_every_two_seconds_is_done_once(
    start, backend, method, key
):
    """With 10 ms between the two."""
    hosts = [f"127.0.1.{lane}" for lane in range(1, LANES + 1)]
    with Distance(backend.port, DELAY_S, hosts) as distance:
        routes = [
            f'[[route]]\npath = "/upload/{lane}/"\nupstream.url = "{url}"'
            for lane, url in enumerate(distance.urls)
        ]
        settings = "\n".join(["server.workers = 1", *routes])
        sidecar = start(Sidecar, backend.url, settings)

        def uploads(lane: int) -> list[int]:
            """Their responses' status."""
            pause = KEEP_ALIVE_S + (lane - LANES * 2 / 3) * STEP_S
            target = f"{sidecar.url}/upload/{lane}/"
            statuses = []
            for number in range(1 + ROUNDS):
                time.sleep(pause if number else 0)
                query = f"?{key}-{lane}-{number}"
                statuses.append(fetch(target + query, {}, SMALL, method).status)
            return statuses

        with ThreadPoolExecutor(LANES) as crowd:
            heard = list(crowd.map(uploads, range(LANES)))
    assert Counter(chain.from_iterable(heard)) == {200: LANES * (1 + ROUNDS)}
    wait_for(lambda: backend.log().count(key) >= LANES * (1 + ROUNDS), "all are logged")
    assert backend.log().count(key) == LANES * (1 + ROUNDS), "each was done once"


@dataclass
class Impatient:
    """A backend that says how long it keeps a connection, and then is gone with whatever comes."""

    says: str
    keeps_s: float
    done: list[bytes] = field(default_factory=list)

    def serve(self, peer: Peer) -> None:
        answered = time.monotonic()
        while head := peer.head():
            if self.done and time.monotonic() - answered >= self.keeps_s:
                return
            self.done.append(peer.body(head))
            peer.answer(str(peer.number).encode(), f"Keep-Alive: {self.says}")
            answered = time.monotonic()


class Asking:
    """One client's connection to a sidecar in front of such a backend."""

    def __init__(self, connection: HTTPConnection, seen: Impatient) -> None:
        self._connection, self._seen = connection, seen
        self.answered = 0.0

    def asks(self, method: str, body: bytes, after_s: float = 0) -> str:
        """So long after the last response; gives the number of the backend's connection."""
        time.sleep(max(0, self.answered + after_s - time.monotonic()))
        self._connection.request(method, "/", body)
        with self._connection.getresponse() as response:
            number = response.read().decode()
        self.answered = time.monotonic()
        assert response.status == 200, number
        assert self._seen.done.pop() == body
        return number


@pytest.fixture
def asking(start, proxied) -> Iterator[Callable[[str, float], Asking]]:
    with ExitStack() as stack:

        def asking(says: str, keeps_s: float = 60) -> Asking:
            seen = Impatient(says, keeps_s)
            backend = stack.enter_context(Scripted(seen.serve))
            sidecar = start(Sidecar, backend.url, "server.workers = 1")
            connection = HTTPConnection("127.0.0.1", sidecar.port, timeout=10)
            return Asking(stack.enter_context(closing(connection)), seen)

        yield asking


@pytest.mark.parametrize("after_s", [0.97, 1.2])
@pytest.mark.parametrize(
    ("method", "body"),
    [("POST", SMALL), ("POST", LARGE), ("PUT", LARGE)],
    ids=["POST", "large POST", "large PUT"],
)
def test_a_time_that_the_backend_says_is_heeded(asking, method, body, after_s):
    client = asking("timeout=1", 1)
    assert client.asks(method, body) == "1"
    assert client.asks(method, body, after_s) == "2"
    assert client.asks(method, body) == "2", "the control: it is kept until then"


@pytest.mark.parametrize(
    "says", ["timeout=1, max=100", "max=100, timeout=1", "Timeout = 1", "timeout=0"]
)
def test_it_is_read_in_any_spelling(asking, says):
    client = asking(says, 1)
    client.asks("POST", LARGE)
    assert client.asks("POST", LARGE, after_s=0.97) == "2"


@pytest.mark.parametrize(
    "says",
    ["timeout=5", "max=100", "timeout=soon", "timeout=-1", f"timeout={10**30}", "="],
)
def test_a_connection_that_is_kept_long_enough_is_used_again(asking, says):
    """The control."""
    client = asking(says)
    client.asks("POST", SMALL)
    assert client.asks("POST", SMALL, after_s=0.2) == "1"
