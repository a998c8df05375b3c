"""HTTP/2 to a backend on a Unix socket, as gRPC servers have one beside their sidecar."""

import hashlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from harness import doors, expect
from harness.clients import leaving, listen
from harness.doors import Door
from harness.scripted import Scripted
from harness.scripted_http2 import answers
from harness.sidecar import Sidecar
from harness.wire import fetch

pytestmark = pytest.mark.usefixtures("proxied")

UPSTREAM = "unix+h2c:{}"
COUNT, GAP_MS = 8, 200
LARGE = 8_000_000
BURST = 12

with_grpc = pytest.mark.parametrize("backend", ["grpc_python"], indirect=True)
with_doors = pytest.mark.parametrize("name", ["h2c", "h2"])


@pytest.fixture
def door(start, backend, name) -> Door:
    upstream = UPSTREAM.format(backend.socket)
    return Door.of(start(Sidecar, upstream, "", doors.listener(name)), name)


@pytest.fixture
def path():
    """Short enough for a socket's name."""
    with TemporaryDirectory() as folder:
        yield Path(folder) / "socket"


def listener(path: Path) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX)
    opened.bind(str(path))
    opened.listen(64)
    return opened


def call(door: Door, name: str, **options) -> list[tuple[str, str]]:
    heard = listen("grpc_python", door.url, **door.options, call=name, **options)
    return [(event.type, event.data) for event in heard.events]


@with_grpc
@with_doors
def test_a_call_has_its_answer_its_metadata_and_its_status(door):
    assert call(door, "unary") == [
        ("initial", "hello"),
        ("message", "message"),
        ("trailing", "00ff"),
        ("status", "OK: "),
    ]
    assert call(door, "fail_later") == [
        ("message", "one"),
        ("status", "DATA_LOSS: in the middle"),
    ]


@with_grpc
@with_doors
def test_both_talk_in_turn(door):
    answers = [("message", f"you said {word}") for word in ("one", "two", "three")]
    assert call(door, "chat") == [*answers, ("status", "OK: ")]


@with_grpc
@with_doors
def test_a_large_message_passes_both_ways(door):
    digest = hashlib.sha256(bytes(range(256)) * (LARGE // 256)).hexdigest()
    assert call(door, "large", bytes=LARGE) == [("message", f"{LARGE} {digest}")]


@with_grpc
@with_doors
def test_a_server_streams_one_by_one(door):
    options = {"call": "events", "request": [COUNT, GAP_MS]}
    heard = listen("grpc_python", door.url, **door.options, **options)
    expect.one_by_one(heard, COUNT, GAP_MS)


@with_grpc
@with_doors
def test_the_server_misses_a_client_that_cancels(door, backend, key):
    options = {"call": "endless", "key": key}
    with leaving("grpc_python", door.url, 2, **door.options, **options) as left:
        expect.soon_after(left, backend.wait_aborted(key))


def test_it_can_be_said_by_a_flag_and_one_connection_is_shared(start, path):
    with Scripted(answers(b"over a socket"), listener=listener(path)) as backend:
        sidecar = start(Sidecar, UPSTREAM.format(path))
        with ThreadPoolExecutor(BURST) as crowd:
            heard = crowd.map(fetch, [sidecar.url] * BURST)
            assert {each.body for each in heard} == {b"over a socket"}
        # Each worker has its own.
        assert backend.accepted <= BURST / 2


def test_a_socket_that_is_not_there_yet_is_waited_for(start, path):
    """While its server restarts."""
    sidecar = start(Sidecar, UPSTREAM.format(path))
    opened = []

    def come() -> None:
        opened.append(Scripted(answers(b"here"), listener=listener(path)))

    timer = threading.Timer(0.5, come)
    timer.start()
    try:
        answer = fetch(sidecar.url)
    finally:
        timer.join()
        opened[0].__exit__()
    assert (answer.status, answer.body) == (200, b"here")
