"""The puppet of the MCP servers: a tool that does what the test says."""

from urllib.request import Request, urlopen

from harness.backends import Backend
from harness.waiting import wait_for


class Puppet:
    """The call of the client that named the key."""

    def __init__(self, backend: Backend, key: str) -> None:
        self._backend = backend
        self._key = key
        self.port = backend.port

    def say(self, number: int) -> None:
        """Reports progress of the call."""
        self._do(f"say?number={number}&")

    def announce(self, number: int) -> None:
        """Tells the session something that belongs to no call."""
        self._do(f"announce?number={number}&")

    def finish(self) -> None:
        self._do("finish?")

    def _do(self, what: str) -> None:
        url = f"{self._backend.url}/{what}key={self._key}"
        urlopen(Request(url, method="POST"), timeout=10).close()

    def wait_opened(self) -> None:
        self._backend.wait_opened(self._key)

    def wait_listening(self, streams: int = 1) -> None:
        """Until so many streams are open that belong to no call."""
        what = f"{streams} streams are listening to {self._backend.name}"
        wait_for(lambda: self._probe()["listening"] == streams, what)

    def is_served(self) -> bool:
        """Nobody has hung up so far, neither on the call nor on the session."""
        seen = self._probe()
        return seen["aborted"] is None and seen["listening"] == 1

    def wait_done(self) -> None:
        wait_for(lambda: self._probe()["done"], f"{self._backend.name} has answered")

    def wait_cancelled(self) -> float:
        return wait_for(
            lambda: self._probe()["cancelled"], f"{self._backend.name} is told to stop"
        )

    def wait_lost(self) -> float:
        return self._backend.wait_aborted(self._key)

    def _probe(self) -> dict[str, float | None]:
        return self._backend.probe(self._key)
