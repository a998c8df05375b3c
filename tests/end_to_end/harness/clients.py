"""The clients: small programs that say, a JSON line at a time, what they hear.

A line is one of
    {"asked": ms}                              just before the request
    {"at": ms, "type": t, "id": i, "data": d}  an event, as the library gave it
    {"left": ms}                               just before it leaves on its own
    {"ended": ms}                              the stream came to its end
    {"failed": text}                           anything else
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from harness.process import HERE, environment, kill_group, node, python

# Each listens to an event stream that it gets with GET.
GENERAL = ["curl", "chromium", "eventsource", "fetch_event_source", "httpx_sse_client"]


@dataclass(frozen=True)
class Event:
    at: float
    type: str
    id: str
    data: str

    @property
    def meaning(self) -> tuple[str, str, str]:
        return self.type, self.id, self.data


@dataclass
class Heard:
    """All that one run of a client heard."""

    asked: float = 0
    events: list[Event] = field(default_factory=list)
    left: float | None = None
    ended: float | None = None

    @property
    def meaning(self) -> list[tuple[str, str, str]]:
        """The events without their time."""
        return [event.meaning for event in self.events]

    def take(self, line: dict[str, Any]) -> None:
        match line:
            case {"asked": at}:
                self.asked = at
            case {"left": at}:
                self.left = at
            case {"ended": at}:
                self.ended = at
            case {"at": at, "type": kind, "id": id_, "data": data}:
                self.events.append(Event(at, kind, id_, data))
            case _:
                raise AssertionError(f"the client failed: {line}")


class Client:
    """A client on its way; `url` and the other options are its program's."""

    def __init__(self, name: str, url: str, **options: Any) -> None:
        script = HERE / "clients" / name
        arguments = json.dumps({"url": url, **options})
        if script.with_suffix(".mjs").exists():
            argv = node(script.with_suffix(".mjs"), arguments)
        else:
            argv = python(script.with_suffix(".py"), arguments)
        self.heard = Heard()
        self._process = subprocess.Popen(
            argv,
            cwd=HERE,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Dismisses the client; one that does not go is killed."""
        self._process.stdin.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            pass
        kill_group(self._process)

    def until_end(self) -> Heard:
        """Listens until the client's program is done."""
        self._process.stdin.close()
        # Not `communicate`, which forgets what was read ahead together with an earlier line.
        for line in self._process.stdout:
            self.heard.take(json.loads(line))
        assert self.heard.ended, f"no end was heard, only {self.heard}"
        return self.heard

    def until_left(self) -> float:
        """Listens until the client leaves; its program goes on living."""
        while self.heard.left is None:
            self._listen()
        return self.heard.left

    def until_heard(self, count: int) -> Heard:
        """Listens until the client has heard so many events."""
        while len(self.heard.events) < count:
            self._listen()
        return self.heard

    def until_data(self, data: object, type: str = "message") -> Event:
        """Listens until the client has heard an event with this data."""
        while True:
            for event in self.heard.events:
                if (event.type, event.data) == (type, str(data)):
                    return event
            self._listen()

    def until_count(self, type: str, count: int) -> None:
        """Listens until the client has heard so many events of this type."""
        while [event.type for event in self.heard.events].count(type) < count:
            self._listen()

    def _listen(self) -> None:
        line = self._process.stdout.readline()
        assert line, f"the client ended too early: {self.heard}"
        self.heard.take(json.loads(line))


def listen(name: str, url: str, **options: Any) -> Heard:
    """Runs a client to the end of its stream."""
    with Client(name, url, **options) as client:
        return client.until_end()


@contextmanager
def leaving(name: str, url: str, after: int = 3, **options: Any) -> Iterator[float]:
    """A client that left after so many events; gives the moment it did.

    Its process lives on, so that it is the library that closed the connection.
    """
    with Client(name, url, leave_after=after, **options) as client:
        yield client.until_left()
