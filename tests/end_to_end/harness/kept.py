"""What the tests of kept streams have in common."""

import json
from typing import Any

from harness.clients import Heard
from harness.sidecar import Sidecar
from harness.waiting import wait_for

GRACE = 'resume.grace = "30s"\n'


def numbers(first: int, last: int) -> list[str]:
    """The data of such events of a `Feed`."""
    return [str(number) for number in range(first, last + 1)]


def messages(heard: Heard) -> list[str]:
    """The data of all messages, without what a client says of its connections."""
    return [event.data for event in heard.events if event.type == "message"]


def resumes(sidecar: Sidecar, result: str) -> int:
    return sidecar.count(f'resumes_total{{result="{result}"}}')


def lines(sidecar: Sidecar, message: str) -> list[dict[str, Any]]:
    """The lines of its log with this message."""
    parsed = [
        json.loads(line) for line in sidecar.log().splitlines() if line[:1] == "{"
    ]
    return [line for line in parsed if line["message"] == message]


def wait_line(sidecar: Sidecar, message: str, **fields: Any) -> dict[str, Any]:
    """The first line with this message that has these fields."""

    def look() -> dict[str, Any] | None:
        for line in lines(sidecar, message):
            if fields.items() <= line.items():
                return line
        return None

    return wait_for(look, f"the log says `{message}` with {fields}")


def wait_end(sidecar: Sidecar, reason: str) -> None:
    """Until a stream has ended like this, whether somebody read it or not."""

    def look() -> bool:
        ends = lines(sidecar, "stream ended") + lines(sidecar, "detached stream ended")
        return any(end["reason"] == reason for end in ends)

    wait_for(look, f"a stream ends with {reason}")


def wait_detached(sidecar: Sidecar, count: int = 1) -> None:
    """Until so many streams have nobody who reads them."""
    what = f"{count} streams are detached"
    wait_for(lambda: sidecar.count("streams_detached") == count, what)
