"""WebSockets pass: `ws` and `websockets`, each as client and as server."""

import hashlib
import itertools
from collections import Counter

import pytest

from harness import expect
from harness.clients import leaving, listen
from harness.tap import Tap

PEERS = ["websocket_node", "websocket_python"]
LARGE = 5_000_000

pytestmark = pytest.mark.parametrize(
    ("client", "backend"), list(itertools.product(PEERS, PEERS)), indirect=["backend"]
)


def talk(client, url, **options) -> list[tuple[str, str]]:
    """What the client heard, without how it was opened."""
    heard = listen(client, url, **options)
    return [(event.type, event.data) for event in heard.events[1:]]


def test_texts_bytes_and_pings_pass(sidecar, client, key):
    large = hashlib.sha256(b"ws" * (LARGE // 2)).hexdigest()
    assert talk(
        client,
        f"{sidecar.url}/echo",
        key=key,
        messages=[
            "grüße 🦀",
            {"bytes": 2},
            {"ping": "here"},
            "ping me",
            {"bytes": LARGE},
        ],
    ) == [
        ("text", "grüße 🦀"),
        ("binary", f"2 {hashlib.sha256(b'ws').hexdigest()}"),
        ("pong", "here"),
        ("text", "pong at the server"),
        ("binary", f"{LARGE} {large}"),
        ("close", "4002 bye"),
    ]


def test_compression_is_between_the_peers(backend, sidecar, client, key):
    """Both negotiate it, and the sidecar passes what one has compressed."""
    with Tap(sidecar.port) as tap:
        heard = listen(client, f"{tap.url}/echo", key=key, messages=[{"bytes": LARGE}])
        assert "permessage-deflate" in heard.events[0].data
        assert len(tap.asked) < LARGE / 10
        assert len(tap.heard) < LARGE / 10


@pytest.mark.parametrize("offered", [["other", "echo.2", "echo.1"], ["echo.1"]])
def test_a_subprotocol_is_agreed_on(backend, sidecar, client, offered, key):
    heard = listen(
        client, f"{sidecar.url}/echo", key=key, protocols=offered, messages=["hello"]
    )
    agreed, _ = heard.events[0].data.split(" ", 1)
    assert agreed == next(name for name in offered if name.startswith("echo."))


def test_the_server_hears_why_the_client_closes(backend, sidecar, client, key):
    talk(client, f"{sidecar.url}/echo", key=key, messages=["hello"])
    backend.wait_aborted(key)
    assert backend.probe(key)["code"] == 4002


def test_the_client_hears_why_the_server_closes(sidecar, client):
    assert talk(client, f"{sidecar.url}/close") == [("close", "4001 enough")]


def test_the_server_misses_a_client_that_vanished(backend, sidecar, client, key):
    url = f"{sidecar.url}/echo"
    with leaving(client, url, after=2, key=key, messages=["hello", "more"]) as left:
        expect.soon_after(left, backend.wait_aborted(key))
    # Nobody has said a word of closing.
    assert backend.probe(key)["code"] == 1006


def test_a_refused_upgrade_says_why(sidecar, client):
    [refused] = listen(client, f"{sidecar.url}/refused").events
    assert refused.data == "403 members members only\n"


@pytest.mark.parametrize("door", ["https"], indirect=True)
def test_it_opens_with_tls_too(door, client, key):
    """The client is the first to speak, once it has heard that it may."""
    options = {"key": key, "messages": ["hello"], **door.options}
    heard = talk(client, f"{door.url}/echo", **options)
    assert heard == [("text", "hello"), ("close", "4002 bye")]


def test_a_crowd_is_served_at_once(sidecar, client, key):
    crowd, messages = 100, ["one", "two", "three"]
    heard = listen(
        client, f"{sidecar.url}/echo", key=key, messages=messages, crowd=crowd
    )
    count = Counter(
        event.data.split(" ")[0] for event in heard.events if event.type != "open"
    )
    assert count == {"one": crowd, "two": crowd, "three": crowd, "4002": crowd}
