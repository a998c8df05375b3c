"""Streams that a backend compresses though it was asked not to: what is kept is what they say."""

import pytest

from harness import cursors, expect
from harness.codings import CODINGS
from harness.feed import event
from harness.kept import numbers, wait_detached
from harness.reader import Reader
from harness.wire import now_ms


@pytest.mark.parametrize("coding", CODINGS)
def test_a_compressed_stream_is_resumed_decoded(keeping, feed, coding):
    sidecar = keeping()
    pieces = CODINGS[coding]([event(number) for number in range(1, 21)])
    with Reader(sidecar.url) as first:
        asked = feed.request(1)
        asked.begin(f"Content-Encoding: {coding}")
        for number in range(1, 11):
            asked.write(next(pieces))
            # Each as soon as it is sent.
            first.until_events(number)
        assert "content-encoding" not in first.fields
        assert first.data == numbers(1, 10)
        cursor = first.events[4].id
        first.reset()
    wait_detached(sidecar)
    for _ in range(5):
        asked.write(next(pieces))
    with Reader(sidecar.url, cursor) as second:
        second.until_events(10)
        assert "content-encoding" not in second.fields
        for piece in pieces:
            asked.write(piece)
        asked.end()
        assert second.until_end() == "clean"
        assert second.data == numbers(6, 20)
    assert feed.count == 1


def test_a_stream_that_nobody_can_read_is_not_kept(keeping, feed):
    """It passes as it is, and its client's leaving is heard at once."""
    sidecar = keeping()
    with Reader(sidecar.url) as reader:
        asked = feed.request(1)
        asked.begin("Content-Encoding: x-unknown")
        asked.events(1, 3)
        reader.until(lambda: reader.body.endswith(event(3)))
        assert reader.body == event(1) + event(2) + event(3)
        assert "sse-sidecar-stream" not in reader.fields
        assert not cursors.is_in(bytes(reader.body))
        left = now_ms()
        reader.reset()
    expect.soon_after(left, asked.wait_left())
    wait_detached(sidecar, 0)
