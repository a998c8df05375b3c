"""What else HTTP/1 has besides event streams passes as it is, with curl as the judge."""

import hashlib

import pytest

from harness.curl import curl
from harness.memory import Peak
from harness.sidecar import Sidecar
from harness.wire import converse

pytestmark = pytest.mark.parametrize("backend", ["files"], indirect=True)

LARGE = 100_000_000
# A tenth of it, so it cannot have been kept somewhere.
BOUND_MIB = 30


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    """A file of `LARGE` bytes, no two of its blocks alike."""
    path = tmp_path_factory.mktemp("upload") / "large"
    with path.open("wb") as file:
        for n in range(LARGE // 1_000_000):
            file.write(hashlib.shake_256(n.to_bytes(4)).digest(1_000) * 1_000)
    return path


@pytest.fixture
def little_memory(sidecar):
    """Nothing large is kept in the sidecar while the test goes on."""
    with Peak(sidecar.pid) as peak:
        yield
    assert peak.mib > 0
    # Node.js has that much before it has done anything.
    assert peak.mib < BOUND_MIB or not isinstance(sidecar, Sidecar)


def test_a_head_tells_what_a_get_would_and_the_connection_lives_on(sidecar):
    got = curl(f"{sidecar.url}/page")
    told = curl("--head", f"{sidecar.url}/page", f"{sidecar.url}/page")
    assert told.headers["content-length"] == got.headers["content-length"]
    assert int(told.headers["content-length"][0]) == len(got.body)
    assert b"<p>" not in told.body
    assert told.about["num_connects"] == 0


def test_the_head_of_an_event_stream_has_an_end(sidecar):
    assert curl("--head", f"{sidecar.url}/events?n=1").status == 200


def test_a_range_is_that_part(sidecar):
    whole = curl(f"{sidecar.url}/page").body
    part = curl("--range", "100-199", f"{sidecar.url}/page")
    assert part.status == 206
    assert part.headers["content-range"] == [f"bytes 100-199/{len(whole)}"]
    assert part.body == whole[100:200]
    beyond = curl("--range", "9999-10000", f"{sidecar.url}/page")
    assert beyond.status == 416


def test_a_response_without_a_body_leaves_the_connection_usable(sidecar):
    page = f"{sidecar.url}/page"
    tag = ["--header", 'If-None-Match: "page-1"']
    unchanged = curl(*tag, page, page)
    assert (unchanged.status, unchanged.about["num_connects"]) == (304, 0)
    nothing = f"{sidecar.url}/nothing"
    assert curl(nothing, nothing).about["num_connects"] == 0
    assert curl(nothing).status == 204


def test_early_hints_come_first(sidecar):
    lines = curl("--include", f"{sidecar.url}/hints").body.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 103 Early Hints"
    assert b"HTTP/1.1 200 OK" in lines
    assert lines[-1] == b"after the hints\n"


def test_cookies_stay_apart(sidecar):
    cookies = curl(f"{sidecar.url}/cookies").headers["set-cookie"]
    assert cookies == ["one=1; Path=/", "two=2; Path=/"]


def test_trailers_pass_down(sidecar):
    raw = curl("--raw", "--header", "TE: trailers", f"{sidecar.url}/trailers").body
    # hyper writes the names of trailers in lower case.
    assert raw.lower() == b"7\r\na body\n\r\n0\r\nx-checksum: e3b0c442\r\n\r\n"


def test_trailers_pass_up(sidecar):
    request = (
        b"POST /upload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n\r\n"
        b"7\r\na body\n\r\n0\r\nX-Checksum: e3b0c442\r\n\r\n"
    )
    answer = converse(sidecar.port, request)
    assert b'"trailers":{"x-checksum":"e3b0c442"}' in answer


TARGETS = ["/a/../b/./c//d", "/%2e%2e/%2F?x=%zz&y=a%20b", "/?", "/;v=1?a?b", "/a|b^{}"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_passes_as_it_is(sidecar, target):
    asked = curl("--path-as-is", "--request-target", target, sidecar.url).json()
    assert asked["target"] == target


def test_a_target_with_a_fragment_is_refused_or_passes_as_it_is(sidecar):
    """RFC 9112 knows no fragment here; who reads it and who does not would differ."""
    asked = curl("--request-target", "/a#b", sidecar.url)
    assert asked.status == 400 or asked.json()["target"] == "/a#b"


def test_header_fields_keep_their_order_and_case(sidecar):
    """Those of one name come together, in their order, where the first of them was."""
    fields = ["X-Zebra: 1", "x-apple: 2", "X-Apple: 3", "X-MIXED-case: 4", "a: 5"]
    options = [option for field in fields for option in ("--header", field)]
    raw = iter(curl(*options, f"{sidecar.url}/asked").json()["headers"])
    kept = [f"{name}: {value}" for name, value in zip(raw, raw, strict=True)]
    assert [field for field in kept if field in fields] == fields


def test_http_1_0_gets_its_page_and_its_events(sidecar):
    page = curl("--http1.0", f"{sidecar.url}/page", f"{sidecar.url}/page")
    assert page.status == 200
    assert page.about["num_connects"] == 1
    events = curl("--http1.0", "--raw", f"{sidecar.url}/events?n=3&gap_ms=50")
    assert events.body.startswith(b"id: 0\n")
    assert events.body.count(b"data: ") == 3
    assert "transfer-encoding" not in events.headers


def test_an_offer_of_http2_is_not_taken_up(sidecar):
    """It would be HTTP/2 with the backend behind the sidecar's back."""
    page = curl("--http2", f"{sidecar.url}/page")
    assert (page.status, page.about["http_version"]) == (200, "1.1")


def test_pipelined_requests_are_answered_in_order(sidecar):
    paths = ["/asked?1", "/page", "/asked?2", "/nothing", "/asked?3"]
    requests = [f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n" for path in paths]
    last = "GET /asked?4 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answers = converse(sidecar.port, "".join([*requests, last]).encode())
    assert answers.count(b"HTTP/1.1 20") == len(paths) + 1
    places = [answers.index(b'"/asked?%d"' % n) for n in (1, 2, 3, 4)]
    assert places == sorted(places)
    assert places[0] < answers.index(b"<!doctype") < places[1]


def test_an_upload_waits_for_its_100(sidecar):
    """curl would wait for 20 seconds, and then send nothing in vain."""
    expect = ["--header", "Expect: 100-continue", "--expect100-timeout", "20"]
    data = ["--data", "some bytes"]
    sent = curl(*expect, *data, f"{sidecar.url}/upload")
    assert sent.json()["length"] == 10
    assert sent.about["time_total"] < 10
    refused = curl(*expect, *data, f"{sidecar.url}/refuse")
    assert (refused.status, refused.about["size_upload"]) == (403, 0)


@pytest.mark.usefixtures("little_memory")
def test_a_large_upload_passes_through_little_memory(sidecar, large):
    expect = ["--header", "Expect: 100-continue"]
    sent = curl(*expect, "--upload-file", str(large), f"{sidecar.url}/upload")
    assert sent.json()["sha256"] == digest(large)


@pytest.mark.usefixtures("little_memory")
def test_a_chunked_upload_from_a_pipe_waits_for_a_slow_backend(sidecar, large):
    upload = f"{sidecar.url}/upload?pause_ms=700"
    with large.open("rb") as pipe:
        sent = curl("--upload-file", "-", upload, stdin=pipe).json()
    assert sent["sha256"] == digest(large)
    assert sent["headers"]["transfer-encoding"] == "chunked"


@pytest.mark.usefixtures("little_memory")
def test_a_large_download_waits_for_a_slow_client(sidecar, backend):
    url = f"/download?bytes={LARGE}"
    slow = curl("--limit-rate", "60M", sidecar.url + url)
    assert len(slow.body) == LARGE
    fast = curl(backend.url + url)
    assert slow.body == fast.body


def digest(path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
