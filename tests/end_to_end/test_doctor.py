"""The doctor names what breaks a stream, and nothing where nothing does."""

import subprocess
import sys

import pytest

from harness import doctor, doors
from harness.doctor import probing
from harness.doors import Door
from harness.hops import TOKEN, Hop, Origin
from harness.process import environment, tied_to_us
from harness.sidecar import Sidecar

# A hop, what is found of it, and what is to be changed there.
BROKEN = [
    ("nginx", "buffered-by-size", "nginx: proxy_buffering off;"),
    ("nginx_gzip", "compressed", "nginx: gzip off;"),
    ("nginx_timeout", "cut-in-silence", "nginx: proxy_read_timeout 1h;"),
    ("haproxy_timeout", "cut-in-silence", "HAProxy: timeout server 1h"),
    ("apache_deflate", "compressed", "no-gzip"),
    ("caddy_encode", "head-held", "Caddy: no `encode`"),
    ("envoy_timeout", "cut-by-age", "Envoy: route: { timeout: 0s }"),
    ("ignores_disconnect", "disconnect-lost", ""),
    ("strips_comments", "comments-stripped", ""),
]
HEALTHY = ["nginx_tuned", "haproxy_tuned", "caddy", "envoy"]


@pytest.fixture
def origin(start, request) -> Origin:
    """One for each test, since its token has one stream at a time."""
    return start(Origin, request.node.name)


@pytest.mark.parametrize(("name", "rule", "fix"), BROKEN)
def test_a_broken_hop_is_found(start, origin, name, rule, fix):
    hop = start(Hop, name, origin.url)
    # Envoy counts the age, so the stream has to be older than its 15 s.
    seen = doctor.doctor(hop.url, *probing("7s" if name == "envoy_timeout" else "4s"))
    assert seen.code == 1
    assert rule in seen.rules(), seen.report["findings"]
    assert fix in seen.fixes(rule)


@pytest.mark.parametrize(("name", "rule", "fix"), BROKEN)
def test_and_behind_another_hop(start, origin, name, rule, fix):
    hop = start(Hop, name, origin.url)
    front = start(Hop, "nginx_tuned", hop.url)
    seen = doctor.doctor(front.url, *probing("7s" if name == "envoy_timeout" else "4s"))
    assert seen.code == 1
    assert rule in seen.rules(), seen.report["findings"]


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_hop_has_no_finding(start, origin, name):
    hop = start(Hop, name, origin.url)
    seen = doctor.doctor(hop.url, *probing())
    assert (seen.code, seen.findings()) == (0, [])


@pytest.mark.parametrize("name", ["apache", "haproxy"])
def test_some_see_a_disconnect_when_they_write(start, origin, name):
    hop = start(Hop, name, origin.url)
    seen = doctor.doctor(hop.url, *probing())
    assert seen.rules() == {"disconnect-late"}
    if name == "haproxy":
        assert "HAProxy: option abortonclose" in seen.fixes("disconnect-late")


def test_a_cut_that_looks_like_an_end(start, origin):
    hop = start(Hop, "nginx_timeout", origin.url)
    # HTTP/1.0 has no chunk that could be missing.
    front = start(Hop, "http10", hop.url)
    seen = doctor.doctor(front.url, *probing())
    assert seen.rules() == {"disguised-cut"}


def test_the_suspect_is_told_from_what_is_behind_it(start, origin):
    hop = start(Hop, "nginx", origin.url)
    seen = doctor.doctor(hop.url, *probing("2s"), "--direct", origin.url)
    [found] = seen.findings()
    assert found["rule"] == "buffered-by-size"
    assert found["where"] == f"in front of {origin.url}: not seen there"


# Any stream, of which the doctor knows nothing.
@pytest.mark.parametrize("backend", ["express", "django"], indirect=True)
def test_a_backend_that_compresses(backend):
    seen = doctor.doctor(f"{backend.url}/events?n=10&gap_ms=300")
    assert seen.rules() == {"buffered-to-end", "compressed"}
    [held] = [found for found in seen.findings() if found["rule"] != "compressed"]
    assert held["evidence"].endswith("the compression holds it")
    if backend.name == "express":
        assert "Express: Cache-Control: no-transform" in seen.fixes("compressed")


