"""gRPC passes, with `grpcio` at both ends: over HTTP/2 without TLS to the backend, and
with TLS or without from the client."""

import hashlib

import pytest

from harness import expect
from harness.clients import leaving, listen

COUNT, GAP_MS = 8, 200
LARGE = 8_000_000

pytestmark = [
    pytest.mark.parametrize("backend", ["grpc_python"], indirect=True),
    pytest.mark.parametrize("door", ["h2c", "h2"], indirect=True),
]


@pytest.fixture
def call(door, backend):
    """Makes a call through the door, and gives what was heard of it."""

    def call(name: str, **options) -> list[tuple[str, str]]:
        heard = listen("grpc_python", door.url, **door.options, call=name, **options)
        return [(event.type, event.data) for event in heard.events]

    return call


def test_a_call_has_its_answer_its_metadata_and_its_status(call):
    assert call("unary") == [
        ("initial", "hello"),
        ("message", "message"),
        ("trailing", "00ff"),
        ("status", "OK: "),
    ]


def test_a_client_streams(call):
    assert call("collect") == [("message", "a b c")]


def test_a_server_streams_one_by_one(door):
    heard = listen(
        "grpc_python",
        door.url,
        **door.options,
        call="events",
        request=[COUNT, GAP_MS],
    )
    expect.one_by_one(heard, COUNT, GAP_MS)


def test_both_talk_in_turn(call):
    answers = [("message", f"you said {word}") for word in ("one", "two", "three")]
    assert call("chat") == [*answers, ("status", "OK: ")]


def test_a_large_message_passes_both_ways(call):
    message = bytes(range(256)) * (LARGE // 256)
    digest = hashlib.sha256(message).hexdigest()
    assert call("large", bytes=LARGE) == [("message", f"{len(message)} {digest}")]


def test_an_error_is_the_servers(call):
    assert call("fail") == [
        ("trailing", "of the test"),
        ("status", "FAILED_PRECONDITION: grüße: 100 %"),
    ]
    assert call("fail_later") == [
        ("message", "one"),
        ("status", "DATA_LOSS: in the middle"),
    ]


def test_the_server_misses_a_client_that_cancels(door, backend, key):
    options = {"call": "endless", "key": key}
    with leaving("grpc_python", door.url, 2, **door.options, **options) as left:
        expect.soon_after(left, backend.wait_aborted(key))


def test_the_server_misses_a_client_whose_deadline_has_passed(call, backend, key):
    assert call("slow", key=key) == [("status", "DEADLINE_EXCEEDED")]
    visit = backend.probe(key)
    assert 300 < backend.wait_aborted(key) - visit["opened"] < 1500
