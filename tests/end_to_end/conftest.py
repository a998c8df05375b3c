"""The peers of a test. Each server is started once for a session, when first needed."""

import uuid
from collections.abc import Callable, Iterator

import pytest

from harness import doors
from harness.apache import ApacheCgi, ApacheFpm
from harness.backends import LEGACY, Backend, GrpcPython
from harness.cgi import Busybox
from harness.doors import Door
from harness.feed import Feed
from harness.kept import GRACE
from harness.process import Server
from harness.sidecar import Sidecar
from harness.tomcat import Tomcat

_running: list[Server] = []

# Backends that are more than a command; all others are a plain `Backend`.
CONFIGURED = {
    "apache_cgi": ApacheCgi,
    "busybox": Busybox,
    "grpc_python": GrpcPython,
    "php_fpm": ApacheFpm,
    "tomcat": Tomcat,
}


def pytest_addoption(parser) -> None:
    parser.addoption(
        "--direct",
        action="store_true",
        help="leave the sidecar out: what then fails is not its fault",
    )


@pytest.fixture(scope="session")
def start(tmp_path_factory) -> Iterator[Callable[..., Server]]:
    """Starts a server, or gives the one already started with these arguments."""
    started: dict[tuple, Server] = {}

    def start(kind: type[Server], *arguments: str) -> Server:
        key = (kind, *arguments)
        if key not in started:
            folder = tmp_path_factory.mktemp(kind.__name__.lower())
            started[key] = kind(folder, *arguments)
            _running.append(started[key])
        return started[key]

    yield start
    for server in started.values():
        server.stop()


@pytest.fixture
def backend(start, request) -> Backend:
    """The backend that the test's parameter names."""
    return start(CONFIGURED.get(request.param, Backend), request.param)


@pytest.fixture
def sidecar(start, backend, pytestconfig) -> Server:
    """A sidecar in front of the backend, with nothing but flags."""
    if pytestconfig.getoption("--direct"):
        return backend
    return start(Sidecar, backend.url)


@pytest.fixture
def proxied(pytestconfig) -> None:
    """The test makes no sense without a sidecar."""
    if pytestconfig.getoption("--direct"):
        pytest.skip("not without a sidecar")


@pytest.fixture
def sidecar_with(start, backend, proxied) -> Callable[[str], Sidecar]:
    """A sidecar in front of the backend, with these settings."""
    return lambda settings: start(Sidecar, backend.url, settings)


@pytest.fixture
def chatty(sidecar_with) -> Sidecar:
    """A sidecar in front of the backend that cannot bear a silence."""
    return sidecar_with('heartbeat.interval = "200ms"')


@pytest.fixture
def upstream(request, backend) -> str:
    """How the sidecar asks the backend."""
    return getattr(request, "param", backend.protocol)


@pytest.fixture
def door(start, backend, upstream, request, pytestconfig) -> Door:
    """A way in to the sidecar, and through it to the backend."""
    if pytestconfig.getoption("--direct"):
        if (backend.protocol, request.param) == ("h2c", "h2"):
            pytest.skip("the backend has no TLS of its own")
        if backend.name in LEGACY and request.param != "http":
            pytest.skip("the backend has only HTTP/1")
        return Door.of(backend, request.param)
    url, settings = doors.upstream(backend, upstream)
    listener = doors.listener(request.param)
    return Door.of(start(Sidecar, url, settings, listener), request.param)


@pytest.fixture
def feed() -> Iterator[Feed]:
    """A backend of which the test says what it answers."""
    with Feed() as feed:
        yield feed


@pytest.fixture
def keeping(start, feed, proxied) -> Callable[..., Sidecar]:
    """A sidecar in front of the feed that keeps its streams, with these settings besides."""
    return lambda settings="", listener="": start(
        Sidecar, feed.url, GRACE + settings, listener
    )


@pytest.fixture
def key() -> str:
    """A name for the test's stream, to ask the backend about it."""
    return uuid.uuid4().hex


def pytest_runtest_setup() -> None:
    for server in _running:
        server.forget_log()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows what its servers logged meanwhile."""
    report = yield
    if report.failed:
        for server in _running:
            if log := server.log():
                report.sections.append((f"log of {server.name} on {server.port}", log))
    return report
