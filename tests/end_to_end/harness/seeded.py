"""Event streams of which both ends know every byte: all that is in one follows from its seed."""

import random
import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

HEARTBEAT = b": heartbeat\n"
FAULTS = ("fin", "reset", "hang", "garbage")


def event(seed: str, number: int) -> bytes:
    """Long or short, with line ends of each kind."""
    dice = random.Random(f"{seed}/{number}")
    length = dice.choice((1, 20, 100, 100, 1000, 9000))
    end = dice.choice(("\n", "\r\n", "\r"))
    text = (f"{seed}.{number}." * length)[:length]
    return f"id: {number}{end}data: {text}{end}{end}".encode()


def events(seed: str, count: int) -> Iterator[bytes]:
    return (event(seed, number) for number in range(count))


def body(seed: str, count: int) -> bytes:
    return b"".join(events(seed, count))


def target(
    seed: str, count: int, gap_ms: int = 20, fault: str = "none", at: int = -1
) -> str:
    """Where the backend has it: with this fault after so many bytes; -1 is before the head."""
    query = {"seed": seed, "count": count, "gap_ms": gap_ms, "fault": fault, "at": at}
    return f"/seeded?{urlencode(query)}"


def asked(path: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}


def without_heartbeats(body: bytes) -> bytes:
    return body.replace(HEARTBEAT, b"")


def is_at_boundary(body: bytes) -> bool:
    """Whether nothing of an unfinished event is at the end."""
    return not body or re.split(rb"\r\n|\n|\r", body[-9:])[-2:] == [b"", b""]
