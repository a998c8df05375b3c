"""A backend of the old school: HTTP/1.0, the end of the body is the end of the
connection. Usage: http_server.py PORT
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import streams

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
                self.answer("text/html", [streams.PAGE.encode()])
            case _:
                self.send_error(404)

    def stream(self, steps: streams.Steps) -> None:
        self.answer("text/event-stream;charset=UTF-8", streams.walk(steps))

    def answer(self, content_type, chunks) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
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
