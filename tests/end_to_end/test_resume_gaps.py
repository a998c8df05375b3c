"""What is not kept any more is never passed over in silence: the client gets a new stream where that
is what it would get without a sidecar, and an error where a repeated request would cost twice."""

import json

import pytest

from harness import cursors
from harness.clients import Client
from harness.feed import event
from harness.hop import Hop
from harness.kept import GRACE, messages, numbers, resumes
from harness.reader import Reader
from harness.sidecar import Sidecar

BOTH = "application/json, text/event-stream"
BODY = b'{"prompt":"count"}'


def begun(url: str, feed, body: bytes | None = None) -> str:
    """The cursor of a stream that was left."""
    with Reader(url, body=body) as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 3)
        cursor = reader.until_events(3).cursor
        reader.reset()
    return cursor


def test_a_get_of_before_a_restart_gets_a_new_stream(keeping, feed):
    sidecar = keeping()
    cursor = begun(sidecar.url, feed)
    sidecar.restart()
    with Reader(sidecar.url, cursor) as reader:
        asked = feed.request(2)
        assert "last-event-id" not in asked.fields
        asked.begin()
        asked.events(1, 1)
        assert reader.until_events(1).data == ["1"]
        assert reader.status == 200
        assert reader.fields["sse-sidecar-resumed"] == "none"
        assert cursors.token(reader.cursor) != cursors.token(cursor)
    assert resumes(sidecar, "unknown") == 1


def test_an_event_source_goes_on_after_a_restart(keeping, feed):
    sidecar = keeping()
    with Client("reconnecting_eventsource", f"{sidecar.url}/count", count=6) as reader:
        asked = feed.request(1)
        asked.begin()
        asked.write(b"retry: 100\n" + event(1))
        asked.events(2, 3)
        reader.until_data(3)
        sidecar.restart()
        again = feed.request(2)
        assert "last-event-id" not in again.fields
        again.begin()
        again.events(1, 3)
        heard = reader.until_end()
    assert messages(heard) == numbers(1, 3) * 2


def test_a_post_of_before_a_restart_is_gone(keeping, feed):
    sidecar = keeping()
    cursor = begun(sidecar.url, feed, BODY)
    sidecar.restart()
    with Reader(sidecar.url, cursor, body=BODY, accept=BOTH) as reader:
        reader.until_end()
        assert reader.status == 410
        assert reader.fields["content-type"] == "application/problem+json"
        assert json.loads(reader.body)["reason"] == "resume_gone"
    assert feed.count == 1


def test_a_cursor_of_a_post_is_gone_for_a_get_too(keeping, feed):
    """It would not be the same stream."""
    with Reader(keeping().url, cursors.unknown("p"), accept=BOTH) as reader:
        assert reader.head().status == 410
    assert feed.count == 0


def test_who_takes_nothing_else_gets_an_event(keeping, feed):
    """At any status but 200 fetch-event-source would try again for ever."""
    with Reader(keeping().url, cursors.unknown("p"), body=BODY) as reader:
        assert reader.until_end() == "clean"
        assert reader.status == 200
        [error] = reader.events
        assert error.type == "error"
        assert json.loads(error.data)["reason"] == "resume_gone"
    assert feed.count == 0


def test_a_page_that_repeats_its_post_does_not_try_for_ever(keeping, feed):
    sidecar = keeping()
    options = {"body": BODY.decode(), "headers": {"content-type": "application/json"}}
    with (
        Hop(sidecar.port) as hop,
        Client("fetch_event_source_page", f"{hop.url}/count", **options) as reader,
    ):
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 3)
        reader.until_data(3)
        hop.reset()
        sidecar.restart()
        hop.mend()
        heard = reader.until_end()
    [error] = [each for each in heard.events if each.type == "error"]
    assert json.loads(error.data)["reason"] == "resume_gone"
    assert messages(heard) == numbers(1, 3)
    assert feed.count == 1


def test_a_session_of_mcp_is_told_without_losing_it(keeping, feed):
    """404 would mean that the session is gone."""
    fields = {"Mcp_Session_Id": "s1", "MCP_Protocol_Version": "2025-11-25"}
    with Reader(keeping().url, cursors.unknown("p"), accept=BOTH, **fields) as reader:
        assert reader.head().status == 400
    assert feed.count == 0


@pytest.mark.parametrize(
    ("on_gap", "kind", "reaches_the_backend"),
    [
        ("restart", "p", True),
        ("restart", "g", True),
        ("gone", "g", False),
        ("gone", "p", False),
    ],
)
def test_a_route_may_say_what_a_gap_is(
    keeping, feed, on_gap, kind, reaches_the_backend
):
    url = keeping(f'resume.on_gap = "{on_gap}"').url
    feed.refuses = "418 A Teapot"
    body = BODY if kind == "p" else None
    with Reader(url, cursors.unknown(kind), body=body, accept=BOTH) as reader:
        assert reader.head().status == (418 if reaches_the_backend else 410)
    assert feed.count == reaches_the_backend
    if reaches_the_backend:
        assert feed.request(1).body == (body or b"")


