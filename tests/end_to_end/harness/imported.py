"""One site file of nginx twice: served by nginx, and by a sidecar with its import."""

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from harness.nginx import SiteNginx
from harness.ports import free_port
from harness.process import Server, environment, tied_to_us
from harness.scripted import Peer
from harness.sidecar import binary
from harness.wire import Answer, fetch

# What the sidecar tells every backend, whatever nginx was told to.
ALWAYS = {
    "connection",
    "forwarded",
    "traceparent",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
}
# What is each server's own, or the connection's.
OWN = {"connection", "content-length", "content-type", "date", "server", "x-request-id"}
HOST = {"Host": "app.test"}


class Imported(Server):
    """A sidecar with what `import-nginx` makes of a site file."""

    def __init__(self, folder: Path, site: str) -> None:
        port, admin = free_port(), free_port()
        source = folder / "site.conf"
        source.write_text(site.replace("PORT", str(port)))
        self.config = folder / "sidecar.toml"
        command = [binary(), "import-nginx", source, "--output", self.config]
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=10
        )
        self.code, self.report = done.returncode, done.stderr
        if done.returncode == 2:
            raise ValueError(done.stderr)
        with self.config.open("a") as config:
            config.write(f'\n[admin]\nlisten = "127.0.0.1:{admin}"\n')
        argv = tied_to_us(binary(), "--config", self.config)
        super().__init__("sidecar", argv, port, folder / "log")


@dataclass
class Recorder:
    """Serves connections, and tells each client what it saw of its request."""

    name: str = "a"
    answer: list[str] = field(default_factory=list)

    def __call__(self, peer: Peer) -> None:
        while head := peer.head():
            body = peer.body(head)
            line, *fields = head.decode("latin-1").split("\r\n")
            method, target, _ = line.split(" ")
            pairs = (text.split(": ", 1) for text in fields)
            seen = {
                "backend": self.name,
                "method": method,
                "target": target,
                "fields": {name.lower(): value for name, value in pairs},
                "body": len(body),
            }
            content = b"" if method == "HEAD" else json.dumps(seen).encode()
            peer.answer(content, "X-Backend: " + self.name, *self.answer)


class Pair:
    """The same site behind both servers, each on a port of its own."""

    def __init__(self, folder: Path, site: str) -> None:
        for name in ("nginx", "sidecar"):
            (folder / name).mkdir()
        self.nginx = SiteNginx(folder / "nginx", site)
        try:
            self.sidecar = Imported(folder / "sidecar", site)
        except Exception:
            self.nginx.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.nginx.stop()
        self.sidecar.stop()

    def answers(
        self,
        target: str,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> tuple[Answer, Answer]:
        headers = HOST | (headers or {})
        ours = (self.nginx, self.sidecar)
        nginx, sidecar = (fetch(s.url + target, headers, body, method) for s in ours)
        return nginx, sidecar

    def expect_same(self, target: str, **request) -> None:
        """The same answer from the same backend, or the same status without one."""
        nginx, sidecar = self.answers(target, **request)
        assert nginx.status != 400, "a request that nginx takes"
        statuses = (nginx.status, sidecar.status)
        assert sidecar.status == nginx.status, (target, request, statuses)
        location = "Location"
        ours = without_port(sidecar.headers[location])
        assert ours == without_port(nginx.headers[location])
        by_backend = nginx.headers["X-Backend"]
        assert sidecar.headers["X-Backend"] == by_backend
        if by_backend:
            assert fields(sidecar) == fields(nginx)
        if by_backend and request.get("method") != "HEAD":
            expect_seen_alike(json.loads(nginx.body), json.loads(sidecar.body))
        elif nginx.status == 200:
            assert sidecar.body == nginx.body
            assert sidecar.headers["Content-Type"] == nginx.headers["Content-Type"]


def fields(answer: Answer) -> dict[str, str]:
    named = {name.lower(): value for name, value in answer.headers.items()}
    return {name: value for name, value in named.items() if name not in OWN}


def expect_seen_alike(nginx: dict, sidecar: dict) -> None:
    theirs, ours = nginx.pop("fields"), sidecar.pop("fields")
    assert sidecar == nginx
    theirs.pop("connection", None)
    # `$host` is in lower case.
    ours["host"] = ours["host"].lower()
    assert {name: ours.get(name) for name in theirs} == theirs
    assert set(ours) - set(theirs) <= ALWAYS


def without_port(location: str | None) -> str | None:
    """An address without the port that nginx adds: the two servers have their own."""
    return location and re.sub(r"^(https?://[^/:]+):\d+", r"\1", location)
