"""Clients that are slow on purpose keep nobody from being served, and do not stay.

`slowhttptest` opens `CROWD` connections at once and holds on to them.
"""

import subprocess
import time
from typing import Self

import pytest

from harness.process import environment, tied_to_us
from harness.waiting import wait_for
from harness.wire import fetch, now_ms

CROWD = 40
# Each is shorter than the pauses of `slowhttptest` by a second or more.
CLOCKS = """
timeouts.request_head = "2s"
timeouts.request_body = "1s"
timeouts.write = "1s"
log.level = "warn"
"""
HEADS = ["-H", "-i", "1"]
BODIES = ["-B", "-i", "3", "-s", "8192"]
READS = ["-X", "-n", "3", "-z", "64", "-w", "512", "-y", "1024"]

REFUSED = 'refused_total{{reason="{}",side="client"}}'
PAGES_DROPPED = 'upstream_cancels_total{phase="body"}'
STREAMS_DROPPED = 'stream_ends_total{reason="client_stalled",side="client"}'

pytestmark = pytest.mark.parametrize("backend", ["files"], indirect=True)


class Attack:
    def __init__(self, url: str, *manner: str, seconds: int = 20) -> None:
        crowd = ["-c", str(CROWD), "-r", str(CROWD), "-l", str(seconds)]
        self._process = subprocess.Popen(
            tied_to_us("slowhttptest", *manner, *crowd, "-u", url),
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def report(self) -> str:
        output, _ = self._process.communicate(timeout=20)
        return output


@pytest.mark.parametrize(
    ("manner", "path", "counted"),
    [
        pytest.param(HEADS, "/page", REFUSED.format("request_head_timeout"), id="head"),
        pytest.param(
            BODIES, "/upload", REFUSED.format("request_body_timeout"), id="body"
        ),
        pytest.param(READS, "/download?bytes=9000000", PAGES_DROPPED, id="page"),
        pytest.param(READS, "/flood", STREAMS_DROPPED, id="stream"),
    ],
)
def test_a_slow_crowd_is_closed_by_its_clock(sidecar_with, manner, path, counted):
    sidecar = sidecar_with(CLOCKS)
    before = sidecar.count(counted)
    deadline = time.monotonic() + 10
    with Attack(sidecar.url + path, *manner):
        while sidecar.count(counted) - before < CROWD:
            assert time.monotonic() < deadline, "not all of the crowd were closed"
            asked = now_ms()
            assert fetch(sidecar.url + "/page").status == 200
            assert now_ms() - asked < 1000
        wait_for(lambda: sidecar.open_files() < CROWD, "their sockets are closed")


def test_without_its_clock_a_slow_crowd_stays(sidecar_with):
    """The control: it is not `slowhttptest` that gives up."""
    patient = sidecar_with('timeouts.request_head = "off"')
    with Attack(patient.url + "/page", *HEADS, seconds=4) as attack:
        wait_for(lambda: patient.open_files() > CROWD, "the crowd is here")
        assert "Hit test time limit" in attack.report()
