"""What servers from before event streams say arrives as they say it, and at once.

They end a body with the connection, write a head with line feeds alone or without a
reason, send a body after HEAD, name codings that no longer exist.
"""

import pytest

from harness import expect
from harness.backends import LEGACY
from harness.cgi import NPH
from harness.clients import Client, leaving
from harness.tap import Tap
from harness.wire import Answer, fetch

COUNT, GAP_MS = 6, 200
EVENTS = f"/events?n={COUNT}&gap_ms={GAP_MS}"
# What each connection has of its own, and what tells the time.
APART = {"connection", "keep-alive", "transfer-encoding", "date"}

# Its tests come one after another, so few processes have to start it.
every_backend = pytest.mark.parametrize(
    "backend", LEGACY, indirect=True, scope="session"
)


@pytest.mark.parametrize("door", ["http", "h2c"], indirect=True)
@every_backend
def test_events_arrive_one_by_one(door, backend):
    url = door.url + backend.route(EVENTS)
    with Client("curl", url, arguments=door.curl, **door.options) as client:
        heard = client.until_heard(COUNT)
    expect.one_by_one(heard, COUNT, GAP_MS)
    expect.at_once(heard)


@every_backend
def test_the_backend_misses_a_client_in_mid_stream(sidecar, backend, key):
    endless = backend.route(f"/endless?key={key}")
    with Tap(sidecar.port) as tap, leaving("curl", tap.url + endless):
        expect.soon_after(tap.left(key), backend.wait_aborted(key))


def fields(answer: Answer) -> list[tuple[str, str]]:
    """The headers that pass from one connection to the next, in their order."""
    return [field for field in answer.headers.items() if field[0].lower() not in APART]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@every_backend
def test_a_page_has_the_backends_headers_in_their_order(sidecar, backend, method):
    target = backend.route("/page")
    direct = fetch(backend.url + target, method=method)
    answer = fetch(sidecar.url + target, method=method)
    assert (answer.status, answer.reason) == (direct.status, direct.reason)
    assert fields(answer) == fields(direct)
    assert answer.body == direct.body


@pytest.mark.parametrize("path", ["/nothing", "/missing", "/probe?key=none"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@every_backend
def test_an_answer_is_that_of_the_backend(sidecar, backend, method, path):
    target = backend.route(path)
    direct = fetch(backend.url + target, method=method)
    answer = fetch(sidecar.url + target, method=method)
    assert (answer.status, answer.reason) == (direct.status, direct.reason)
    # Apache knows the length of what a script says if the script ends soon enough.
    del answer.headers["Content-Length"], direct.headers["Content-Length"]
    assert sorted(fields(answer)) == sorted(fields(direct))
    assert answer.body == direct.body


@every_backend
def test_an_unchanged_page_is_not_sent_again(sidecar, backend):
    target = backend.route("/page")
    tag = fetch(backend.url + target).headers["ETag"]
    answer = fetch(sidecar.url + target, {"If-None-Match": tag})
    assert (answer.status, answer.body) == (304, b"")


@pytest.mark.parametrize("backend", ["apache_cgi", "busybox"], indirect=True)
def test_a_head_that_a_script_wrote_is_understood(sidecar, backend):
    """With line feeds for line ends, as scripts do, and of HTTP/1.0."""
    answer = fetch(f"{sidecar.url}{NPH}/events?n=2&gap_ms=1")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
    assert answer.body.count(b"\ndata: ") == 2
