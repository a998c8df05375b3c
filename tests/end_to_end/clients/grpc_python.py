"""`grpcio`: one `call` of the service, and all that is heard of it. `authority` names
the file of the authority to trust.
"""

import hashlib
import json
import queue
from pathlib import Path
from urllib.parse import urlsplit

import grpc

import report

options = report.options
address = urlsplit(options["url"])
settings = [("grpc.max_receive_message_length", -1)]
if address.scheme == "https":
    roots = Path(options["authority"]).read_bytes()
    credentials = grpc.ssl_channel_credentials(roots)
    channel = grpc.secure_channel(address.netloc, credentials, settings)
else:
    channel = grpc.insecure_channel(address.netloc, settings)


def hear(type: str, data: str) -> bool:
    return report.event(type=type, data=data)


def hear_status(call) -> None:
    hear("status", f"{call.code().name}: {call.details()}")


def unary() -> None:
    method = channel.unary_unary("/test.Service/unary")
    said = [("x-word", "hello"), ("x-bytes-bin", b"\x00\xff")]
    answer, call = method.with_call(b"message", metadata=said, timeout=10)
    hear("initial", dict(call.initial_metadata())["x-initial"])
    hear("message", answer.decode())
    hear("trailing", dict(call.trailing_metadata())["x-trailing-bin"].hex())
    hear_status(call)


def large() -> None:
    message = bytes(range(256)) * (options["bytes"] // 256)
    answer = channel.unary_unary("/test.Service/unary")(message, timeout=20)
    digest = hashlib.sha256(answer).hexdigest()
    hear("message", f"{len(answer)} {digest}")


def collect() -> None:
    method = channel.stream_unary("/test.Service/collect")
    hear("message", method(iter([b"a", b"b", b"c"]), timeout=10).decode())


def events() -> None:
    request = json.dumps(options["request"]).encode()
    for message in channel.unary_stream("/test.Service/events")(request, timeout=20):
        hear("message", message.decode())


def chat() -> None:
    """Says the next thing only when the one before was answered."""
    says = queue.SimpleQueue()
    method = channel.stream_stream("/test.Service/chat")
    answers = method(iter(says.get, None), timeout=10)
    for word in (b"one", b"two", b"three"):
        says.put(word)
        hear("message", next(answers).decode())
    says.put(None)
    assert list(answers) == []
    hear_status(answers)


def endless() -> None:
    call = channel.unary_stream("/test.Service/endless")(options["key"].encode())
    for message in call:
        if hear("message", message.decode()):
            report.leave(call.cancel)


def slow() -> None:
    method = channel.unary_unary("/test.Service/slow")
    try:
        method(options["key"].encode(), timeout=0.5)
    except grpc.RpcError as error:
        hear("status", error.code().name)


def fail() -> None:
    try:
        channel.unary_unary("/test.Service/fail")(b"", timeout=10)
    except grpc.RpcError as error:
        hear("trailing", dict(error.trailing_metadata())["x-reason"])
        hear_status(error)


def fail_later() -> None:
    call = channel.unary_stream("/test.Service/fail_later")(b"", timeout=10)
    try:
        for message in call:
            hear("message", message.decode())
    except grpc.RpcError:
        hear_status(call)


CALLS = (unary, large, collect, events, chat, endless, slow, fail, fail_later)
report.asked()
{call.__name__: call for call in CALLS}[options["call"]]()
report.ended()
