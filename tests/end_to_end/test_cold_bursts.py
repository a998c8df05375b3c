"""Requests that come at once to an upstream to which no connection is open yet, and whose handshakes take
their time: a page with its pictures after a pause, or all the clients that come back after a restart."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.certificate import certificate
from harness.scripted import Peer, Scripted, offering
from harness.scripted_http2 import answers
from harness.sidecar import Sidecar
from harness.wire import fetch

pytestmark = pytest.mark.usefixtures("proxied")

BURST = 12
SLOW_S = 0.3
CONNECT_S = 2
# One to know what is spoken, one for all the others, and what a machine that is busy may be late.
TWO_HANDSHAKES_S = 2 * SLOW_S + 1
BODY = b"a page"
SETTINGS = f'server.workers = 1\ntimeouts.connect = "{CONNECT_S}s"\n'


def one_each(peer: Peer) -> None:
    """HTTP/1.1, closed after each response: each burst finds no connection."""
    peer.head()
    peer.answer(BODY, "Connection: close")


@pytest.fixture
def burst(start) -> Callable[[str], float]:
    """Asks the sidecar of an upstream; gives how long it took to answer all."""

    def burst(upstream: str) -> float:
        settings = SETTINGS
        if upstream.startswith("https"):
            settings += f'upstream.tls.ca = "{certificate().authority}"'
        sidecar = start(Sidecar, upstream, settings)
        began = time.monotonic()
        with ThreadPoolExecutor(BURST) as crowd:
            all_at_once = crowd.map(fetch, [sidecar.url] * BURST)
            heard = [(answer.status, answer.body) for answer in all_at_once]
        assert heard == [(200, BODY)] * BURST
        return time.monotonic() - began

    return burst


def test_http1_behind_tls_opens_its_connections_at_once(burst):
    """Until one of them is open nobody knows that they cannot be shared."""
    with Scripted(one_each, tls=offering("http/1.1"), slow_s=SLOW_S) as backend:
        assert burst(backend.url) < TWO_HANDSHAKES_S
        assert burst(backend.url) < SLOW_S + 1, "it is known now"


def test_http1_opens_its_connections_at_once(burst):
    with Scripted(one_each, slow_s=SLOW_S) as backend:
        assert burst(backend.url) < SLOW_S + 1


def test_http2_behind_tls_shares_one(burst):
    with Scripted(answers(BODY), tls=offering("h2"), slow_s=SLOW_S) as backend:
        assert burst(backend.url) < TWO_HANDSHAKES_S
        assert backend.accepted == 1
        burst(backend.url)
        assert backend.accepted == 1, "it is open now"


def test_http2_shares_one(burst):
    with Scripted(answers(BODY), slow_s=SLOW_S) as backend:
        assert burst(backend.url.replace("http", "h2c")) < TWO_HANDSHAKES_S
        assert backend.accepted == 1


@pytest.mark.parametrize("scheme", ["h2c", "https"])
def test_http2_that_allows_few_streams_serves_all(burst, scheme):
    tls = offering("h2") if scheme == "https" else None
    with Scripted(answers(BODY, streams=4), tls=tls, slow_s=SLOW_S / 3) as backend:
        burst(f"{scheme}://127.0.0.1:{backend.port}")
