"""A WSGI application without a framework, which leaves all of HTTP to its server."""

import hashlib
import json
from urllib.parse import parse_qsl

import streams

visits = streams.Visits()


def application(environ, start_response):
    query = dict(parse_qsl(environ["QUERY_STRING"]))

    def answer(status, body, content_type="text/plain", *headers):
        start_response(status, [("Content-Type", content_type), *headers])
        return body

    def stream(steps):
        return answer("200 OK", streams.walk(steps), "text/event-stream")

    def json_of(value):
        return answer("200 OK", [json.dumps(value).encode()], "application/json")

    path = environ["PATH_INFO"]
    # `/upload/1/` is `/upload`: a sidecar may take it another way.
    match "/upload" if path.startswith("/upload/") else path:
        case "/events":
            return stream(streams.events(int(query["n"]), float(query["gap_ms"])))
        case "/endless":
            return stream(visits.endless(query["key"]))
        case "/probe":
            return json_of(visits.probe(query["key"]))
        case "/upload":
            body = uploaded(environ)
            digest = hashlib.sha256(body).hexdigest()
            return json_of({"length": len(body), "sha256": digest})
        case "/page":
            etag = ("ETag", '"page-1"')
            if environ.get("HTTP_IF_NONE_MATCH") == '"page-1"':
                start_response("304 Not Modified", [etag])
                return []
            length = ("Content-Length", str(len(streams.PAGE)))
            body = [streams.PAGE.encode()]
            return answer("200 OK", body, "text/html", length, etag)
        case "/nothing":
            start_response("204 No Content", [])
            return []
        case _:
            return answer("404 Not Found", [b"not here\n"])


def uploaded(environ) -> bytes:
    if environ.get("wsgi.input_terminated"):
        return environ["wsgi.input"].read()
    return environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
