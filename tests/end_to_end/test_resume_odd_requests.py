"""Requests that name a stream and are not what reconnecting clients send, or more than they usually do."""

import pytest

from harness import cursors
from harness.clients import Client
from harness.hop import Hop
from harness.kept import messages, numbers, wait_detached
from harness.reader import Reader

# More than the kernel takes on the way.
LONG = b"x" * 16_000_000


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_who_wants_no_stream_takes_none(keeping, feed, method):
    """Nor does it end that of whoever reads it."""
    url = keeping().url
    with Reader(url) as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 3)
        cursor = reader.until_events(3).events[0].id
        feed.refuses = "418 A Teapot"
        with Reader(url, cursor, method=method, Origin="http://app.example") as other:
            other.head()
            assert "sse-sidecar-resumed" not in other.fields
        asked.events(4, 4)
        assert reader.until_events(4).data == numbers(1, 4)


def test_a_long_body_that_is_repeated_is_read(keeping, feed):
    """Browsers look for an answer only after they have sent all of it: a conversation with pictures in it."""
    url = keeping().url
    with Reader(url, body=b"{}") as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 3)
        cursor = reader.until_events(3).events[0].id
        reader.reset()
    with Reader(url, cursor, body=LONG) as again:
        assert again.until_events(2).data == ["2", "3"]
    assert feed.count == 1


def test_a_page_that_repeats_a_long_body_misses_nothing(keeping, feed):
    sidecar = keeping()
    options = {"body": "x", "times": len(LONG)}
    with (
        Hop(sidecar.port) as hop,
        Client("fetch_event_source_page", f"{hop.url}/count", **options) as reader,
    ):
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 10)
        reader.until_data(10)
        hop.reset()
        wait_detached(sidecar)
        asked.events(11, 15)
        hop.wait_back()
        hop.mend()
        reader.until_data(15)
        asked.end()
        heard = reader.until_end()
    assert messages(heard) == numbers(1, 15)
    assert feed.count == 1


def test_who_is_told_that_a_stream_is_gone_hears_it(keeping, feed):
    """Also with a long body: a client that finds the connection closed would send it again and again."""
    with Reader(keeping().url, cursors.unknown("p"), body=LONG) as reader:
        assert reader.until_end() == "clean"
        assert [event.type for event in reader.events] == ["error"]


def test_who_has_heard_the_end_of_a_stream_hears_it_again(keeping, feed):
    url = keeping().url
    with Reader(url, body=b"{}") as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 1)
        asked.end()
        assert reader.until_end() == "clean"
        cursor = reader.cursor
    with Reader(url, cursor, body=LONG) as again:
        assert again.until_end() == "clean"
        assert again.body == b""
