"""HTTP/2, with TLS and without, on either side, and TLS with HTTP/1.1."""

import itertools
import re
import subprocess

import pytest

from harness import doors, expect
from harness.certificate import certificate
from harness.clients import leaving, listen
from harness.curl import curl
from harness.doors import VERSION, Door
from harness.process import environment
from harness.sidecar import Sidecar
from harness.tap import Tap

COUNT, GAP_MS = 8, 200
EVENTS = f"/events?n={COUNT}&gap_ms={GAP_MS}"

pytestmark = pytest.mark.parametrize("backend", ["http2_node"], indirect=True)


# All but HTTP/1.1 without TLS from one end to the other, of which the other files are.
WAYS = list(itertools.product(("http", "h2c", "https", "h2"), ("http", "h2c", "https")))
WAYS.remove(("http", "http"))
every_way = pytest.mark.parametrize(("door", "upstream"), WAYS, indirect=True)
over_http2 = pytest.mark.parametrize("door", ["h2c", "h2"], indirect=True)
with_clients = pytest.mark.parametrize("client", ["httpx_http2", "http2_node"])


@every_way
def test_a_page_passes(door, backend):
    page = curl(*door.curl, f"{door.url}/page")
    assert page.about["http_version"] == VERSION[door.name]
    assert page.body == curl(f"{backend.url}/page").body


@every_way
def test_events_arrive_one_by_one(door):
    headers = {"Accept": "text/event-stream"}
    heard = listen("curl", door.url + EVENTS, headers=headers, arguments=door.curl)
    expect.one_by_one(heard, COUNT, GAP_MS)
    expect.at_once(heard)


@every_way
def test_the_backend_misses_a_client_that_leaves(door, backend, key):
    url = f"{door.url}/idle?key={key}"
    with leaving("curl", url, 1, arguments=door.curl) as left:
        expect.soon_after(left, backend.wait_aborted(key))


@every_way
def test_trailers_and_uploads_pass(door):
    raw = curl("--include", "-H", "TE: trailers", *door.curl, f"{door.url}/trailers")
    assert b"x-checksum: e3b0c442" in raw.body.lower()
    data = ["--data-binary", f"@{__file__}"]
    with open(__file__, "rb") as file:
        length = len(file.read())
    assert curl(*data, *door.curl, f"{door.url}/upload").json()["length"] == length


@over_http2
@with_clients
def test_a_client_of_http2_hears_events_one_by_one(door, client):
    heard = listen(client, door.url + EVENTS, **door.options)
    expect.one_by_one(heard, COUNT, GAP_MS)


@over_http2
@with_clients
def test_the_backend_misses_a_client_of_http2_that_leaves(door, backend, client, key):
    """With Node's the connection lives on: it is the stream that is to be given up."""
    url = f"{door.url}/endless?key={key}"
    with leaving(client, url, **door.options) as left:
        expect.soon_after(left, backend.wait_aborted(key))


@with_clients
def test_heartbeats_over_http2_go_unheard(chatty, client):
    with Tap(chatty.port) as tap:
        heard = listen(client, tap.url + "/silence?ms=900")
    assert [event.data for event in heard.events] == ["before", "after"]
    assert tap.heartbeats() >= 3


@pytest.mark.parametrize(
    ("door", "upstream"), [("h2c", "http"), ("h2c", "h2c")], indirect=True
)
def test_a_stream_that_nobody_reads_starves_no_other(door):
    """Also if both come from the backend on one connection."""
    heard = listen("http2_node", door.url + EVENTS, unread="/flood", **door.options)
    expect.one_by_one(heard, COUNT, GAP_MS)


@pytest.mark.parametrize(
    ("door", "tabs_heard"), [("http", 6), ("h2", 8)], indirect=["door"]
)
def test_a_browser_has_no_limit_of_tabs_with_http2(door, tabs_heard, key):
    """With HTTP/1.1, the control, it has: the seventh waits without a word."""
    patience = {"tabs": 8, "patience_ms": 2000 if tabs_heard < 8 else 15_000}
    heard = listen("tabs", f"{door.url}/endless?key={key}", **patience)
    assert len(heard.events) == tabs_heard


def h2load(door: Door, path: str, *options: str) -> str:
    return subprocess.run(
        ["h2load", *options, door.url + path],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        timeout=30,
        check=True,
    ).stdout


@over_http2
def test_many_pages_at_once_are_all_whole(door):
    many = ["--requests", "2000", "--clients", "4", "--max-concurrent-streams", "16"]
    report = h2load(door, "/page", *many)
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in report, report


@over_http2
def test_a_hundred_streams_share_a_connection(door):
    """64 KiB in each event, and none waits for another."""
    many = ["--requests", "100", "--clients", "1", "--max-concurrent-streams", "100"]
    report = h2load(door, "/events?n=4&gap_ms=150&padding=65536", *many)
    assert "100 succeeded, 0 failed, 0 errored, 0 timeout" in report, report
    finished = re.search(r"finished in ([\d.]+)(m?)s", report)
    seconds = float(finished[1]) / (1000 if finished[2] else 1)
    assert 0.4 < seconds < 5, report


def test_who_has_no_certificate_stays_outside(start, backend, proxied):
    ours = certificate()
    listener = f'{doors.listener("https")}tls.client_ca = "{ours.authority}"\n'
    sidecar = start(Sidecar, backend.url, "", listener)
    door = Door.of(sidecar, "https")
    shown = ["--cert", str(ours.chain), "--key", str(ours.private_key)]
    assert curl(*door.curl, *shown, f"{door.url}/page").status == 200
    with pytest.raises(AssertionError, match="alert certificate required"):
        curl(*door.curl, f"{door.url}/page")
