"""Connections carry one request after the other, to servers that keep theirs for a while
and to servers that do not."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import pytest

from harness.backends import LEGACY
from harness.sidecar import Sidecar
from harness.tap import Tap
from harness.wire import fetch


def ask(
    connection: HTTPConnection, method: str, target: str, body: bytes | None = None
) -> tuple[int, bytes]:
    connection.request(method, target, body)
    with connection.getresponse() as response:
        return response.status, response.read()


@pytest.mark.parametrize("backend", LEGACY, indirect=True, scope="session")
@pytest.mark.usefixtures("proxied")
def test_a_hundred_and_more_requests_share_a_connection(sidecar, backend):
    """With the sidecar; Apache and Tomcat close theirs after a hundred, others after one,
    and some of them do not say so."""
    page, nothing, missing, upload = map(
        backend.route, ("/page", "/nothing", "/missing", "/upload")
    )
    direct = fetch(backend.url + missing)

    def answers() -> Iterator[tuple[int, bytes]]:
        yield ask(client, "GET", nothing)
        yield ask(client, "HEAD", page)
        yield ask(client, "HEAD", missing)
        # A body without a length ends its connection, so that the upload, which could
        # not be sent twice, meets none that is about to be closed.
        yield ask(client, "GET", missing)
        status, echo = ask(client, "POST", upload, bytes(n))
        yield status, json.loads(echo)

    with closing(HTTPConnection("127.0.0.1", sidecar.port, timeout=10)) as client:
        client.connect()
        socket = client.sock
        for n in range(25):
            echo = {"length": n, "sha256": hashlib.sha256(bytes(n)).hexdigest()}
            expected = [
                (204, b""),
                (200, b""),
                (404, b""),
                (404, direct.body),
                (200, echo),
            ]
            assert list(answers()) == expected
        assert client.sock is socket


@pytest.mark.parametrize("backend", LEGACY, indirect=True, scope="session")
@pytest.mark.usefixtures("proxied")
def test_a_body_that_belongs_to_a_head_is_not_the_next_answer(sidecar, backend):
    """Some send it all the same, a moment later, and only then close."""
    probe, nothing = backend.route("/probe?key=none"), backend.route("/nothing")
    with closing(HTTPConnection("127.0.0.1", sidecar.port, timeout=10)) as client:
        for _ in range(10):
            assert ask(client, "HEAD", probe) == (200, b"")
            assert ask(client, "GET", nothing) == (204, b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "backend", ["gunicorn_gthread"], indirect=True, scope="session"
)
@pytest.mark.usefixtures("proxied")
def test_a_request_that_crosses_the_end_of_its_connection_is_sent_again(
    start, backend, method
):
    """gunicorn closes a connection that was idle for two seconds, whatever is on its
    way to it."""
    with Tap(backend.port, crossing=True) as tap:
        sidecar = start(Sidecar, tap.url)
        with closing(HTTPConnection("127.0.0.1", sidecar.port, timeout=10)) as client:
            assert ask(client, method, "/page")[0] == 200
            assert ask(client, method, "/page")[0] == 200
            tap.wait_ended()
            assert ask(client, method, "/page")[0] == 200
        assert tap.requests() == [3, 1]
