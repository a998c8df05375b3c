"""A gRPC server without generated code: messages are bytes. Usage: grpc_python.py PORT SOCKET"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

import streams

visits: dict[str, dict] = {}


def visited(request: bytes, context: grpc.ServicerContext) -> dict:
    visit = visits[request.decode()] = {"opened": streams.now_ms(), "aborted": None}
    context.add_callback(lambda: visit.update(aborted=streams.now_ms()))
    return visit


def unary(request: bytes, context: grpc.ServicerContext) -> bytes:
    """Its answer is its request; so is the metadata's, before and after."""
    said = dict(context.invocation_metadata())
    context.send_initial_metadata([("x-initial", said.get("x-word", ""))])
    context.set_trailing_metadata([("x-trailing-bin", said.get("x-bytes-bin", b""))])
    return request


def collect(requests, _context) -> bytes:
    return b" ".join(requests)


def events(request: bytes, _context):
    count, gap_ms = json.loads(request)
    for n in range(count):
        if n > 0:
            time.sleep(gap_ms / 1000)
        yield json.dumps({"n": n, "sent": streams.now_ms()}).encode()


def chat(requests, _context):
    for request in requests:
        yield b"you said " + request


def endless(request: bytes, context: grpc.ServicerContext):
    """Until the client is missed."""
    visit = visited(request, context)
    yield b"opened"
    while visit["aborted"] is None:
        time.sleep(0.1)
        yield b"more"


def slow(request: bytes, context: grpc.ServicerContext) -> bytes:
    """Answers only when nobody waits for it any more."""
    visit = visited(request, context)
    while visit["aborted"] is None:
        time.sleep(0.01)
    return b"too late"


def fail(_request: bytes, context: grpc.ServicerContext) -> bytes:
    context.set_trailing_metadata([("x-reason", "of the test")])
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "grüße: 100 %")


def fail_later(_request: bytes, context: grpc.ServicerContext):
    yield b"one"
    context.abort(grpc.StatusCode.DATA_LOSS, "in the middle")


def probe(request: bytes, _context) -> bytes:
    visit = visits.get(request.decode(), {"opened": None, "aborted": None})
    return json.dumps(visit).encode()


METHODS = {
    grpc.unary_unary_rpc_method_handler: (unary, slow, fail, probe),
    grpc.stream_unary_rpc_method_handler: (collect,),
    grpc.unary_stream_rpc_method_handler: (events, endless, fail_later),
    grpc.stream_stream_rpc_method_handler: (chat,),
}
handlers = {
    method.__name__: handler(method)
    for handler, methods in METHODS.items()
    for method in methods
}
server = grpc.server(
    ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", -1)]
)
service = grpc.method_handlers_generic_handler("test.Service", handlers)
server.add_generic_rpc_handlers([service])
port, socket = sys.argv[1:]
assert server.add_insecure_port(f"127.0.0.1:{port}")
assert server.add_insecure_port(f"unix:{socket}")
server.start()
server.wait_for_termination()
