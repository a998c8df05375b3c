"""The sidecar under test."""

import json
import os
import signal
from pathlib import Path
from urllib.request import urlopen

from harness.ports import free_port
from harness.process import HERE, Server, tied_to_us
from harness.waiting import wait_for


def binary() -> Path:
    built = HERE.parents[1] / "target/release/sse-sidecar"
    return Path(os.environ.get("SSE_SIDECAR_BIN", built))


def knows(folder: Path, hosts: str) -> list[str]:
    """Runs the command after it with an /etc/hosts of its own; takes root."""
    file = folder / "hosts"
    file.write_text(hosts)
    mount = 'mount --bind "$0" /etc/hosts && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", mount, str(file)]


class Sidecar(Server):
    """A sidecar in front of `upstream`: by flags alone, or with more settings, of its
    own and of its listener. With `hosts` these are all the names that it knows. Several
    upstreams are an array in TOML."""

    def __init__(
        self,
        folder: Path,
        upstream: str,
        settings: str = "",
        listener: str = "",
        hosts: str = "",
    ) -> None:
        port, admin = free_port(), free_port()
        self.config = config = folder / "sidecar.toml"
        if settings or listener:
            several = upstream.startswith("[")
            named = f"urls = {upstream}" if several else f'url = "{upstream}"'
            config.write_text(
                f'admin.listen = "127.0.0.1:{admin}"\n'
                f"upstream.{named}\n{settings}\n"
                f'[[listener]]\naddress = "127.0.0.1:{port}"\n{listener}\n'
            )
            options = ["--config", str(config)]
        else:
            options = ["--listen", f"127.0.0.1:{port}", "--upstream", upstream]
            options += ["--admin", f"127.0.0.1:{admin}"]
        names = knows(folder, hosts) if hosts else []
        argv = tied_to_us(*names, binary(), *options)
        super().__init__("sidecar", argv, port, folder / "log")
        self.admin = f"http://127.0.0.1:{admin}"

    def open_files(self) -> int:
        """Its sockets, and a few files besides."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def count(self, metric: str) -> int:
        """What the sidecar itself says, of a name without its prefix: the sum of all series that have the labels."""
        with urlopen(f"{self.admin}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        name, _, labels = f"sse_sidecar_{metric}".partition("{")
        wanted = [label for label in labels.rstrip("}").split(",") if label]
        split = (line.rpartition(" ") for line in lines)
        counts = [
            int(value)
            for series, _, value in split
            if series.partition("{")[0] == name and all(label in series for label in wanted)
        ]
        assert counts, f"there is no {metric}"
        return sum(counts)

    def status(self) -> dict:
        with urlopen(f"{self.admin}/status.json", timeout=5) as answer:
            return json.load(answer)

    def reload(self, config: str) -> None:
        """Gives it another file, and waits until it has taken it or not."""

        def looks() -> int:
            results = ("applied", "rejected")
            names = (f'config_reloads_total{{result="{result}"}}' for result in results)
            return sum(map(self.count, names))

        before = looks()
        self.config.write_text(config)
        self.send(signal.SIGHUP)
        wait_for(lambda: looks() > before, "it has looked at its file")
