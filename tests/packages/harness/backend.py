"""A backend on the port that the installed configuration names, and clients of the sidecar before it."""

import http.client
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread


class Backend:
    """Its streams send one event, and another and their end once `finish` is set."""

    def __init__(self, port: int = 3000):
        self.finish = finish = Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                self.wfile.write(b"data: first\n\n")
                self.wfile.flush()
                if self.path == "/wait":
                    finish.wait(60)
                    self.wfile.write(b"data: last\n\n")

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.thread = Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.finish.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def open_stream(path: str, port: int = 8080) -> http.client.HTTPResponse:
    """A stream through the sidecar of which the first event has been read."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={"Accept": "text/event-stream"})
    response = connection.getresponse()
    assert response.readline() == b"data: first\n"
    assert response.readline() == b"\n"
    return response
