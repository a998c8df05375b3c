"""deploy/kubernetes/plain as a real pod: what a client, the application and a kubelet
see of the sidecar."""

import json
import re
import subprocess
import time

import pytest

from harness import podman
from harness.podman import PODS
from test_extras import METRIC

GAP = 0.2
EVENTS = f"/events?{int(GAP * 1000)}"


def read_event(stream) -> bytes:
    """The next event, without the line end that closes it."""
    event = stream.readline()
    while event == b"\n" or event.startswith(b":"):
        event = stream.readline()
    assert event.startswith(b"data: {"), event
    assert stream.readline() == b"\n"
    return event


def seen(pod) -> dict[str, int]:
    """What the application has seen."""
    return json.loads(pod.get("/seen").read())


def test_events_arrive_one_by_one(pod):
    stream = pod.get(EVENTS)
    assert stream.headers.get("Content-Type") == "text/event-stream"
    assert stream.headers.get("X-Accel-Buffering") == "no"
    times = []
    for _ in range(6):
        read_event(stream)
        times.append(time.monotonic())
    stream.leave()
    gaps = [later - sooner for sooner, later in zip(times, times[1:], strict=False)]
    assert sum(gap > GAP / 2 for gap in gaps) >= 3, gaps


def test_the_application_misses_a_client_that_leaves(pod):
    before = seen(pod)
    streams = [pod.get(EVENTS) for _ in range(3)]
    for stream in streams:
        read_event(stream)
    assert seen(pod)["opened"] == before["opened"] + 3
    gone = seen(pod)["gone"]
    for stream in streams:
        stream.leave()
    deadline = time.monotonic() + 1 + GAP
    while seen(pod)["gone"] < gone + 3:
        assert time.monotonic() < deadline, seen(pod)


def test_nobody_gets_past_the_sidecar(pod):
    with pytest.raises(ConnectionRefusedError):
        pod.get("/seen", port=3000)


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
def test_probes_succeed(pod, probe):
    assert pod.probe(probe)


def test_the_process_can_do_nothing_but_serve(pod):
    status = (pod.process() / "status").read_text()
    fields = dict(re.findall(r"^(\w+):\s+(.*)$", status, re.MULTILINE))
    assert fields["Uid"].split() == ["65532"] * 4
    assert fields["Gid"].split() == ["65532"] * 4
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2", "the runtime's filter of system calls"
    root = (pod.process() / "mountinfo").read_text().splitlines()[0].split()
    assert root[4] == "/" and "ro" in root[5].split(","), "the root is read-only"


def test_the_health_check_of_the_image(pod):
    assert podman.podman("exec", pod.sidecar, "/sse-sidecar", "health") == "alive"


def test_a_changed_config_map_is_taken_up_under_an_open_stream(pod):
    stream = pod.get(EVENTS)
    read_event(stream)
    pod.change_config(lambda text: text + '\n[heartbeat]\ntext = "changed"\n')
    shown = json.loads(pod.get("/status.json", port=9901).read())
    assert 'text = "changed"' in shown["config"]
    assert shown["config_waiting"] == shown["config_rejected"] == []
    read_event(stream)
    stream.leave()


def test_behind_an_ingress_the_application_sees_the_client(pod):
    """With the entry that config.toml has as a comment, and not without it."""
    sent = {"X_Forwarded_For": "203.0.113.7", "X_Forwarded_Proto": "https"}
    direct = seen_headers(pod, **sent)
    assert direct["x-forwarded-proto"] == "http"
    assert direct["x-forwarded-for"].startswith("10."), "the network of the pods"

    pod.change_config(lambda text: text.replace("# trusted_proxies", "trusted_proxies"))
    trusted = seen_headers(pod, **sent)
    assert trusted["x-forwarded-proto"] == "https"
    assert trusted["x-forwarded-for"] == f"203.0.113.7, {direct['x-forwarded-for']}"


def seen_headers(pod, **sent: str) -> dict[str, str]:
    """What the application was asked with, by the names in lower case."""
    lines = pod.get("/head", **sent).read().decode().splitlines()[1:]
    pairs = [line.split(": ", 1) for line in lines if line]
    return {name.lower(): value for name, value in pairs}


def test_the_metrics_that_the_manifests_name_are_there(pod):
    series = pod.get("/metrics", port=9901).read().decode()
    assert f"\n{METRIC}{{route=" in series


def test_sigterm_drains(pod):
    """The last test, as it leaves no sidecar behind.

    What takes its time is the drain as it is shipped: 5 s in which requests are still
    taken, and 30 s for what is open.
    """
    stream = pod.get(EVENTS)
    read_event(stream)
    started = time.monotonic()
    grace = ["stop", "--time=45", pod.sidecar]
    stopping = subprocess.Popen([str(PODS / "podman"), *grace], stdout=subprocess.PIPE)

    while pod.probe("readinessProbe"):
        assert time.monotonic() < started + 3, "still ready"
    assert pod.probe("livenessProbe"), "a drain is no reason to be restarted"
    assert seen(pod), "requests are taken that come before everybody knows"

    time.sleep(max(0, started + 7 - time.monotonic()))
    with pytest.raises(ConnectionRefusedError):
        pod.get("/seen")

    # In bytes, as an event may not be followed by another.
    rest = stream.read()
    took = time.monotonic() - started
    assert 34 < took < 37, took
    assert rest.endswith(b"}\n\n"), "ended between two events, with a last chunk"
    assert rest.count(b"data: ") > 0.7 * took / GAP, "events went on"
    assert stopping.wait(timeout=10) == 0
    state = podman.inspect(pod.sidecar)["State"]
    assert state["ExitCode"] == 0, pod.log()
    assert time.monotonic() - started < 40, "well before the grace period is over"
