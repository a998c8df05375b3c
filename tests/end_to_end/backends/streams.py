"""What every Python backend here serves, and its memory of who went away.

A stream is written down once, as steps: `bytes` to write, or a `float` of
seconds to wait. The frameworks differ only in who walks through the steps.
"""

import itertools
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

Steps = Iterator[bytes | float]

AWKWARD = Path(__file__).with_name("awkward.sse").read_bytes()
PAGE = "<!doctype html><title>page</title>\n" + "<p>An ordinary page.</p>\n" * 800


def now_ms() -> float:
    return time.time() * 1000


def stamped(n: int) -> bytes:
    """An event that carries its own number and the moment it was written."""
    return f'id: {n}\ndata: {{"n":{n},"sent":{now_ms():.1f}}}\n\n'.encode()


def events(n: int, gap_ms: float) -> Steps:
    """`n` events, evenly spaced."""
    for i in range(n):
        if i:
            yield gap_ms / 1000
        yield stamped(i)


def silence(ms: float) -> Steps:
    """Three silences: between events, inside an event, inside a line."""
    yield b"id: 1\ndata: before\n\n"
    yield ms / 1000
    yield b"data: first half\n"
    yield ms / 1000
    yield b"data: second half\n\ndata: in a "
    yield ms / 1000
    yield b"line\n\n"


def awkward() -> Steps:
    """Every line end and field the format knows, in slices that fit nothing."""
    for at in range(0, len(AWKWARD), 5):
        yield AWKWARD[at : at + 5]
        yield 0.002


class Visits:
    """When each endless stream was opened, and when its client was missed."""

    def __init__(self) -> None:
        self._visits: dict[str, dict[str, float]] = {}

    def endless(self, key: str) -> Steps:
        """An event every 100 ms, until a write fails or the framework says stop."""
        visit = self._visits[key] = {"opened": now_ms()}
        try:
            for n in itertools.count():
                yield stamped(n)
                yield 0.1
        finally:
            visit["aborted"] = now_ms()

    def probe(self, key: str) -> dict[str, float | None]:
        visit = self._visits.get(key, {})
        return {"opened": visit.get("opened"), "aborted": visit.get("aborted")}


def walk(steps: Steps) -> Iterator[bytes]:
    """Walks the steps on a thread (or greenlet) of their own."""
    with closing(steps):
        for step in steps:
            if isinstance(step, float):
                time.sleep(step)
            else:
                yield step
