"""One request, read as bytes: for what no client library would show."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    status: int
    reason: str
    headers: HTTPMessage
    body: bytes
    """Without the chunks, but with its content coding."""


def now_ms() -> float:
    return time.time() * 1000


@contextmanager
def ask(
    url: str,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    method: str | None = None,
) -> Iterator[HTTPConnection]:
    """Sends a request with these headers and Host; closes what it opened."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=10)
    try:
        target = parts._replace(scheme="", netloc="").geturl()
        method = method or ("GET" if body is None else "POST")
        headers = headers or {}
        has_host = "Host" in headers
        connection.putrequest(
            method, target, skip_host=has_host, skip_accept_encoding=True
        )
        for name, value in headers.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        yield connection
    finally:
        connection.close()


def fetch(
    url: str,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    method: str | None = None,
) -> Answer:
    with ask(url, headers, body, method) as connection:
        response = connection.getresponse()
        head = response.status, response.reason, response.headers
        return Answer(*head, response.read())


def converse(port: int, request: bytes) -> bytes:
    """All that is answered to these bytes until the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))