FILLED = b"data: " + b"x" * 1000 + b"\n\n"


@pytest.fixture
def filled(keeping, feed):
    """A detached stream of 200 kB of which 64 KiB are kept, its events, and where it is."""

    def filled(settings: str = ""):
        sidecar = keeping(f'resume.history = "64KiB"\n{settings}')
        with Reader(sidecar.url) as reader:
            asked = feed.request(1)
            asked.begin()
            for _ in range(200):
                asked.write(FILLED)
            events = reader.until_events(200).events
            reader.reset()
        return sidecar, asked, events

    return filled


def test_a_cursor_is_good_up_to_the_edge_of_what_is_kept(filled, feed):
    """Not one event is missed, and none that could be had is refused."""
    sidecar, _, events = filled()
    feed.refuses = "418 A Teapot"
    held = []
    for seen in range(1, 201):
        with Reader(sidecar.url, events[seen - 1].id) as reader:
            if reader.head().status == 418:
                assert not held, "an older cursor was good"
                continue
            held.append(seen)
            if len(held) < 3 or seen % 20 == 0:
                reader.until_events(200 - seen)
                assert reader.events == events[seen:]
    assert held[-1] == 200
    # What is kept is 64 KiB, give or take what is read at once.
    assert 30 <= len(held) <= 66
    assert resumes(sidecar, "gap") == 200 - len(held)
    assert sidecar.count("history_bytes") <= 2 * 64 * 1024


def test_a_feed_may_go_on_with_what_there_is(filled, feed):
    """And says what it lacks."""
    sidecar, asked, events = filled('resume.on_gap = "continue"')
    with Reader(sidecar.url, events[9].id) as reader:
        reader.until(lambda: reader.events and reader.events[-1].id == events[-1].id)
        gap, *rest = reader.events
        assert gap.type == "gap"
        assert rest == events[-len(rest) :]
        assert str(200 - 10 - len(rest)) in gap.data
        asked.events(201, 201)
        reader.until_data(201)
    assert feed.count == 1


def test_an_event_larger_than_the_history_passes_whole(keeping, feed):
    sidecar = keeping('resume.history = "64KiB"')
    large = b"data: " + b"y" * (1 << 20) + b"\n\n"
    with Reader(sidecar.url) as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 1)
        before = reader.until_events(1).cursor
        half = len(large) // 2
        asked.write(large[:half])
        # It comes as it is sent, and not when it is whole.
        reader.until(lambda: reader.body.endswith(large[half - 100 : half]))
        asked.write(large[half:])
        its_own = reader.until_events(2).cursor
        assert len(reader.data[1]) == 1 << 20
        asked.events(3, 3)
        reader.until_data(3)
        assert sidecar.count("history_bytes") <= 2 * 64 * 1024
        reader.reset()
    with Reader(sidecar.url, its_own) as after:
        assert after.until_events(1).data == ["3"]
    feed.refuses = "418 A Teapot"
    with Reader(sidecar.url, before) as gap:
        assert gap.head().status == 418
    assert resumes(sidecar, "gap") == 1


def test_a_full_memory_keeps_what_it_has_promised(start, feed, proxied):
    """The next stream passes as without resuming, and is counted."""
    settings = f'{GRACE}history.memory = "256KiB"\nresume.history = "128KiB"'
    sidecar = start(Sidecar, feed.url, settings)
    kept = []
    for number in (1, 2, 3, 4):
        with Reader(sidecar.url, Cookie=f"sid={number}") as reader:
            asked = feed.request(number)
            asked.begin()
            for _ in range(100):
                asked.write(FILLED)
            reader.until_events(100)
            if reader.events[0].id:
                kept.append((number, reader.events[50].id, reader.events[51:]))
            reader.reset()
    assert 1 <= len(kept) <= 3
    assert kept[0][0] == 1
    assert sidecar.count("history_refused_total") == 4 - len(kept)
    feed.refuses = "418 A Teapot"
    for number, cursor, rest in kept:
        with Reader(sidecar.url, cursor, Cookie=f"sid={number}") as reader:
            if number == kept[-1][0] and reader.head().status == 418:
                # There was room when it began, but not for all of it.
                assert sidecar.count('history_evictions_total{why="shortened"}')
                continue
            assert reader.until_events(len(rest)).events == rest
    # And one read.
    assert sidecar.count("history_bytes") <= (256 + 32) * 1024
