"""Streams that end while nobody reads them, and clients that come back when all is over: an event
source would otherwise ask for the same generation again and again."""

import pytest

from harness.clients import Client
from harness.feed import event
from harness.hop import Hop
from harness.kept import messages, numbers, resumes, wait_detached
from harness.reader import Reader
from harness.waiting import wait_for

DONE = b"data: [DONE]\n\n"
TERMINAL = {
    "[DONE]": DONE,
    "message_stop": b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    "response.completed": b'event: response.completed\ndata: {"type":"response.completed"}\n\n',
    "a JSON-RPC response": b'event: message\ndata: {"jsonrpc":"2.0","id":1,"result":{}}\n\n',
}
with_methods = pytest.mark.parametrize("body", [None, b"{}"], ids=["GET", "POST"])


def ended(sidecar, feed, body, last: bytes, clean: bool = True):
    """The events of a stream that was left after the first and then went on to its end."""
    with Reader(sidecar.url, body=body) as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 1)
        cursor = reader.until_events(1).cursor
        reader.reset()
    wait_detached(sidecar)
    asked.events(2, 3)
    asked.write(last)
    if clean:
        asked.end()
    else:
        asked.abort()
    wait_detached(sidecar, 0)
    return cursor


@with_methods
@pytest.mark.parametrize("last", TERMINAL.values(), ids=TERMINAL)
def test_a_generation_that_is_complete_is_not_begun_again(keeping, feed, body, last):
    sidecar = keeping()
    cursor = ended(sidecar, feed, body, last)
    with Reader(sidecar.url, cursor, body=body) as rest:
        assert rest.until_end() == "clean"
        assert rest.data[:2] == ["2", "3"]
        assert len(rest.data) == 3
    with Reader(sidecar.url, rest.cursor, body=body) as over:
        assert over.until_end() == "clean"
        assert over.status == (200 if body else 204)
        assert over.body == b""
    assert feed.count == 1
    assert resumes(sidecar, "after_end") == 1


@with_methods
def test_a_subscription_that_was_rotated_is_opened_anew(keeping, feed, body):
    """Nothing says that it is complete; a POST is not repeated all the same."""
    sidecar = keeping()
    cursor = ended(sidecar, feed, body, event(4))
    with Reader(sidecar.url, cursor, body=body) as rest:
        assert rest.until_end() == "clean"
        assert rest.data == numbers(2, 4)
    feed.refuses = "418 A Teapot"
    with Reader(sidecar.url, rest.cursor, body=body) as over:
        over.until_end()
        assert (over.status, feed.count) == ((200, 1) if body else (418, 2))
        assert over.body == b""


@with_methods
def test_a_stream_that_broke_breaks_again(keeping, feed, body):
    sidecar = keeping()
    cursor = ended(sidecar, feed, body, event(4), clean=False)
    with Reader(sidecar.url, cursor, body=body) as rest:
        assert rest.until_end() == "cut"
        assert rest.data == numbers(2, 4)
    feed.refuses = "418 A Teapot"
    with Reader(sidecar.url, rest.cursor, body=body) as over:
        if body:
            assert over.until_end() == "cut"
            assert over.body == b""
        else:
            assert over.head().status == 418
    assert feed.count == (1 if body else 2)


@pytest.mark.parametrize(
    ("after_end", "last", "status"),
    [("stop", event(4), 204), ("restart", DONE, 418), ("auto", DONE, 204)],
)
def test_a_route_may_say_what_the_end_means(keeping, feed, after_end, last, status):
    sidecar = keeping(f'resume.after_end = "{after_end}"')
    cursor = ended(sidecar, feed, None, last)
    with Reader(sidecar.url, cursor) as rest:
        rest.until_end()
    feed.refuses = "418 A Teapot"
    with Reader(sidecar.url, rest.cursor) as over:
        assert over.head().status == status


def test_an_end_is_kept_no_longer_than_it_is_said(keeping, feed):
    sidecar = keeping('resume.keep = "300ms"')
    cursor = ended(sidecar, feed, None, DONE)
    wait_for(lambda: sidecar.count("history_streams") == 0, "nothing is kept")
    assert sidecar.count("history_bytes") == 0
    feed.refuses = "418 A Teapot"
    with Reader(sidecar.url, cursor) as late:
        assert late.head().status == 418
    assert "last-event-id" not in feed.request(2).fields


@pytest.mark.parametrize("client", ["reconnecting", "reconnecting_eventsource"])
def test_an_event_source_stops_after_a_complete_generation(keeping, feed, client):
    """It comes back after each end; 204 is what lets it rest."""
    sidecar = keeping()
    with Client(client, f"{sidecar.url}/generate") as reader:
        asked = feed.request(1)
        asked.begin()
        asked.write(b"retry: 100\n" + event(1))
        asked.events(2, 5)
        asked.write(DONE)
        asked.end()
        heard = reader.until_end()
    assert messages(heard) == [*numbers(1, 5), "[DONE]"]
    assert heard.events[-1].type == "closed"
    assert feed.count == 1


@pytest.mark.parametrize("client", ["reconnecting", "reconnecting_eventsource"])
def test_the_end_that_nobody_heard_is_heard(keeping, feed, client):
    sidecar = keeping()
    with Hop(sidecar.port) as hop, Client(client, f"{hop.url}/generate") as reader:
        asked = feed.request(1)
        asked.begin()
        asked.write(b"retry: 100\n" + event(1))
        reader.until_data(1)
        hop.reset()
        wait_detached(sidecar)
        asked.events(2, 5)
        asked.write(DONE)
        asked.end()
        hop.wait_back()
        wait_detached(sidecar, 0)
        hop.mend()
        heard = reader.until_end()
    assert messages(heard) == [*numbers(1, 5), "[DONE]"]
    assert heard.events[-1].type == "closed"
    assert feed.count == 1


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "cut"])
def test_a_page_that_repeats_its_post_ends_with_the_stream(keeping, feed, clean):
    """fetch-event-source resolves at a clean end, and only there. Here it has heard all but the end."""
    sidecar = keeping()
    with (
        Hop(sidecar.port) as hop,
        Client("fetch_event_source_page", f"{hop.url}/generate", body="{}") as reader,
    ):
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 5)
        reader.until_data(5)
        hop.reset()
        wait_detached(sidecar)
        if clean:
            asked.end()
        else:
            asked.abort()
        wait_detached(sidecar, 0)
        hop.wait_back()
        hop.mend()
        if clean:
            heard = reader.until_end()
        else:
            # Again and again: it is not told that all is well.
            reader.until_count("lost", 3)
            heard = reader.heard
    assert messages(heard) == numbers(1, 5)
    assert feed.count == 1
