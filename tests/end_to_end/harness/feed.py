"""A backend of event streams in this process: a test says what each request is answered, and when."""

import socket
from contextlib import suppress

from harness.scripted import Peer, Scripted
from harness.waiting import wait_for
from harness.wire import now_ms

PAGE = b"<!doctype html><title>a page</title>"
STREAM = "Content-Type: text/event-stream"


def event(number: int) -> bytes:
    return b"data: %d\n\n" % number


class Asked:
    """One request, and the answer to it."""

    def __init__(self, peer: Peer, head: bytes, body: bytes) -> None:
        line, *fields = head.decode("latin-1").split("\r\n")
        self.head, self.body = head, body
        self.method, self.target, _ = line.split(" ")
        split = (field.partition(":") for field in fields)
        self.fields = {name.lower(): value.strip() for name, _, value in split}
        self.left: float | None = None
        """When the other side went, in ms, before the answer was complete."""
        self._connection = peer.connection
        self._complete = False

    def begin(self, *fields: str, status: str = "200 OK", kind: str = STREAM) -> None:
        """The head, after which come chunks."""
        lines = [f"HTTP/1.1 {status}", "Transfer-Encoding: chunked", kind, *fields]
        self._connection.sendall("\r\n".join([*lines, "", ""]).encode())

    def write(self, data: bytes) -> None:
        self._connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def events(self, first: int, last: int) -> None:
        """Events with these numbers, each in a write of its own."""
        for number in range(first, last + 1):
            self.write(event(number))

    def end(self) -> None:
        """Cleanly."""
        self._complete = True
        self._connection.sendall(b"0\r\n\r\n")

    def abort(self) -> None:
        """The end of the connection, with the answer incomplete."""
        self._complete = True
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def refuse(self, status: str) -> None:
        """Answers with an error."""
        self._complete = True
        head = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"
        self._connection.sendall(head.encode())

    def gone(self) -> None:
        if not self._complete:
            self.left = now_ms()

    def wait_left(self, seconds: float = 10) -> float:
        what = f"the backend misses the client of {self.method} {self.target}"
        return wait_for(lambda: self.left, what, seconds)


class Feed(Scripted):
    """Keeps every request for the test, but for those of a page and its preflights.

    A preflight allows each origin or none, with the names in `allowed` and no others.
    """

    allowed = "content-type"
    allows_origins = True
    refuses: str | None = None
    """The status of all answers, if the test does not give them."""

    def __init__(self) -> None:
        self._asked: list[Asked] = []
        self.preflights: list[Asked] = []
        super().__init__(self._serve_requests)

    @property
    def count(self) -> int:
        return len(self._asked)

    @property
    def received(self) -> bytes:
        """All heads and bodies of requests, one after the other."""
        return b"\r\n".join(
            part
            for asked in (*self._asked, *self.preflights)
            for part in (asked.head, asked.body)
        )

    def request(self, number: int) -> Asked:
        """The request of this number, from 1 on, as soon as it has come."""
        # A browser may have to be started first.
        what = f"request {number} comes to the backend"
        wait_for(lambda: self.count >= number, what, seconds=20)
        return self._asked[number - 1]

    def _serve_requests(self, peer: Peer) -> None:
        asked = None
        try:
            while head := peer.head():
                asked = Asked(peer, head, peer.body(head))
                self._take(asked, peer)
        finally:
            if asked:
                asked.gone()

    def _take(self, asked: Asked, peer: Peer) -> None:
        if asked.method == "OPTIONS":
            self.preflights.append(asked)
            allowing = [
                f"Access-Control-Allow-Origin: {asked.fields['origin']}",
                f"Access-Control-Allow-Headers: {self.allowed}",
                "Access-Control-Allow-Methods: GET, POST, DELETE",
            ]
            peer.answer(b"", *(allowing if self.allows_origins else []))
        elif asked.target in ("/page", "/favicon.ico"):
            peer.answer(PAGE, "Content-Type: text/html")
        else:
            self._asked.append(asked)
            if self.refuses:
                asked.refuse(self.refuses)
            return
        asked._complete = True
