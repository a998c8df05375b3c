"""To stop is not to leave: whoever says so ends the generation at once, whether somebody reads it or
not; and nobody else can."""

import pytest

from harness import cursors, expect
from harness.clients import Client
from harness.curl import curl
from harness.doors import CURL
from harness.feed import event
from harness.kept import wait_detached, wait_end, wait_line
from harness.reader import Reader
from harness.wire import fetch, now_ms

STOP = "/.well-known/sse-sidecar/stop"
BY_KEY = """
resume.key = "query:run"
resume.at = "/runs/{key}/stream"
resume.stop = "POST /runs/{key}/stop"
"""


def begin(url: str, feed, **fields):
    """A stream that is read, its request at the backend, and its cursor."""
    reader = Reader(f"{url}/runs?run=r1", body=b"{}", **fields)
    asked = feed.request(1)
    asked.begin()
    asked.events(1, 2)
    return reader, asked, reader.until_events(2).cursor


def by_cursor(url: str, cursor: str) -> int:
    return curl("-X", "DELETE", "-H", f"Last-Event-ID: {cursor}", f"{url}/runs").status


def by_token(url: str, cursor: str) -> int:
    return by_cursor(url, cursors.token(cursor))


def by_key(url: str, _cursor: str) -> int:
    return curl("-X", "DELETE", f"{url}/runs/r1/stream").status


def by_beacon(url: str, cursor: str) -> int:
    kind = "Content-Type: text/plain;charset=UTF-8"
    return curl("-H", kind, "--data-raw", cursor, url + STOP).status


WAYS = [by_cursor, by_token, by_key, by_beacon]
with_ways = pytest.mark.parametrize("stop", WAYS)


@with_ways
@pytest.mark.parametrize("is_read", [True, False], ids=["read", "detached"])
def test_the_backend_is_told_at_once(keeping, feed, stop, is_read):
    sidecar = keeping(BY_KEY)
    reader, asked, cursor = begin(sidecar.url, feed)
    with reader:
        if not is_read:
            reader.reset()
            wait_detached(sidecar)
        left = now_ms()
        assert stop(sidecar.url, cursor) == 204
        expect.soon_after(left, asked.wait_left())
        if is_read:
            reader.until_end()
            assert reader.data == ["1", "2"]
    wait_end(sidecar, "stopped")
    wait_detached(sidecar, 0)
    # Once more, it is stopped already.
    assert stop(sidecar.url, cursor) == 204
    assert feed.count == 1


@with_ways
def test_nobody_else_can(keeping, feed, stop):
    """The answer is the same, so that it tells nothing."""
    sidecar = keeping(BY_KEY)
    reader, asked, cursor = begin(sidecar.url, feed, Cookie="sid=mine")
    with reader:
        assert stop(sidecar.url, cursor) == 204
        asked.events(3, 3)
        assert reader.until_events(3).data == ["1", "2", "3"]
        assert asked.left is None


@with_ways
def test_what_never_was_is_stopped_already(keeping, feed, stop):
    assert stop(keeping(BY_KEY).url, cursors.unknown("p")) == 204
    assert feed.count == 0


def test_a_delete_without_a_cursor_passes(keeping, feed):
    """As does one with a cursor of the backend's."""
    url = keeping(BY_KEY).url
    feed.refuses = "418 A Teapot"
    for number, headers in enumerate(([], ["-H", "Last-Event-ID: own-1"]), 1):
        assert curl("-X", "DELETE", *headers, f"{url}/runs").status == 418
        assert feed.request(number).method == "DELETE"


@pytest.mark.parametrize("body", [b"", b"nonsense", b"x" * 100_000], ids=len)
def test_a_beacon_that_says_nothing_stops_nothing(keeping, feed, body):
    sidecar = keeping()
    reader, asked, _ = begin(sidecar.url, feed)
    with reader:
        answer = fetch(sidecar.url + STOP, {"Content-Type": "text/plain"}, body)
        assert answer.status in (204, 400, 413)
        asked.events(3, 3)
        reader.until_events(3)
    assert feed.count == 1


@pytest.mark.parametrize(
    "status", ["200 OK", "204 No Content", "404 Not Found", "500 Internal"]
)
def test_what_the_backend_is_told_itself_stops_too(keeping, feed, status):
    """If it agrees."""
    sidecar = keeping(BY_KEY)
    reader, asked, _ = begin(sidecar.url, feed)
    with reader:
        reader.reset()
        wait_detached(sidecar)
        feed.refuses = status
        stopped = curl("-X", "POST", f"{sidecar.url}/runs/r1/stop")
        assert stopped.status == int(status[:3])
        assert feed.request(2).target == "/runs/r1/stop"
        if status[0] == "2":
            asked.wait_left()
        else:
            wait_detached(sidecar)
            assert asked.left is None


def test_the_end_of_a_session_of_mcp_ends_its_streams(keeping, feed):
    sidecar = keeping()
    mine = {"Mcp_Session_Id": "s1"}
    with (
        Reader(f"{sidecar.url}/mcp", **mine) as one,
        Reader(f"{sidecar.url}/mcp", Mcp_Session_Id="s2") as other,
    ):
        first, second = feed.request(1), feed.request(2)
        if first.fields["mcp-session-id"] == "s2":
            first, second = second, first
        for asked, reader in ((first, one), (second, other)):
            asked.begin()
            asked.events(1, 1)
            reader.until_events(1)
        one.reset()
        wait_detached(sidecar)
        feed.refuses = "200 OK"
        curl("-X", "DELETE", "-H", "Mcp-Session-Id: s1", f"{sidecar.url}/mcp")
        assert feed.request(3).method == "DELETE"
        first.wait_left()
        assert second.left is None


def test_a_page_that_is_left_says_so(keeping, feed):
    """Chromium, by `navigator.sendBeacon`."""
    sidecar = keeping()
    options = {"stop": STOP, "count": 3}
    with Client("beacon", f"{sidecar.url}/generate", **options) as page:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 3)
        page.until_left()
        asked.wait_left()
    wait_end(sidecar, "stopped")
    assert feed.count == 1


@pytest.mark.parametrize("on_reset", ["keep", "cancel"])
def test_a_reset_on_a_living_connection_may_be_a_stop(keeping, feed, on_reset):
    """Over HTTP/2, straight from a client that gives up one of its requests."""
    sidecar = keeping(f'resume.on_reset = "{on_reset}"')
    with Client("http2_node", f"{sidecar.url}/generate", leave_after=3) as client:
        asked = feed.request(1)
        asked.begin()
        for number in range(1, 4):
            asked.write(event(number))
        left = client.until_left()
        if on_reset == "cancel":
            expect.soon_after(left, asked.wait_left())
            wait_line(sidecar, "stream left", departure="reset", detached=False)
        else:
            wait_line(sidecar, "stream left", departure="reset", detached=True)
            asked.events(4, 5)
            assert asked.left is None


def test_a_lost_connection_of_http2_is_no_stop(keeping, feed):
    sidecar = keeping('resume.on_reset = "cancel"')
    url = f"{sidecar.url}/generate"
    accept = {"Accept": "text/event-stream"}
    with Client(
        "curl", url, headers=accept, arguments=CURL["h2c"], leave_after=3
    ) as client:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 3)
        client.until_left()
        wait_line(sidecar, "stream left", departure="closed", detached=True)
        assert asked.left is None
