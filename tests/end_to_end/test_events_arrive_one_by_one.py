"""Every event is heard when it is sent, whatever serves it and whoever listens."""

import pytest

from harness import expect
from harness.backends import ORDINARY
from harness.clients import GENERAL, listen

COUNT, GAP_MS = 8, 200
EVENTS = f"/events?n={COUNT}&gap_ms={GAP_MS}"


@pytest.mark.parametrize("client", GENERAL)
@pytest.mark.parametrize("backend", ORDINARY, indirect=True)
def test_events_arrive_one_by_one(sidecar, client):
    heard = listen(client, sidecar.url + EVENTS)
    expect.one_by_one(heard, COUNT, GAP_MS)
    expect.at_once(heard)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
@pytest.mark.parametrize("backend", ["express"], indirect=True)
def test_a_compressed_post_stream_arrives_one_by_one(sidecar, coding):
    """Its request does not say that a stream will come, so the backend compresses."""
    headers = {"Accept": "*/*", "Accept-Encoding": coding}
    post = ["--data", "{}"]
    heard = listen("curl", sidecar.url + EVENTS, headers=headers, arguments=post)
    expect.one_by_one(heard, COUNT, GAP_MS)


@pytest.mark.parametrize("backend", ["express", "django", "php"], indirect=True)
def test_without_the_sidecar_compression_makes_a_burst(backend):
    """The control: these backends do hold the events of a client that offers gzip."""
    heard = listen("eventsource", backend.url + EVENTS)
    expect.a_burst(heard, COUNT, GAP_MS)
