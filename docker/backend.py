"""A backend that does everything wrong that an event stream can bear: HTTP/1.0, gzip,
long silences, and not a header for the proxies on the way."""

import gzip
import io
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EVENTS, GAP, SILENCE = 10, 0.5, 20


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        coded = io.BytesIO()
        offered = "gzip" in self.headers.get("Accept-Encoding", "")
        gzipped = gzip.GzipFile(fileobj=coded, mode="wb") if offered else None
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        if gzipped:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        sent = 0
        try:
            while True:
                sent += 1
                event = f"data: event {sent} of {time.strftime('%X')}\n\n".encode()
                if gzipped:
                    gzipped.write(event)
                    gzipped.flush()
                    event = coded.getvalue()
                    coded.seek(0)
                    coded.truncate()
                self.wfile.write(event)
                time.sleep(GAP if sent % EVENTS else SILENCE)
        except ConnectionError:
            self.close_connection = True
            self.log_message("the reader had left when event %d was sent", sent)


port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
ThreadingHTTPServer(("", port), Handler).serve_forever()
