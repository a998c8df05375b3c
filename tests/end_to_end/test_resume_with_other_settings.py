"""Kept streams and what else a route may say: early heads, timeouts, errors as events, reloads."""

import json

import pytest

from harness.kept import GRACE, numbers, wait_detached, wait_end
from harness.reader import Reader

WHERE = {"GET": None, "POST": b"{}"}
with_methods = pytest.mark.parametrize("body", WHERE.values(), ids=WHERE)


def left(sidecar, feed, body: bytes | None = None):
    """A stream of three events that nobody reads, of which the first was seen."""
    with Reader(sidecar.url, body=body) as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 3)
        reader.until_events(3)
        cursor = reader.events[0].id
        reader.reset()
    wait_detached(sidecar)
    return asked, cursor


@with_methods
def test_a_stream_with_an_early_head_is_resumed(keeping, feed, body):
    """The client heard heartbeats before the backend had said anything."""
    sidecar = keeping('heartbeat = { before_head = "100ms", interval = "50ms" }')
    with Reader(sidecar.url, body=body) as reader:
        asked = feed.request(1)
        reader.until(lambda: reader.body.count(b"heartbeat") >= 2)
        asked.begin()
        asked.events(1, 3)
        reader.until_events(3)
        cursor = reader.events[0].id
        reader.reset()
    wait_detached(sidecar)
    with Reader(sidecar.url, cursor, body=body) as again:
        asked.events(4, 4)
        again.until_data(4)
        assert again.data == numbers(2, 4)
    assert feed.count == 1


@with_methods
def test_an_end_that_is_told_in_band_is_told_to_who_returns(keeping, feed, body):
    sidecar = keeping('events.on_upstream_failure = "event"')
    asked, cursor = left(sidecar, feed, body)
    asked.abort()
    wait_end(sidecar, "upstream_closed")
    with Reader(sidecar.url, cursor, body=body) as again:
        again.until_end()
        *rest, error = again.events
        assert [event.data for event in rest] == ["2", "3"]
        assert error.type == "error"
        assert json.loads(error.data)["reason"] == "upstream_closed"
    assert feed.count == 1


@with_methods
def test_a_backend_that_falls_silent_is_given_up_though_nobody_reads(
    keeping, feed, body
):
    sidecar = keeping('timeouts.read = "500ms"')
    asked, cursor = left(sidecar, feed, body)
    asked.wait_left()
    with Reader(sidecar.url, cursor, body=body) as again:
        assert again.until_end() == "cut"
        assert again.data == ["2", "3"]
    assert feed.count == 1


def test_a_silent_stream_is_kept_alive_for_who_returns(keeping, feed):
    """Heartbeats are the reader's; what is kept has none."""
    sidecar = keeping('heartbeat.interval = "50ms"')
    _, cursor = left(sidecar, feed)
    with Reader(sidecar.url, cursor) as again:
        again.until(lambda: again.body.count(b": heartbeat\n") >= 3)
        assert again.data == ["2", "3"]
        third = again.events[0].id
        again.reset()
    with Reader(sidecar.url, third) as again:
        again.until_events(1)
        first_event, _, _ = bytes(again.body).partition(b"\n\n")
        assert b"heartbeat" not in first_event


def test_a_reload_keeps_what_is_kept(keeping, feed):
    sidecar = keeping()
    asked, cursor = left(sidecar, feed)
    text = sidecar.config.read_text()
    sidecar.reload(f'log.level = "debug"\n{text}')
    with Reader(sidecar.url, cursor) as again:
        again.until_events(2)
        asked.events(4, 4)
        again.until_data(4)
        assert again.data == numbers(2, 4)
    assert feed.count == 1


def test_a_reload_that_turns_it_off_begins_no_more(keeping, feed):
    sidecar = keeping()
    asked, _ = left(sidecar, feed)
    sidecar.reload(sidecar.config.read_text().replace(GRACE, ""))
    with Reader(sidecar.url) as new:
        second = feed.request(2)
        second.begin()
        second.events(1, 1)
        assert new.until_events(1).events[0].id == ""
    assert asked.left is None
