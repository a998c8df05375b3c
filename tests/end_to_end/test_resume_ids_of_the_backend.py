"""A backend that has ids of its own keeps them: they are the cursors then, and what it can resume
itself it still does."""

import itertools

import pytest

from harness import cursors
from harness.clients import Client
from harness.hop import Hop
from harness.kept import messages, numbers, resumes, wait_detached
from harness.reader import Reader

COOKIE = {"Cookie": "sid=1"}


def own(number: int) -> bytes:
    return b"id: own-%d\ndata: %d\n\n" % (number, number)


def sent(asked, first: int, last: int) -> None:
    for number in range(first, last + 1):
        asked.write(own(number))


def test_none_of_ours_are_inserted(keeping, feed):
    with Reader(keeping().url, **COOKIE) as reader:
        asked = feed.request(1)
        asked.begin()
        stream = b"".join(map(own, range(1, 6))) + b"data: without one\n\n"
        asked.write(stream)
        asked.end()
        assert reader.until_end() == "clean"
        assert reader.body == stream


def test_from_the_first_one_on_there_are_none_of_ours(keeping, feed):
    """An id stays in force for all that comes after it, and an application may read its own."""
    url = keeping().url
    with Reader(url, **COOKIE) as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 2)
        sent(asked, 3, 4)
        asked.events(5, 5)
        ids = [event.id for event in reader.until_events(5).events]
        assert all(map(cursors.CURSOR.fullmatch, ids[:2]))
        assert ids[2:] == ["own-3", "own-4", "own-4"]
        reader.reset()
    # Both kinds are cursors.
    with Reader(url, ids[0], **COOKIE) as second:
        assert second.until_events(4).data == numbers(2, 5)
    with Reader(url, "own-3", **COOKIE) as third:
        assert third.until_events(2).data == numbers(4, 5)
    assert feed.count == 1


@pytest.mark.parametrize("client", ["reconnecting", "reconnecting_eventsource"])
def test_a_client_that_shows_who_it_is_misses_nothing(keeping, feed, client):
    """The field that tells who it is may be any that it always sends."""
    sidecar = keeping("resume.identity = ['user-agent']")
    with Hop(sidecar.port) as hop, Client(client, f"{hop.url}/own", count=20) as reader:
        asked = feed.request(1)
        asked.begin()
        asked.write(b"retry: 100\n" + own(1))
        sent(asked, 2, 10)
        reader.until_data(10)
        hop.reset()
        wait_detached(sidecar)
        sent(asked, 11, 15)
        hop.wait_back()
        hop.mend()
        reader.until_data(15)
        sent(asked, 16, 20)
        heard = reader.until_end()
    assert messages(heard) == numbers(1, 20)
    assert feed.count == 1
    assert resumes(sidecar, "replayed") == 1


def test_an_id_that_is_not_held_goes_to_the_backend_unchanged(keeping, feed):
    url = keeping().url
    with Reader(url, "own-77", **COOKIE) as reader:
        asked = feed.request(1)
        assert asked.fields["last-event-id"] == "own-77"
        asked.begin()
        sent(asked, 78, 79)
        asked.end()
        assert reader.until_end() == "clean"
        assert reader.data == ["78", "79"]


@pytest.mark.parametrize(
    ("first", "second", "path"),
    [
        ({}, {}, "/feed"),
        (COOKIE, {}, "/feed"),
        (COOKIE, {"Cookie": "sid=2"}, "/feed"),
        (COOKIE, COOKIE, "/other"),
    ],
    ids=["nobody has credentials", "without", "with others", "at another URL"],
)
def test_whose_stream_it_is_decides(keeping, feed, first, second, path):
    """`own-1` may be an id of everybody's stream: only who has begun one gets it from here."""
    url = keeping().url
    with Reader(f"{url}/feed", **first) as reader:
        asked = feed.request(1)
        asked.begin()
        sent(asked, 1, 5)
        reader.until_events(5)
        reader.reset()
    with Reader(f"{url}{path}", "own-1", **second) as reader:
        again = feed.request(2)
        assert again.fields["last-event-id"] == "own-1"
        again.begin()
        again.write(b"id: x\ndata: from the backend\n\n")
        assert reader.until_events(1).data == ["from the backend"]


def test_an_id_that_comes_twice_loses_nothing(keeping, feed):
    """It resumes after its first event: rather twice than never."""
    url = keeping().url
    with Reader(url, **COOKIE) as reader:
        asked = feed.request(1)
        asked.begin()
        for number, name in enumerate(("a", "same", "same", "b"), 1):
            asked.write(b"id: %b\ndata: %d\n\n" % (name.encode(), number))
        reader.until_events(4)
        reader.reset()
    with Reader(url, "same", **COOKIE) as again:
        asked.write(b"id: c\ndata: 5\n\n")
        again.until_data(5)
        assert again.data in (numbers(3, 5), numbers(4, 5))
        assert "4" in again.data


def test_ours_are_never_seen_by_the_backend(keeping, feed):
    """In whatever place, of whichever stream, known or not."""
    url = keeping().url
    with Reader(f"{url}/?a=1") as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 1)
        known = reader.until_events(1).cursor
        reader.reset()
    feed.refuses = "404 Not Found"
    unknown = [
        cursors.unknown("g"),
        cursors.unknown("p"),
        cursors.token(cursors.unknown()),
    ]
    places = ("field", "lastEventId", "last_event_id")
    for cursor, place in itertools.product((known, *unknown), places):
        in_query = "" if place == "field" else f"&{place}={cursor}"
        for body in (None, b"{}"):
            field = cursor if place == "field" else None
            with Reader(f"{url}/?a=1{in_query}&b=2", field, body=body) as reader:
                reader.head()
    assert feed.count > 1
    assert not cursors.is_in(feed.received)
    targets = {asked.target for asked in map(feed.request, range(2, feed.count + 1))}
    assert targets == {"/?a=1&b=2"}


TOKEN = cursors.token(cursors.unknown())
NOT_OURS = [
    TOKEN[:-1],
    f"{TOKEN}A",
    f"{TOKEN}.A",
    f"{TOKEN}.",
    f"{TOKEN}.-1",
    f"{TOKEN}.1.2",
    f"{TOKEN}.{'z' * 14}",
    f"_x{TOKEN[2:]}.1",
    f"g{TOKEN[2:]}.1",
    f"{TOKEN[:5]}+{TOKEN[6:]}.1",
    "_",
    "_g",
    "0",
    "x" * 4000,
    "\u00fc",
]


@pytest.mark.parametrize("name", NOT_OURS, ids=lambda name: name[:30])
def test_what_only_looks_like_ours_is_the_backend_s(keeping, feed, name):
    feed.refuses = "418 A Teapot"
    url = keeping().url
    with Reader(url, name.encode().decode("latin-1")) as reader:
        assert reader.head().status == 418
    sent = feed.request(1).fields["last-event-id"]
    assert sent.encode("latin-1").decode() == name
