"""Load on ordinary pages harms neither them nor the event streams beside them."""

import re
import subprocess

import pytest

from harness import expect
from harness.clients import Client
from harness.process import environment

COUNT, GAP_MS = 12, 200
EVENTS = f"/events?n={COUNT}&gap_ms={GAP_MS}"

pytestmark = pytest.mark.parametrize("backend", ["files"], indirect=True)


def wrk(url: str, seconds: int) -> str:
    """A closed loop of sixteen clients on connections that are kept."""
    command = ["wrk", "--threads", "1", "--connections", "16", "--latency"]
    return subprocess.run(
        [*command, "--duration", f"{seconds}s", url],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        timeout=20,
        check=True,
    ).stdout


def test_pages_under_load_are_whole_and_streams_keep_their_rhythm(sidecar):
    with Client("curl", sidecar.url + EVENTS) as stream:
        stream.until_heard(1)
        report = wrk(sidecar.url + "/page", seconds=2)
        expect.one_by_one(stream.until_end(), COUNT, GAP_MS)
    assert "Socket errors" not in report, report
    assert "Non-2xx" not in report, report
    assert int(re.search(r"(\d+) requests in", report)[1]) > 500, report


def test_wrk_would_say_so(sidecar):
    """The control: it does count answers that are no pages."""
    assert "Non-2xx" in wrk(sidecar.url + "/missing", seconds=1)
