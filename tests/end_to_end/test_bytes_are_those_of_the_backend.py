"""A stream without heartbeats, and a page, are the backend's bytes and no others."""

import gzip

import pytest

from harness.backends import FOLDER, ORDINARY
from harness.wire import fetch

AWKWARD = (FOLDER / "awkward.sse").read_bytes()
STREAM = {"Accept": "text/event-stream"}
GZIP = {"Accept-Encoding": "gzip"}


@pytest.mark.parametrize("backend", ORDINARY, indirect=True)
def test_an_awkward_stream_keeps_its_bytes(sidecar, backend):
    """BOM, CR, LF, CRLF, comments, an unfinished event, in slices of five bytes."""
    direct = fetch(backend.url + "/awkward", STREAM)
    assert direct.body == AWKWARD
    answer = fetch(sidecar.url + "/awkward", STREAM | GZIP)
    assert answer.headers["Content-Encoding"] is None
    assert answer.body == AWKWARD


@pytest.mark.parametrize("backend", ["express"], indirect=True)
def test_a_decoded_stream_keeps_its_bytes(sidecar, backend):
    direct = fetch(backend.url + "/awkward", GZIP, body=b"{}")
    assert direct.headers["Content-Encoding"] == "gzip"
    answer = fetch(sidecar.url + "/awkward", GZIP, body=b"{}")
    assert answer.headers["Content-Encoding"] is None
    assert answer.body == AWKWARD


@pytest.mark.parametrize(
    "backend", ["express", "django", "fastapi", "php"], indirect=True
)
def test_a_page_stays_compressed(sidecar, backend):
    direct = fetch(backend.url + "/page", GZIP)
    assert direct.headers["Content-Encoding"] == "gzip"
    answer = fetch(sidecar.url + "/page", GZIP)
    assert answer.headers["Content-Encoding"] == "gzip"
    # Django pads its gzip with random bytes, so the coded bytes may differ.
    assert gzip.decompress(answer.body) == gzip.decompress(direct.body)


@pytest.mark.parametrize("backend", ORDINARY, indirect=True)
def test_a_page_keeps_its_bytes(sidecar, backend):
    assert fetch(sidecar.url + "/page").body == fetch(backend.url + "/page").body
