"""What an operator sees at `/status` in a browser."""

import json
import os
import signal
import subprocess

import pytest

from harness.ports import free_port
from harness.process import HERE, environment, node
from harness.sidecar import Sidecar

HOSTILE = "GET /%3Cscript%3Ealert(1)%3C/script%3E/\"'&lt;b{}|"
QUIET = "GET /quiet"


def seen(start, *settings: str, reloaded: str = "", failing: str = "") -> dict:
    """What an operator of a sidecar with these settings sees of two streams; its file
    then begins with the line `reloaded`, and is read again. Before all of that somebody
    asks for the path `failing`."""
    port = free_port()
    sidecar = start(Sidecar, f"http://127.0.0.1:{port}", *settings)
    if reloaded:
        changed = f"{reloaded}\n{sidecar.config.read_text()}"
        sidecar.config.write_text(changed)
        os.kill(sidecar.pid, signal.SIGHUP)
    options = {
        "admin": sidecar.admin,
        "proxied": sidecar.url,
        "port": port,
        "failing": failing,
        "screenshot": str(HERE / ".cache/status.png"),
    }
    operator = subprocess.run(
        node(HERE / "clients/status_page.mjs", json.dumps(options)),
        cwd=HERE,
        env=environment(),
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    return json.loads(operator.stdout)


@pytest.fixture(scope="module")
def page(start) -> dict:
    """What is seen with the default settings."""
    return seen(start)


@pytest.mark.usefixtures("proxied")
def test_an_operator_sees_streams_move_and_cannot_end_them(page):
    assert page["errors"] == []
    for moment in ("light", "later", "dark", "phone"):
        rows = {row["request"]: row for row in page[moment]["rows"]}
        assert set(rows) == {HOSTILE, QUIET}
        assert rows[QUIET]["Events"] == "1"
        assert rows[QUIET]["Phase"] == "streaming"
        assert page[moment]["scripts"] == 1, "a path has become code"
        assert page[moment]["title"] == "2 streams · sse-sidecar"
        assert page[moment]["overflow"] <= 0
    assert events(page["later"]) > events(page["light"])
    assert page["dark"]["background"] != page["light"]["background"]
    assert page["buttons"] == 0
    assert page["later"]["file"] is None
    assert page["faults"] == {"light": [], "dark": [], "phone": []}
    assert "allow_ending = false" in page["config"]


@pytest.mark.usefixtures("proxied")
def test_an_operator_sees_failures_above_the_streams(start):
    dead = 'route = [{ path = "/dead", upstream.url = "http://127.0.0.1:1" }]'
    page = seen(start, dead, failing="/dead")
    assert page["errors"] == []
    light = page["light"]
    assert len(light["figures"]) == 10
    assert light["figures"]["failed requests"] == "1"
    [failure] = light["failures"]
    assert "upstream_unreachable" in failure
    assert light["order"] == ["totals", "upstreams", "failures", "requests", "ends"]
    assert page["phone"]["overflow"] <= 0


@pytest.mark.usefixtures("proxied")
def test_an_operator_sorts_and_filters_one_line_a_stream(page):
    searched = page["searched"]
    assert max(page["light"]["heights"]) < 40
    assert [row["request"] for row in searched["most"]["rows"]] == [HOSTILE, QUIET]
    assert [row["request"] for row in searched["least"]["rows"]] == [QUIET, HOSTILE]
    assert searched["sorted"] == [["Events", "ascending"]]
    assert [row["request"] for row in searched["filtered"]["rows"]] == [QUIET]
    assert searched["filtered"]["note"] == "1 of 2 match."
    assert "request ID" in searched["details"]
    by_bytes = [row["request"] for row in page["phoneSorted"]["rows"]]
    assert by_bytes == [HOSTILE, QUIET]
    reversed_ = [row["request"] for row in page["phoneReversed"]["rows"]]
    assert reversed_ == [QUIET, HOSTILE]


@pytest.mark.usefixtures("proxied")
def test_an_operator_sees_how_fast_each_stream_is(page):
    rows = {row["request"]: row for row in page["phoneSorted"]["rows"]}
    assert float(rows[HOSTILE]["Events/s"]) > 1
    assert float(rows[QUIET]["Events/s"]) == 0
    for row in rows.values():
        assert row["First event"].endswith("\u00a0ms") or row["First event"].endswith("\u00a0s")


@pytest.mark.usefixtures("proxied")
def test_an_operator_ends_a_stream_where_it_is_allowed(start):
    page = seen(start, "admin.allow_ending = true")
    assert page["errors"] == []
    assert page["buttons"] == 2
    assert page["end"] == "clean"
    assert [row["request"] for row in page["left"]["rows"]] == [HOSTILE]
    # Also with the buttons.
    assert page["faults"] == {"light": [], "dark": [], "phone": []}


@pytest.mark.usefixtures("proxied")
def test_an_operator_sees_what_waits_for_a_restart(start):
    page = seen(start, "drain.delay = 'off'", reloaded="server.workers = 7")
    file = {"note": "", "keys": ["server.workers"]}
    assert page["later"]["file"] == page["phone"]["file"] == file
    assert page["faults"] == {"light": [], "dark": [], "phone": []}
    assert "workers = 7" not in page["config"]


@pytest.mark.usefixtures("proxied")
def test_an_operator_sees_what_is_wrong_with_the_file(start):
    page = seen(start, "drain.delay = 'off'", reloaded="drian.delay = '1s'")
    assert page["errors"] == []
    file = page["later"]["file"]
    assert file["keys"] == ["drian"]
    assert "the previous one stays active" in file["note"]
    assert page["faults"] == {"light": [], "dark": [], "phone": []}


def events(moment: dict) -> int:
    [row] = [row for row in moment["rows"] if row["request"] == HOSTILE]
    return int(row["Events"].replace(",", ""))
