"""nginx and HAProxy, tuned for event streams, and the sidecar as it comes. Each listens
twice, in the clear and with TLS, in front of one backend."""

import random
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from harness.tools import HARD, MOST_STREAMS, Failed, program, sidecar

NGINX = """
daemon off;
user root;
pid {folder}/pid;
error_log stderr;
worker_processes {workers};
worker_rlimit_nofile {files};
events {{ worker_connections {files}; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    upstream backend {{
        server 127.0.0.1:{backend};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{plain} backlog=4096;
        listen 127.0.0.1:{tls} ssl http2 backlog=4096;
        ssl_certificate {certificate}/chain.pem;
        ssl_certificate_key {certificate}/key.pem;
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 1h;
        }}
    }}
}}
"""

HAPROXY = """
global
    nbthread {workers}
    maxconn {streams}
defaults
    mode http
    option http-no-delay
    option abortonclose
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend clients
    bind 127.0.0.1:{plain} backlog 4096
    bind 127.0.0.1:{tls} backlog 4096 ssl crt {certificate}/both.pem alpn h2,http/1.1
    default_backend backend
backend backend
    server backend 127.0.0.1:{backend}
"""

SIDECAR = """
server.workers = {workers}
admin.listen = "127.0.0.1:{admin}"
upstream.url = "http://127.0.0.1:{backend}"
drain.delay = "off"
[[listener]]
address = "127.0.0.1:{plain}"
[[listener]]
address = "127.0.0.1:{tls}"
tls.certificate = "{certificate}/chain.pem"
tls.private_key = "{certificate}/key.pem"
"""

# Every event gets an id, whatever its client asks for.
KEPT = """
[resume]
grace = "30s"
ids = "always"
[history]
memory = "1GiB"
"""

NAMES = ["nginx", "HAProxy", "sidecar"]


class Proxy:
    """One of `NAMES`, running; by itself or under a command such as valgrind."""

    def __init__(
        self,
        name: str,
        folder: Path,
        workers: int = 2,
        under: Sequence[str] = (),
        kept: bool = False,
    ) -> None:
        """With `kept` its streams outlive their clients, which only the sidecar can."""
        self.name = name
        self.plain, self.tls, self.backend, admin = free_ports(4)
        self._certificate = certificate(folder)
        settings = {
            "workers": workers,
            "plain": self.plain,
            "tls": self.tls,
            "backend": self.backend,
            "admin": admin,
            "folder": folder,
            "certificate": self._certificate,
            "files": HARD,
            "streams": MOST_STREAMS,
        }
        config = folder / f"{name}.conf"
        if name == "nginx":
            config.write_text(NGINX.format(**settings))
            command = [program("nginx"), "-c", config, "-p", folder]
        elif name == "HAProxy":
            config.write_text(HAPROXY.format(**settings))
            command = [program("haproxy"), "-db", "-q", "-f", config]
        else:
            config.write_text(SIDECAR.format(**settings) + (KEPT if kept else ""))
            command = [sidecar(), "run", "--config", config]
        self._command = [*map(str, under), *map(str, command)]
        self._count = 1 + workers if name == "nginx" else 1
        self.binary = Path(command[0])
        self._log = folder / f"{name}.log"

    def __enter__(self) -> "Proxy":
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until = time.monotonic() + 60
        while not (connects(self.plain) and connects(self.tls)):
            if self._process.poll() is not None or time.monotonic() > until:
                self._process.kill()
                raise Failed(f"{self.name} does not listen: {self._log.read_text()}")
            time.sleep(0.0005)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def pids(self) -> list[int]:
        """The process and its workers, when all have started."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        while len(pids := [pid, *map(int, children.read_text().split())]) < self._count:
            time.sleep(0.01)
        return pids

    def options(self, via: str) -> dict[str, object]:
        """What the load generator has to know."""
        return {
            "to": f"127.0.0.1:{self.plain if via in ('plain', 'kept') else self.tls}",
            "backend": f"127.0.0.1:{self.backend}",
            "via": "plain" if via == "kept" else via,
            "certificate": self._certificate / "chain.pem",
            "pids": ",".join(map(str, self.pids())),
        }


def connects(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> list[int]:
    """Below the range from which the kernel takes the ports of outgoing connections."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(10_000, 32_000)
        if port not in ports and not connects(port):
            ports.append(port)
    return ports


@cache
def certificate(folder: Path) -> Path:
    """Where the certificate (`chain.pem`), its key and both in one file are."""
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    leaf = ["-addext", "basicConstraints=critical,CA:FALSE"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", folder / "key.pem", "-out", folder / "chain.pem"]
    command = ["openssl", "req", "-x509", "-days", "30", *subject, *leaf, *key, *files]
    subprocess.run(command, check=True, capture_output=True)
    both = (folder / "chain.pem").read_text() + (folder / "key.pem").read_text()
    (folder / "both.pem").write_text(both)
    return folder
