"""Three backends behind one sidecar, under load: they are killed, stopped and started, and their
name's addresses change. No request that can be saved is lost, and no stream of a backend that is
well is touched."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from harness.ports import free_port
from harness.process import Server, python
from harness.sidecar import Sidecar
from harness.waiting import wait_for
from harness.wire import ask, fetch

pytestmark = pytest.mark.usefixtures("proxied")

NAMES = ["a", "b", "c"]
STREAMS, ASKERS = 12, 6
SETTINGS = """
server.workers = 2
timeouts.response_head = "1s"
"""


class Named(Server):
    def __init__(self, folder: Path, name: str, address: str, port: int) -> None:
        argv = python("backends/named.py", address, str(port), name)
        self._address = address
        super().__init__(name, argv, port, folder / f"log-{name}")
        self.url = f"http://{address}:{port}"

    def _is_up(self) -> bool:
        # Its address may be another one than that of whoever asks here.
        if self._process.poll() is not None:
            raise ChildProcessError(f"{self.name} ended")
        try:
            return fetch(f"http://{self._address}:{self.port}/").status == 200
        except OSError:
            return False


class Load:
    """Requests without an end, each of which has to be answered with a name."""

    def __init__(self, url: str, method: str = "GET") -> None:
        self._url, self._method = url, method
        self.names: Counter[str] = Counter()
        self.bad: list[str] = []
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(ASKERS)]

    def _run(self) -> None:
        body = b"hello" if self._method == "POST" else None
        while not self._is_over.is_set():
            try:
                answer = fetch(self._url, body=body)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told
                self.bad.append(repr(error))
                continue
            if answer.status == 200:
                self.names[answer.body.decode()] += 1
            else:
                self.bad.append(f"{answer.status} {answer.body!r}")

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def during(self, seconds: float) -> Counter[str]:
        """Who answered how often in this time."""
        before = self.names.copy()
        time.sleep(seconds)
        return self.names - before


@contextmanager
def stream(url: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """The name of who has it, and a look at it: what has come must be all."""
    with ask(f"{url}/events", {"Accept": "text/event-stream"}) as connection:
        response = connection.getresponse()
        seen = 0

        def look() -> None:
            nonlocal seen
            for _ in range(10):
                line = response.readline()
                while line == b": heartbeat\n":
                    line = response.readline()
                assert line == b"data: %d\n" % seen, line
                assert response.readline() == b"\n"
                seen += 1

        yield response.headers["X-Name"], look


@pytest.fixture
def backends(tmp_path) -> Iterator[list[Named]]:
    with ExitStack() as stack:
        started = []
        for name in NAMES:
            started.append(Named(tmp_path, name, "127.0.0.1", free_port()))
            stack.callback(started[-1].stop)
        yield started


@contextmanager
def sidecar(folder: Path, urls: list[str], settings: str) -> Iterator[Sidecar]:
    listed = ", ".join(urls)
    running = Sidecar(folder, f"[{listed}]", SETTINGS + settings)
    try:
        yield running
    finally:
        running.stop()


def quoted(backends: list[Named]) -> list[str]:
    return [f'"{backend.url}"' for backend in backends]


def test_what_can_be_saved_is_saved_and_the_others_streams_go_on(backends, tmp_path):
    a, b, c = backends
    with ExitStack() as stack:
        proxy = stack.enter_context(sidecar(tmp_path, quoted(backends), ""))
        streams = [stack.enter_context(stream(proxy.url)) for _ in range(STREAMS)]
        placed = Counter(name for name, _ in streams)
        assert all(2 <= placed[name] <= 6 for name in NAMES), placed

        def look() -> None:
            for name, look_at in streams:
                if name == "a":
                    look_at()

        with Load(f"{proxy.url}/") as load:
            look()
            for _ in range(2):
                b.restart(down_s=1)
                look()
            c.send(signal.SIGSTOP)
            time.sleep(4)
            look()
            c.send(signal.SIGCONT)
            after = load.during(0)
            wait_for(
                lambda: (load.names - after)["c"] and (load.names - after)["b"],
                "all of them are asked again",
                30,
            )
            look()
        assert not load.bad, load.bad[:5]
        assert sum(load.names.values()) > 500, load.names
        assert proxy.count("upstream_failovers_total") >= 3
        log = proxy.log()
        assert "upstream failed: others are used instead" in log and b.url in log


def test_nothing_of_a_body_is_lost_while_nobody_listens(backends, tmp_path):
    _, b, _ = backends
    b.stop()
    with (
        sidecar(tmp_path, quoted(backends), "") as proxy,
        Load(f"{proxy.url}/", "POST") as load,
    ):
        share = load.during(3)
    assert not load.bad, load.bad[:5]
    assert set(share) == {"a", "c"} and sum(share.values()) > 100, share


def weighted(backends: list[Named]) -> list[str]:
    a, b, c = backends
    return [f'{{ url = "{a.url}", weight = 4 }}', f'"{b.url}"', f'"{c.url}"']


def test_shares_are_as_configured(backends, tmp_path):
    settings = 'upstream.balance = "round_robin"'
    with (
        sidecar(tmp_path, weighted(backends), settings) as proxy,
        Load(f"{proxy.url}/") as load,
    ):
        share = load.during(4)
        status = {entry["url"]: entry for entry in proxy.status()["upstreams"]}
    assert not load.bad, load.bad[:5]
    total = sum(share.values())
    assert total > 300
    for name, expected in [("a", 4 / 6), ("b", 1 / 6), ("c", 1 / 6)]:
        assert abs(share[name] / total - expected) < 0.02, share
    a, b, _ = backends
    assert set(status) == {backend.url for backend in backends}
    assert status[a.url]["requests"] > 3 * status[b.url]["requests"]


def test_open_streams_are_as_configured(backends, tmp_path):
    with (
        sidecar(tmp_path, weighted(backends), "") as proxy,
        ExitStack() as stack,
    ):
        opened = [stack.enter_context(stream(proxy.url)) for _ in range(24)]
        placed = Counter(name for name, _ in opened)
        active = {e["url"]: e["active"] for e in proxy.status()["upstreams"]}
    for backend, expected in zip(backends, [16, 4, 4], strict=True):
        assert abs(placed[backend.name] - expected) <= 3, placed
        assert active[backend.url] == placed[backend.name]


def test_backends_are_asked_how_they_are_and_reload(backends, tmp_path):
    a, b, c = backends
    health = 'upstream.health = { path = "/healthz", interval = "200ms", timeout = "500ms" }'
    with ExitStack() as stack:
        proxy = stack.enter_context(sidecar(tmp_path, quoted(backends), health))
        _, look = stack.enter_context(stream(proxy.url))

        def healthy() -> set[str]:
            entries = proxy.status()["upstreams"]
            return {entry["url"] for entry in entries if entry["healthy"]}

        b.send(signal.SIGSTOP)
        wait_for(lambda: b.url not in healthy(), "it is found to hang")
        b.send(signal.SIGCONT)
        wait_for(lambda: b.url in healthy(), "it is well again")
        text = proxy.config.read_text()
        urls = ", ".join(quoted(backends))
        proxy.reload(text.replace(urls, f'"{c.url}"'))
        with Load(f"{proxy.url}/") as load:
            assert set(load.during(1)) == {"c"}
        assert not load.bad
        look()


def test_a_names_addresses_come_and_go(tmp_path):
    port = free_port()
    addresses = {"a": "127.0.0.1", "b": "127.0.0.2", "c": "127.0.0.3"}

    def hosts(*names: str) -> str:
        return "".join(f"{addresses[name]} backend.test\n" for name in names)

    with ExitStack() as stack:
        for name, address in addresses.items():
            backend = Named(tmp_path, name, address, port)
            stack.callback(backend.stop)
        url = f"http://backend.test:{port}"
        settings = f'{SETTINGS}upstream.balance = "round_robin"'
        proxy = Sidecar(tmp_path, url, settings, hosts=hosts("a", "b"))
        stack.callback(proxy.stop)
        load = stack.enter_context(Load(f"{proxy.url}/"))
        wait_for(lambda: {"a", "b"} <= set(load.names), "both are asked")
        _, look = stack.enter_context(stream(proxy.url))
        # In place: it is the very file that is mounted.
        (tmp_path / "hosts").write_text(hosts("b", "c"))
        wait_for(lambda: "c" in load.names, "the new one is asked", 20)
        share = load.during(1)
        assert set(share) == {"b", "c"}, share
        assert abs(share["b"] - share["c"]) < 0.1 * sum(share.values()), share
        look()
        load._is_over.set()
        assert not load.bad, load.bad[:5]
