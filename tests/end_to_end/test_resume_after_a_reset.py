"""A client whose connection breaks comes back as it is used to, and misses nothing: what it cannot
hear meanwhile is kept, and the backend notices none of it."""

import json

import pytest

from harness import cursors
from harness.clients import Client
from harness.feed import event
from harness.hop import Hop
from harness.kept import messages, numbers, resumes, wait_detached, wait_line
from harness.reader import Reader
from harness.waiting import wait_for

POST = {
    "body": json.dumps({"prompt": "count"}),
    "headers": {"content-type": "application/json"},
}
CLIENTS = [
    ("reconnecting", {"count": 100}),
    ("reconnecting_eventsource", {"count": 100}),
    ("fetch_event_source_page", POST),
]
# None of them is patient: they wait so long before they come back.
FIRST = b"retry: 100\n" + event(1)


@pytest.mark.parametrize(
    ("client", "options"), CLIENTS, ids=[name for name, _ in CLIENTS]
)
def test_a_client_that_returns_misses_nothing(keeping, feed, client, options):
    sidecar = keeping()
    with (
        Hop(sidecar.port) as hop,
        Client(client, f"{hop.url}/count?to=100", **options) as reader,
    ):
        asked = feed.request(1)
        asked.begin()
        asked.write(FIRST)
        asked.events(2, 10)
        reader.until_data(10)
        hop.reset()
        wait_detached(sidecar)
        asked.events(11, 50)
        wait_for(
            lambda: sidecar.count("detached_events_total") == 40,
            "forty events are kept",
        )
        hop.wait_back()
        hop.mend()
        reader.until_data(50)
        asked.events(51, 100)
        reader.until_data(100)
        assert asked.left is None
        asked.end()
        heard = reader.until_end()
    assert messages(heard) == numbers(1, 100)
    sequences = [
        cursors.sequence(each.id) for each in heard.events if each.type == "message"
    ]
    assert sequences == sorted(set(sequences))
    assert [each.type for each in heard.events].count("open") == 2
    assert feed.count == 1
    assert resumes(sidecar, "replayed") == 1
    assert sidecar.count("replayed_events_total") == 40
    resumed = wait_line(sidecar, "stream resumed")
    assert resumed["away_ms"] > 0


@pytest.mark.parametrize(
    ("client", "options"), CLIENTS, ids=[name for name, _ in CLIENTS]
)
def test_a_client_may_be_cut_off_again_and_again(keeping, feed, client, options):
    sidecar = keeping()
    with (
        Hop(sidecar.port) as hop,
        Client(client, f"{hop.url}/count", **options) as reader,
    ):
        asked = feed.request(1)
        asked.begin()
        asked.write(FIRST)
        for last in (10, 20, 30, 40):
            asked.events(last - 8, last)
            reader.until_data(last)
            hop.reset()
            wait_detached(sidecar)
            asked.write(event(last + 1))
            hop.wait_back()
            hop.mend()
        asked.events(42, 100)
        reader.until_data(100)
        asked.end()
        heard = reader.until_end()
    assert messages(heard) == numbers(1, 100)
    assert feed.count == 1
    assert resumes(sidecar, "replayed") == 4


def test_an_event_that_was_half_sent_comes_whole(keeping, feed):
    url = keeping().url
    with Reader(url) as first:
        asked = feed.request(1)
        asked.begin()
        asked.write(event(1) + b"data: 2")
        first.until(lambda: first.body.endswith(b"data: 2"))
        cursor = first.cursor
        first.reset()
    with Reader(url, cursor) as second:
        second.until(lambda: second.body == b"data: 2")
        asked.write(b"2\n\n")
        second.until_data(22)
        asked.end()
        assert second.until_end() == "clean"
    assert second.data == ["22"]
    assert cursors.sequence(second.cursor) == cursors.sequence(cursor) + 1


def test_a_cursor_says_what_it_names(keeping, feed):
    """The token is told at once, and then stands in each id; a resumed response says where it goes on."""
    url = keeping().url
    with Reader(url) as first:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 3)
        first.until_events(3)
        assert first.fields["sse-sidecar-stream"] == cursors.token(first.cursor)
        assert first.cursor.startswith("_g")
        assert len({event.id for event in first.events}) == 3
        second_event = first.events[1].id
        token = cursors.token(first.cursor)
        first.reset()
    with Reader(url, second_event) as second:
        second.until_events(1)
        assert second.data == ["3"]
        resumed = int(second.fields["sse-sidecar-resumed"], 36)
        assert resumed == cursors.sequence(second_event)
        assert "no-store" in second.fields["cache-control"]
        second.reset()
    with Reader(url, token) as third:
        third.until_events(3)
        assert third.data == numbers(1, 3)
    assert feed.count == 1


def test_the_head_of_a_resumed_response_is_that_of_the_first(keeping, feed):
    url = keeping().url
    with Reader(url) as first:
        asked = feed.request(1)
        asked.begin("X-Model: small", "Set-Cookie: once=1")
        asked.events(1, 1)
        first.until_events(1)
        assert first.fields["set-cookie"] == "once=1"
        cursor = first.cursor
    with Reader(url, cursor) as second:
        second.head()
        assert second.status == 200
        assert second.fields["content-type"] == "text/event-stream"
        assert second.fields["x-model"] == "small"
        assert "set-cookie" not in second.fields


@pytest.mark.parametrize("name", ["lastEventId", "last_event_id"])
def test_a_cursor_may_stand_in_the_query(keeping, feed, name):
    """Where a hop keeps the field to itself, or a polyfill never sends it."""
    url = keeping().url
    with Reader(f"{url}/feed?topic=a") as first:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 2)
        first.until_events(2)
        cursor = first.events[0].id
        first.reset()
    with Reader(f"{url}/feed?topic=a&{name}={cursor}") as second:
        assert second.until_events(1).data == ["2"]
    assert feed.count == 1


def test_a_post_is_repeated_to_nobody(keeping, feed):
    """The second POST has a body too, which the backend must not get."""
    url = keeping().url
    with Reader(url, body=b'{"prompt":"count"}') as first:
        asked = feed.request(1)
        assert asked.body == b'{"prompt":"count"}'
        asked.begin()
        asked.events(1, 2)
        first.until_events(2)
        assert first.cursor.startswith("_p")
        cursor = first.events[0].id
        first.reset()
    with Reader(url, cursor, body=b'{"prompt":"count"}') as second:
        second.until_events(1)
        asked.events(3, 3)
        asked.end()
        assert second.until_end() == "clean"
        assert second.data == numbers(2, 3)
    assert feed.count == 1
    assert not cursors.is_in(feed.received)
