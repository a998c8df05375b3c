"""Heartbeats are on the wire while the backend is silent, and no client hears them."""

import pytest

from harness.backends import ORDINARY
from harness.clients import GENERAL, Client, listen
from harness.tap import Tap
from harness.wire import fetch

# Between events, inside an event and inside a line: in the last one nothing may
# be said. At 200 ms a heartbeat, the first two have three each, give or take one.
SILENCE = "/silence?ms=700"
AT_LEAST = 4
MEANING = [
    ("message", "1", "before"),
    ("message", "1", "first half\nsecond half"),
    ("message", "1", "in a line"),
]
HEARTBEAT = b": heartbeat\n"


@pytest.mark.parametrize("client", GENERAL)
@pytest.mark.parametrize("backend", ORDINARY, indirect=True)
def test_heartbeats_go_unheard(backend, chatty, client):
    with (
        Tap(chatty.port) as tap,
        Client(client, backend.url + SILENCE) as direct,
        Client(client, tap.url + SILENCE) as proxied,
    ):
        # fetch-event-source gives an event only the id of its own.
        expected = direct.until_end().meaning
        assert [data for _, _, data in expected] == [data for _, _, data in MEANING]
        assert proxied.until_end().meaning == expected
    assert tap.heartbeats() >= AT_LEAST, tap.heard


@pytest.mark.parametrize("backend", ORDINARY, indirect=True)
def test_without_its_heartbeats_the_stream_has_the_backends_bytes(backend, chatty):
    stream = {"Accept": "text/event-stream"}
    answer = fetch(chatty.url + SILENCE, stream)
    assert answer.body.count(HEARTBEAT) >= AT_LEAST
    direct = fetch(backend.url + SILENCE, stream)
    assert answer.body.replace(HEARTBEAT, b"") == direct.body


@pytest.mark.parametrize("backend", ["express"], indirect=True)
def test_the_metrics_count_the_heartbeats(chatty):
    before = chatty.count("heartbeats_sent_total")
    answer = fetch(chatty.url + SILENCE, {"Accept": "text/event-stream"})
    counted = chatty.count("heartbeats_sent_total") - before
    assert counted == answer.body.count(HEARTBEAT) >= AT_LEAST


@pytest.mark.parametrize("client", ["fetch_event_source", "httpx_sse_client"])
@pytest.mark.parametrize("backend", ["express"], indirect=True)
def test_the_wrong_frame_would_be_heard(sidecar_with, client):
    """The control: with a blank line these clients do hear events nobody sent."""
    wrong = sidecar_with('heartbeat = { interval = "200ms", frame = "block" }')
    heard = listen(client, wrong.url + SILENCE)
    assert len(heard.events) > len(MEANING)