@pytest.mark.parametrize("name", ["nginx_timeout", "haproxy_timeout"])
@pytest.mark.parametrize("backend", ["express"], indirect=True)
def test_a_backend_whose_silence_is_cut(start, backend, name):
    hop = start(Hop, name, backend.url)
    plain = ("-H", "Accept-Encoding: identity")
    seen = doctor.doctor(f"{hop.url}/silence?ms=8000", *plain)
    assert seen.rules() == {"cut-in-silence"}
    front = seen.report["measurements"]["front"]
    last, _ = front["reads"][-1]
    assert 2_500 < front["end"]["ms"] - last < 5_000


@pytest.mark.parametrize("backend", ["http_server"], indirect=True)
def test_a_close_delimited_backend_behind_nginx(start, backend):
    hop = start(Hop, "nginx", backend.url)
    events = "/events?n=10&gap_ms=300"
    seen = doctor.doctor(hop.url + events, "--direct", backend.url + events)
    [found] = seen.findings()
    assert (found["rule"], found["certainty"]) == ("buffered-to-end", "certain")
    assert found["fixes"][0]["product"] == "nginx"


@pytest.mark.parametrize("backend", ["express", "django", "php"], indirect=True)
def test_the_sidecar_fixes_it(start, sidecar):
    hop = start(Hop, "nginx", sidecar.url)
    expected = ("--expect", "events >= 10", "--expect", "not compressed")
    seen = doctor.doctor(f"{hop.url}/events?n=10&gap_ms=300", *expected)
    assert (seen.code, seen.findings()) == (0, [])


@pytest.mark.parametrize("backend", ["express"], indirect=True)
def test_a_sidecars_own_probe(start, backend, proxied):
    sidecar = start(Sidecar, backend.url, f'probe.token = "{TOKEN}"')
    hop = start(Hop, "nginx", sidecar.url)
    seen = doctor.doctor(hop.url, *probing())
    assert (seen.code, seen.findings()) == (0, [])
    assert seen.report["origin"]["disconnect"]["seen"] is True


@pytest.mark.parametrize("name", ["https", "h2", "h2c"])
@pytest.mark.parametrize("backend", ["express"], indirect=True)
def test_each_protocol(start, backend, proxied, name):
    settings = f'probe.token = "{TOKEN}"'
    sidecar = start(Sidecar, backend.url, settings, doors.listener(name))
    url = Door.of(sidecar, name).url
    version = "--http1.1" if name == "https" else "--http2"
    # Its certificate is of an authority that nobody knows.
    unchecked = ["-k"] if name in doors.TLS else []
    seen = doctor.doctor(url, *probing("1s"), version, *unchecked)
    assert (seen.code, seen.findings()) == (0, [])
    head = seen.report["measurements"]["front"]["head"]
    assert (head["http"], head["tls"]) == (doors.VERSION[name], name in doors.TLS)
    assert (head["certificate_issuer"] is not None) == (name in doors.TLS)
    if unchecked:
        refused = doctor.start(url, *probing("1s"))
        refused.communicate()
        assert refused.returncode == 2


@pytest.mark.alone
@pytest.mark.timeout(300)
@pytest.mark.parametrize("backend", ["express"], indirect=True)
def test_no_false_alarm_in_twenty_runs_under_load(start, backend, proxied):
    chains = []
    for number in range(5):
        settings = f'probe.token = "{TOKEN}" # {number}'
        sidecar = start(Sidecar, backend.url, settings)
        chains.append(start(Hop, "nginx", sidecar.url))
    burn = tied_to_us(sys.executable, "-c", "while True: pass")
    burners = [subprocess.Popen(burn, env=environment()) for _ in range(4)]
    try:
        for _ in range(4):
            running = [doctor.start(chain.url, *probing()) for chain in chains]
            for process in running:
                seen = doctor.result(process)
                assert (seen.code, seen.findings()) == (0, [])
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
