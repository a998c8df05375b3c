"""A backend of the old school: HTTP/1.0, the end of the body is the end of the
connection. Usage: http_server.py PORT
"""

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import streams

ETAG = '"page-1"'
visits = streams.Visits()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        match url.path:
            case "/events":
                self.stream(streams.events(int(query["n"]), float(query["gap_ms"])))
            case "/silence":
                self.stream(streams.silence(float(query["ms"])))
            case "/awkward":
                self.stream(streams.awkward())
            case "/endless":
                self.stream(visits.endless(query["key"]))
            case "/probe":
                body = json.dumps(visits.probe(query["key"])).encode()
                self.answer("application/json", [body])
            case "/page":
                self.page()
            case "/nothing":
                self.send_response(204)
                self.end_headers()
            case _:
                self.send_error(404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        digest = hashlib.sha256(body).hexdigest()
        echo = json.dumps({"length": len(body), "sha256": digest}).encode()
        self.answer("application/json", [echo])

    def page(self) -> None:
        if self.headers["If-None-Match"] == ETAG:
            self.send_response(304)
            self.end_headers()
        else:
            self.answer("text/html", [streams.PAGE.encode()], etag=ETAG)

    def stream(self, steps: streams.Steps) -> None:
        self.answer("text/event-stream;charset=UTF-8", streams.walk(steps))

    def answer(self, content_type, chunks, etag=None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        try:
            for chunk in chunks:
                self.wfile.write(chunk)
        except ConnectionError:
            self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
