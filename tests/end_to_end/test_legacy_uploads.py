"""A request's body reaches servers from before event streams whole, and what they answer
to one that they do not read reaches the client."""

import hashlib
import socket
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import pytest

from harness.backends import LEGACY
from harness.curl import curl
from harness.wire import fetch

# Around the sizes of the buffers on the way.
SIZES = [0, 1]
SIZES += [
    size + more
    for size in (8 << 10, 64 << 10, 128 << 10, 256 << 10)
    for more in (-1, 0, 1)
]
BYTES = hashlib.shake_256(b"upload").digest(max(SIZES))
# The others need a length: they take a body in chunks for an empty one, or no HTTP.
CHUNKED = ["tomcat", "apache_cgi", "ssestream", "gunicorn_sync", "gunicorn_gthread"]
# These read an upload that nobody wants, and keep the connection.
DRAINING = ["tomcat", "apache_cgi", "ssestream", "php_fpm"]
# These close it and do not say so, and the next upload may already be on its way.
CLOSING = ["gunicorn_gthread", "uwsgi"]


@pytest.fixture
def upload(tmp_path):
    """A file of the size asked for."""

    def upload(size: int) -> Path:
        path = tmp_path / str(size)
        path.write_bytes(BYTES[:size])
        return path

    return upload


def echo(size: int) -> dict:
    return {"length": size, "sha256": hashlib.sha256(BYTES[:size]).hexdigest()}


@pytest.mark.parametrize("door", ["http", "h2c"], indirect=True)
@pytest.mark.parametrize("backend", LEGACY, indirect=True, scope="session")
def test_an_upload_arrives_whole(door, backend, upload):
    url = door.url + backend.route("/upload")
    for size in SIZES:
        sent = curl(*door.curl, "--data-binary", f"@{upload(size)}", url)
        assert sent.json() == echo(size)


@pytest.mark.parametrize("backend", CHUNKED, indirect=True, scope="session")
def test_an_upload_in_chunks_arrives_whole(sidecar, backend, upload):
    chunked = ["--header", "Transfer-Encoding: chunked", "--data-binary"]
    url = sidecar.url + backend.route("/upload")
    for size in SIZES:
        assert curl(*chunked, f"@{upload(size)}", url).json() == echo(size)


def put(port: int, target: str) -> tuple[int, bytes]:
    """What is answered to an upload, even if the connection breaks meanwhile."""
    head = f"PUT {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(BYTES)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        with suppress(ConnectionError):
            connection.sendall(head.encode() + BYTES)
        answer = HTTPResponse(connection, method="PUT")
        answer.begin()
        body = b""
        with suppress(ConnectionError, HTTPException):
            while part := answer.read1():
                body += part
        return answer.status, body


@pytest.mark.parametrize("backend", LEGACY, indirect=True, scope="session")
def test_an_answer_to_an_upload_that_nobody_reads_arrives(sidecar, backend):
    """Many of these servers answer and close. What is still on its way to them then
    resets the connection, now before and now after the answer was read."""
    target = backend.route("/page")
    direct = fetch(backend.url + target, method="PUT", body=b"")
    for _ in range(40):
        status, body = put(sidecar.port, target)
        if status == 502 and backend.name in CLOSING:
            continue
        assert (status, body) == (direct.status, direct.body)


@pytest.mark.parametrize("backend", DRAINING, indirect=True, scope="session")
def test_an_upload_that_nobody_reads_holds_up_no_other(sidecar, backend, upload):
    """The backend answers, reads the rest and keeps the connection, for five seconds at
    least: so long an upload would take that waits in vain for its turn."""
    target = backend.route("/page")
    direct = fetch(backend.url + target, method="PUT", body=b"")
    put = ["--request", "PUT", "--data-binary", f"@{upload(max(SIZES))}"]
    for _ in range(40):
        answer = curl("--max-time", "4", *put, sidecar.url + target)
        assert (answer.status, answer.body) == (direct.status, direct.body)
