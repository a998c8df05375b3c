"""Event streams as the HTML standard reads them, the obvious way."""

import re
from typing import NamedTuple

LINE = re.compile(rb"([^\r\n]*)(?:\r\n|\n|\r)")


class Event(NamedTuple):
    type: str
    data: str
    id: str
    """The last one that was seen, of this event or of one before it."""


def parse(stream: bytes) -> list[Event]:
    """The events of a stream, or of what has come of it."""
    events, last_id = [], ""
    kind, data = "", []
    # A line that has not ended yet would be looked for from each of its bytes on.
    whole = max(stream.rfind(b"\r"), stream.rfind(b"\n")) + 1
    for line in LINE.finditer(stream[:whole].removeprefix(b"\xef\xbb\xbf")):
        text = line[1].decode("utf-8", "replace")
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "" if not text:
                if data:
                    events.append(Event(kind or "message", "\n".join(data), last_id))
                kind, data = "", []
            case "event":
                kind = value
            case "data":
                data.append(value)
            case "id" if "\0" not in value:
                last_id = value
    return events
