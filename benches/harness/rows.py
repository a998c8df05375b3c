"""What is measured: each row is one kind of work, done by every proxy."""

import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from harness.proxies import NAMES, Proxy, connects, free_ports
from harness.tools import LOAD, MOST_STREAMS, Failed, load

# A cell that takes longer has failed.
DEADLINE = 120

MIB = 1024 * 1024


@dataclass
class Figure:
    """One line of the table, from what the load generator calls `key`."""

    key: str
    title: str
    per_unit: float = 1
    more_is_better: bool = False
    # Whether it is what the proxy adds to the direct connection's.
    added: bool = False
    # Whether it says who is better.
    compared: bool = True


@dataclass
class Row:
    name: str
    scenario: str
    figures: list[Figure]
    options: dict[str, object] = field(default_factory=dict)
    # What a quick run does instead.
    quick: dict[str, object] = field(default_factory=dict)
    via: str = "plain"
    workers: int = 2

    @property
    def who(self) -> list[str]:
        """The proxies, and the direct connection where it is what they are held to."""
        return ["direct", *NAMES] if any(it.added for it in self.figures) else NAMES

    def measure(self, name: str, folder: Path, quick: bool) -> dict[str, float]:
        if self.scenario == "start":
            return start(name, folder)
        options = self.options | (self.quick if quick else {})
        if name == "direct":
            [port] = free_ports(1)
            options |= {"to": f"127.0.0.1:{port}", "backend": f"127.0.0.1:{port}"}
            return load(self.scenario, deadline=DEADLINE, **options)
        with Proxy(name, folder, self.workers) as proxy:
            options |= proxy.options(self.via)
            return load(self.scenario, deadline=DEADLINE, **options)


