"""HAProxy in front of the sidecar, with HTTP/2 between the two: a WebSocket comes as an extended CONNECT
(RFC 8441) and reaches the backend as the upgrade that it was."""

import hashlib
import itertools
from collections import Counter

import pytest

from harness import expect
from harness.backends import Backend
from harness.clients import leaving, listen
from harness.curl import curl
from harness.haproxy import HaProxy
from harness.sidecar import Sidecar
from harness.tap import Tap

PEERS = ["websocket_node", "websocket_python"]
LARGE = 5_000_000
COUNT, GAP_MS = 8, 200
# Each with the other; those of one kind meet without HAProxy.
with_peers = pytest.mark.parametrize(
    ("client", "backend"), list(itertools.permutations(PEERS)), indirect=["backend"]
)


@pytest.fixture
def haproxy(start, backend, proxied) -> HaProxy:
    sidecar = start(Sidecar, backend.url)
    return start(HaProxy, str(sidecar.port))


@with_peers
def test_texts_bytes_and_pings_pass(haproxy, client, key):
    large = hashlib.sha256(b"ws" * (LARGE // 2)).hexdigest()
    messages = ["grüße 🦀", {"ping": "here"}, "ping me", {"bytes": LARGE}]
    heard = listen(client, f"{haproxy.url}/echo", key=key, messages=messages)
    assert [(event.type, event.data) for event in heard.events[1:]] == [
        ("text", "grüße 🦀"),
        ("pong", "here"),
        ("text", "pong at the server"),
        ("binary", f"{LARGE} {large}"),
        ("close", "4002 bye"),
    ]


@with_peers
def test_compression_is_between_the_peers(haproxy, backend, client, key):
    with Tap(haproxy.port) as tap:
        heard = listen(client, f"{tap.url}/echo", key=key, messages=[{"bytes": LARGE}])
        assert "permessage-deflate" in heard.events[0].data
        assert len(tap.asked) < LARGE / 10
        assert len(tap.heard) < LARGE / 10


@with_peers
def test_a_subprotocol_is_agreed_on(haproxy, backend, client, key):
    offered = {"protocols": ["other", "echo.2", "echo.1"], "messages": ["hello"]}
    heard = listen(client, f"{haproxy.url}/echo", key=key, **offered)
    assert heard.events[0].data.startswith("echo.2 ")


@with_peers
def test_each_hears_why_the_other_closes(haproxy, backend, client, key):
    listen(client, f"{haproxy.url}/echo", key=key, messages=["hello"])
    backend.wait_aborted(key)
    assert backend.probe(key)["code"] == 4002
    [_, closed] = listen(client, f"{haproxy.url}/close").events
    assert closed.data == "4001 enough"


@with_peers
def test_the_server_misses_a_client_that_vanished(haproxy, backend, client, key):
    url = f"{haproxy.url}/echo"
    with leaving(client, url, after=2, key=key, messages=["hello", "more"]) as left:
        expect.soon_after(left, backend.wait_aborted(key))
    assert backend.probe(key)["code"] == 1006


@with_peers
def test_a_refused_upgrade_says_why(haproxy, backend, client):
    [refused] = listen(client, f"{haproxy.url}/refused").events
    assert refused.data == "403 members members only\n"


@pytest.mark.parametrize("backend", PEERS, indirect=True)
def test_a_crowd_is_served_at_once(haproxy, backend, key):
    """All of them on the few connections that HAProxy has to the sidecar."""
    crowd, messages = 50, ["one", "two"]
    options = {"key": key, "messages": messages, "crowd": crowd}
    heard = listen("websocket_node", f"{haproxy.url}/echo", **options)
    said = (event.data.split(" ")[0] for event in heard.events if event.type != "open")
    assert Counter(said) == {"one": crowd, "two": crowd, "4002": crowd}


@pytest.mark.parametrize("backend", ["express"], indirect=True)
def test_pages_and_events_pass_beside_it(haproxy, backend: Backend):
    """The control: it is not HAProxy that cannot do it."""
    page = curl(f"{haproxy.url}/page")
    assert page.body == curl(f"{backend.url}/page").body
    heard = listen("eventsource", f"{haproxy.url}/events?n={COUNT}&gap_ms={GAP_MS}")
    expect.one_by_one(heard, COUNT, GAP_MS)
