"""What an operator sees of streams that are kept: numbers, lines of the log, and the status page."""

import json
from urllib.request import urlopen

import pytest

from harness.feed import event
from harness.kept import resumes, wait_detached, wait_end, wait_line
from harness.reader import Reader
from harness.waiting import wait_for
from harness.wire import fetch, now_ms


def test_the_numbers_of_a_stream_that_is_left_and_found(keeping, feed):
    sidecar = keeping()
    assert sidecar.count("history_streams") == 0
    with Reader(f"{sidecar.url}/feed") as first:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 10)
        cursor = first.until_events(10).cursor
        assert sidecar.count("history_streams") == 1
        size = sum(len(event(number)) for number in range(1, 11))
        assert sidecar.count("history_bytes") >= size
        assert sidecar.count("streams_detached") == 0
        first.reset()
    wait_detached(sidecar)
    asked.events(11, 15)
    wait_for(
        lambda: sidecar.count("detached_events_total") == 5, "five events are kept"
    )
    with Reader(f"{sidecar.url}/feed", cursor) as second:
        second.until_events(5)
        wait_detached(sidecar, 0)
        assert resumes(sidecar, "replayed") == 1
        assert sidecar.count("replayed_events_total") == 5
        assert sidecar.count("resume_away_seconds_count") == 1
        at_the_front = second.cursor
    wait_detached(sidecar)
    with Reader(f"{sidecar.url}/feed", at_the_front) as third:
        third.head()
        wait_for(lambda: resumes(sidecar, "live") == 1, "nothing was to be replayed")


def test_the_lines_of_a_stream_that_is_left_and_found(keeping, feed):
    sidecar = keeping()
    with Reader(f"{sidecar.url}/feed?secret=1") as first:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 3)
        cursor = first.until_events(3).events[0].id
        first.reset()
    detached = wait_line(sidecar, "stream left", detached=True)
    assert detached["departure"] == "closed"
    assert detached["events"] == 3
    assert detached["path"] == "/feed"
    with Reader(f"{sidecar.url}/feed", cursor) as second:
        second.until_events(2)
        resumed = wait_line(sidecar, "stream resumed")
        assert resumed["from"] == 1
        assert resumed["replayed_events"] == 2
        assert 0 <= resumed["away_ms"] < 10_000
        asked.end()
        second.until_end()
    wait_line(sidecar, "stream ended", reason="complete")
    assert cursor not in sidecar.log()


def test_a_detached_stream_is_on_the_status_page(keeping, feed):
    sidecar = keeping()
    with Reader(f"{sidecar.url}/feed") as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 3)
        reader.until_events(3)
        reader.reset()
    wait_detached(sidecar)
    with urlopen(f"{sidecar.admin}/status.json", timeout=5) as answer:
        text = answer.read().decode()
    assert '"data' not in text
    status = json.loads(text)
    [stream] = status["detached"]
    assert stream["path"] == "/feed"
    assert 0 < stream["grace_left_ms"] <= 30_000


def test_an_operator_stops_a_detached_stream(keeping, feed):
    sidecar = keeping("admin.allow_ending = true")
    with Reader(f"{sidecar.url}/feed") as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 3)
        reader.until_events(3)
        reader.reset()
    wait_detached(sidecar)
    [stream] = sidecar.status()["detached"]
    url = f"{sidecar.admin}/status/kept/{stream['number']}/end"
    assert fetch(url, {"X-Sse-Sidecar": "end"}, b"").status < 300
    asked.wait_left()
    wait_detached(sidecar, 0)
    wait_end(sidecar, "ended_by_operator")


@pytest.mark.parametrize("wait", ["finish", "rotate"])
def test_a_shutdown_waits_for_a_detached_stream_as_for_others(keeping, feed, wait):
    """Its client may come back to what is kept, until the time for that is up."""
    sidecar = keeping(
        f'drain = {{ delay = "off", timeout = "1s", streams = "{wait}" }}\n'
    )
    with Reader(f"{sidecar.url}/feed") as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 3)
        reader.until_events(3)
        reader.reset()
    wait_detached(sidecar)
    asked_to_end = now_ms()
    sidecar.terminate()
    waited = asked.wait_left() - asked_to_end
    assert (waited >= 1000) == (wait == "finish")
    wait_for(lambda: "ended: " in sidecar.log(), "the sidecar has ended")
