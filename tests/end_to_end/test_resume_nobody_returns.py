"""A stream waits for its client for as long as the grace is, if that client can come back at all;
all others are missed by the backend at once, as they are without any resuming."""

import pytest

from harness import expect
from harness.clients import leaving
from harness.kept import GRACE, wait_detached, wait_line
from harness.reader import Reader
from harness.sidecar import Sidecar
from harness.wire import now_ms

GRACE_MS = 2000
SHORT = f'resume.grace = "{GRACE_MS}ms"'


@pytest.fixture
def short(start, feed, proxied):
    return start(Sidecar, feed.url, SHORT)


def test_a_stream_waits_for_the_grace_and_no_longer(short, feed):
    with Reader(short.url) as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 10)
        reader.until_events(10)
        left = now_ms()
        reader.reset()
    wait_detached(short)
    detached = wait_line(short, "stream left", detached=True)
    assert detached["departure"] == "closed"
    waited = asked.wait_left() - left
    # What a busy machine may be late.
    assert GRACE_MS <= waited < GRACE_MS + 1000
    wait_line(short, "detached stream ended", reason="grace_over")
    wait_detached(short, 0)


def test_each_return_ends_the_grace(short, feed):
    """What counts is how long nobody reads, not how old the stream is."""
    with Reader(short.url) as first:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 1)
        cursor = first.until_events(1).cursor
        first.reset()
    wait_detached(short)
    with Reader(short.url, cursor) as second:
        second.head()
        wait_detached(short, 0)
        # The first grace is over by now, and nothing came of it.
        with pytest.raises(TimeoutError):
            asked.wait_left(GRACE_MS * 1.5 / 1000)
        asked.events(2, 2)
        second.until_events(1)
        left = now_ms()
        second.reset()
    assert asked.wait_left() - left >= GRACE_MS


def test_after_the_grace_there_is_the_rest_and_no_clean_end(short, feed):
    """What was lost of it was lost: the reader must not take it for the whole."""
    with Reader(short.url, body=b"{}") as first:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 1)
        cursor = first.until_events(1).cursor
        first.reset()
    wait_detached(short)
    asked.events(2, 5)
    asked.wait_left()
    with Reader(short.url, cursor, body=b"{}") as second:
        assert second.until_end() == "cut"
        assert second.data == ["2", "3", "4", "5"]
    assert feed.count == 1


NOBODY_CAN_RETURN = [
    ("has seen no event", {}, 0),
    ("is given no ids", {"accept": "*/*"}, 3),
    ("asks for JSON", {"accept": "application/json"}, 3),
]


@pytest.mark.parametrize(
    ("fields", "events"),
    [(fields, events) for _, fields, events in NOBODY_CAN_RETURN],
    ids=[name for name, *_ in NOBODY_CAN_RETURN],
)
def test_a_client_that_cannot_return_is_missed_at_once(keeping, feed, fields, events):
    sidecar = keeping()
    with Reader(sidecar.url, body=b"{}", **fields) as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, events)
        reader.until_events(events)
        assert b"id:" not in reader.body
        left = now_ms()
        reader.reset()
    expect.soon_after(left, asked.wait_left())
    wait_detached(sidecar, 0)


def test_a_route_without_grace_is_as_it_was(start, feed, proxied):
    settings = '[[route]]\npath = "/kept"\nresume.grace = "30s"'
    sidecar = start(Sidecar, feed.url, settings)
    with Reader(f"{sidecar.url}/other") as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 3)
        reader.until_events(3)
        assert b"id:" not in reader.body
        assert "sse-sidecar-stream" not in reader.fields
        left = now_ms()
        reader.reset()
    expect.soon_after(left, asked.wait_left())


@pytest.mark.parametrize("backend", ["llm"], indirect=True)
def test_an_sdk_that_leaves_stops_the_model(sidecar_with, backend, key):
    """On a route that keeps streams, too: it could not come back."""
    url = f"{sidecar_with(GRACE).url}/endless/{key}"
    with leaving("openai_python", url, after=6, api="chat") as left:
        expect.soon_after(left, backend.wait_aborted(key))
