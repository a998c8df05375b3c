"""The ids that the sidecar inserts stand where no parser can object to them: without them the bytes
are the backend's, with them only `lastEventId` differs, and nothing comes later than it did."""

import pytest

from harness import cursors, whatwg
from harness.reader import Reader

BOM = b"\xef\xbb\xbf"
LINES = [
    b"data: one",
    b"",
    b": a comment",
    b"",
    b"event: named",
    b"data: two",
    b"data",
    b"data:lines",
    b"",
    b": one inside",
    b"data: three",
    b": another",
    b"",
    b"retry: 9000",
    b"",
    b"event: without data",
    b"",
    b"",
    b'data: {"caf\xc3\xa9": 4}',
    b"unknown: field",
    b"",
]


def lines_end(terminator: bytes) -> bytes:
    return b"".join(line + terminator for line in LINES)


MIXED = b"".join(line + (b"\n", b"\r\n", b"\r")[n % 3] for n, line in enumerate(LINES))
STREAMS = {
    "LF": lines_end(b"\n"),
    "CRLF": lines_end(b"\r\n"),
    "CR": lines_end(b"\r"),
    "mixed": MIXED,
    "BOM": BOM + lines_end(b"\n"),
    "half an event": lines_end(b"\r\n") + b"data: never dispatched",
    "an empty event": b"data\n\ndata\n\n",
}
with_streams = pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)


def is_the_same(heard: bytes, sent: bytes) -> None:
    assert cursors.without(heard) == sent
    ours, theirs = whatwg.parse(heard), whatwg.parse(sent)
    assert [each[:2] for each in ours] == [each[:2] for each in theirs]
    assert all(cursors.CURSOR.fullmatch(each.id) for each in ours)
    # Each event has one of its own.
    assert len({each.id for each in ours}) == len(ours)


@with_streams
def test_without_the_ids_the_bytes_are_those_of_the_backend(keeping, feed, stream):
    with Reader(keeping().url) as reader:
        asked = feed.request(1)
        asked.begin()
        asked.write(stream)
        asked.end()
        assert reader.until_end() == "clean"
        is_the_same(bytes(reader.body), stream)


@with_streams
def test_no_cut_delays_a_byte(keeping, feed, stream):
    """Cut at each byte: what came before is with the client before the rest is sent."""
    url = keeping().url
    for number, cut in enumerate(range(1, len(stream)), 1):
        with Reader(url) as reader:
            asked = feed.request(number)
            asked.begin()
            asked.write(stream[:cut])
            reader.until_brought(stream[:cut])
            asked.write(stream[cut:])
            asked.end()
            assert reader.until_end() == "clean"
            is_the_same(bytes(reader.body), stream)


@with_streams
def test_a_stream_that_comes_byte_by_byte_goes_byte_by_byte(keeping, feed, stream):
    with Reader(keeping().url) as reader:
        asked = feed.request(1)
        asked.begin()
        for end in range(1, len(stream) + 1):
            asked.write(stream[end - 1 : end])
            reader.until_brought(stream[:end])
        asked.end()
        reader.until_end()
        is_the_same(bytes(reader.body), stream)


@with_streams
def test_a_stream_resumed_at_any_event_is_the_rest_of_it(keeping, feed, stream):
    url = keeping().url
    with Reader(url) as reader:
        asked = feed.request(1)
        asked.begin()
        asked.write(stream)
        reader.until_brought(stream)
        events = reader.events
        reader.reset()
    with Reader(url, cursors.token(events[0].id)) as whole:
        whole.until_brought(stream)
        assert whole.events == events
    for seen, event in enumerate(events, 1):
        with Reader(url, event.id) as rest:
            rest.until_events(len(events) - seen)
            assert stream.startswith(BOM) or cursors.without(bytes(rest.body)) in stream
            assert not rest.body.startswith(BOM)
            assert rest.events == events[seen:]
    assert feed.count == 1


@pytest.mark.parametrize(
    ("ids", "accept", "has"),
    [
        ("auto", "text/event-stream", True),
        ("auto", "application/json, text/event-stream;q=0.9", True),
        ("auto", "*/*", False),
        ("auto", None, False),
        ("always", "*/*", True),
        ("never", "text/event-stream", False),
    ],
)
def test_who_is_given_ids(keeping, feed, ids, accept, has):
    with Reader(keeping(f'resume.ids = "{ids}"').url, accept=accept) as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 3)
        asked.end()
        reader.until_end()
        assert (b"id:" in reader.body) == has


def test_heartbeats_and_errors_have_no_ids(keeping, feed):
    """An id on what the backend has not sent would skip what it has."""
    settings = 'heartbeat.interval = "50ms"\nevents.on_upstream_failure = "event"'
    with Reader(keeping(settings).url) as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 1)
        reader.until(lambda: reader.body.count(b": heartbeat\n") >= 3)
        asked.events(2, 2)
        reader.until_events(2)
        asked.abort()
        reader.until_end()
    first, second, error = reader.events
    assert cursors.sequence(second.id) == cursors.sequence(first.id) + 1
    assert error.type == "error"
    assert error.id == second.id
    assert reader.body.count(b"id: ") == 2
