"""A backend that says its name: one of several. Arguments: address, port, name."""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ADDRESS, PORT, NAME = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
GAP_S = 0.05


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/events":
            return self.events()
        self.answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer()

    def answer(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(NAME)))
        self.end_headers()
        self.wfile.write(NAME)

    def events(self) -> None:
        """Numbered from 0 on, for ever."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("X-Name", NAME.decode())
        self.send_header("Connection", "close")
        self.end_headers()
        number = 0
        while True:
            self.wfile.write(b"data: %d\n\n" % number)
            number += 1
            time.sleep(GAP_S)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass  # a client has left


Server((ADDRESS, PORT), Handler).serve_forever()