def start(name: str, folder: Path) -> dict[str, float]:
    """From the start of the process to its first answer, and its memory then."""
    proxy = Proxy(name, folder)
    backend = f"127.0.0.1:{proxy.backend}"
    server = subprocess.Popen([LOAD, "backend", "--backend", backend])
    while not connects(proxy.backend):
        time.sleep(0.001)
    try:
        begin = time.monotonic()
        with proxy, socket.create_connection(("127.0.0.1", proxy.plain)) as client:
            client.sendall(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
            client.settimeout(DEADLINE)
            if client.recv(15) != b"HTTP/1.1 200 OK":
                raise Failed("its first answer is an error")
            answered = time.monotonic() - begin
            pids = proxy.pids()
            time.sleep(0.5)
            memory = sum(map(pss, pids))
    finally:
        server.kill()
        server.wait()
    size = proxy.binary.stat().st_size
    return {"answer_s": answered, "idle_bytes": memory, "binary_bytes": size}


def pss(pid: int) -> int:
    """Proportional set size, in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    [kilobytes] = [line.split()[1] for line in lines if line.startswith("Pss:")]
    return int(kilobytes) * 1024


def paced(
    streams: int, rate: int, seconds: int = 5, **kwargs: object
) -> dict[str, object]:
    options = {"streams": streams, "rate": rate, "seconds": seconds}
    return {"scenario": "paced", "options": options} | kwargs


def idle(name: str, title: str, via: str) -> Row:
    return Row(
        name,
        "idle",
        [Figure("stream_bytes", f"bytes per idle stream, {title}")],
        options={"streams": 5000, "seconds": 0},
        quick={"streams": 300},
        via=via,
    )


def cpu(title: str) -> Figure:
    return Figure("us", f"CPU µs per event, {title}")


def latency(title: str) -> list[Figure]:
    return [
        Figure("p50_us", f"added latency µs, median, {title}", added=True),
        Figure("p99_us", f"added latency µs, p99, {title}", added=True),
    ]


SHORTER = {"seconds": 0.5}

# What the limit of open files lets one process have.
MOST = min(9500, MOST_STREAMS)

ROWS = [
    Row(
        "start",
        "start",
        [
            Figure("idle_bytes", "idle memory, MiB", MIB),
            Figure("binary_bytes", "binary, MiB", MIB),
            Figure("answer_s", "start to first answer, ms", 0.001),
        ],
    ),
    idle("memory", "HTTP/1.1", "plain"),
    idle("memory-tls", "HTTP/1.1 over TLS", "tls"),
    idle("memory-h2", "HTTP/2 over TLS", "h2"),
    Row(
        "events-1",
        figures=[cpu("1 × 30/s"), *latency("1 × 30/s")],
        quick=SHORTER,
        **paced(1, 30, seconds=10),
    ),
    Row(
        "events-fast",
        figures=[cpu("1 × 5,000/s"), *latency("1 × 5,000/s")],
        quick=SHORTER,
        **paced(1, 5000),
    ),
    Row(
        "events-100",
        figures=[cpu("100 × 30/s"), *latency("100 × 30/s")],
        quick=SHORTER,
        **paced(100, 30),
    ),
    Row(
        "events-1000",
        figures=[cpu("1,000 × 20/s"), *latency("1,000 × 20/s")],
        quick=SHORTER | {"streams": 300},
        **paced(1000, 20),
    ),
    Row(
        "events-5000",
        figures=[cpu("5,000 × 4/s")],
        quick=SHORTER | {"streams": 300},
        **paced(5000, 4),
    ),
    Row(
        "events-tls",
        figures=[cpu("TLS, 1,000 × 20/s")],
        quick=SHORTER | {"streams": 300},
        **paced(1000, 20, via="tls"),
    ),
    Row(
        "events-h2",
        figures=[cpu("HTTP/2 over TLS, 1,000 × 20/s")],
        quick=SHORTER | {"streams": 300},
        **paced(1000, 20, via="h2"),
    ),
    Row(
        "saturation",
        "saturate",
        [
            Figure("per_second", "events/s at saturation", more_is_better=True),
            Figure("busy", "the worker's core busy then, %", 0.01, compared=False),
            Figure("us", "CPU µs per event at saturation"),
        ],
        options={"streams": 100, "seconds": 5},
        quick=SHORTER,
        workers=1,
    ),
    Row(
        "bursts",
        "flood",
        [Figure("ms_per_mb", "bursts of 18-byte events, CPU ms per MB")],
        options={"streams": 10, "seconds": 5, "size": 18, "burst": 1000},
        quick=SHORTER,
    ),
    Row(
        "short",
        "short",
        [Figure("us", "stream of 20 events and its connection, CPU µs")],
        options={"streams": 16, "seconds": 5, "burst": 20},
        quick=SHORTER,
    ),
    Row(
        "short-tls",
        "short",
        [Figure("us", "the same over TLS, CPU µs")],
        options={"streams": 16, "seconds": 5, "burst": 20},
        quick=SHORTER,
        via="tls",
    ),
    Row(
        "short-h2",
        "short",
        [Figure("us", "the same over HTTP/2 and TLS, connection open, CPU µs")],
        options={"streams": 16, "seconds": 5, "burst": 20},
        quick=SHORTER,
        via="h2",
    ),
    Row(
        "pages",
        "pages",
        [Figure("us", "request for 1 KiB, CPU µs")],
        options={"streams": 64, "seconds": 5},
        quick=SHORTER,
    ),
    Row(
        "stall",
        "stall",
        [
            Figure("stalled_bytes", "stalled reader, KiB", 1024),
            Figure("p99_us", "latency µs beside stalled readers, p99"),
        ],
        options={"streams": 50, "rate": 30, "size": 1000, "seconds": 5},
        quick=SHORTER,
    ),
    Row(
        "after",
        "idle",
        [Figure("kept_bytes", f"kept after {MOST:,} streams, MiB", MIB)],
        options={"streams": MOST, "seconds": 2},
        quick={"streams": 300, "seconds": 0.5},
    ),
    Row(
        "leave",
        "leave",
        [
            Figure("p50_us", "client leaves, backend knows, µs, median"),
            Figure("p99_us", "client leaves, backend knows, µs, p99"),
        ],
        options={"streams": 500},
        quick={"streams": 50},
    ),
    Row(
        "leave-early",
        "leave-early",
        [
            Figure("p50_us", "the same before the head, µs, median"),
            Figure("p99_us", "the same before the head, µs, p99"),
        ],
        options={"streams": 500},
        quick={"streams": 50},
    ),
]
