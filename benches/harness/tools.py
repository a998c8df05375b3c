"""The programs that take part: installed, built, called."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOAD = ROOT / "benches/load/target/release/load"

# A stream is two sockets of the proxy, and two of the process that is backend and
# clients; each needs a few files more.
_, HARD = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (HARD, HARD))
MOST_STREAMS = (HARD - 500) // 2

# Who is asked to end stops what it has started.
signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))


class Failed(Exception):
    """What was measured did not work."""


def sidecar() -> Path:
    built = ROOT / "target/release/sse-sidecar"
    return Path(os.environ.get("SSE_SIDECAR_BIN", built))


def install(*packages: str) -> None:
    """Debian's packages whose programs, called the same, are missing."""
    missing = [name for name in packages if not program(name)]
    if missing:
        subprocess.run(["apt-get", "update"], check=True)
        command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
        noninteractive = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(command, env=noninteractive, check=True)


def program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


def build() -> None:
    """The release binary, unless SSE_SIDECAR_BIN names one, and the load generator."""
    built = [[ROOT / "benches/load/Cargo.toml"]]
    if "SSE_SIDECAR_BIN" not in os.environ:
        # With the allocator that is shipped, but not static.
        built.append([ROOT / "Cargo.toml", "--features", "jemalloc"])
    for manifest in built:
        command = ["cargo", "build", "--locked", "--release", "--manifest-path"]
        subprocess.run([*command, *manifest], check=True)


def load(scenario: str, *, deadline: float, **options: object) -> dict[str, float]:
    """Runs the load generator and gives what it found out."""
    command = [LOAD, scenario]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=deadline, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"not done after {deadline:.0f} s") from None
    if done.returncode != 0:
        raise Failed(done.stderr.strip())
    return json.loads(done.stdout)
