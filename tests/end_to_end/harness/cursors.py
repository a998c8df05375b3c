"""The cursors that the sidecar writes into streams that it keeps."""

import re

TOKEN = r"_[gp][A-Za-z0-9_-]{16}"
CURSOR = re.compile(rf"{TOKEN}\.[0-9a-z]+")
_LINE = re.compile(rf"(?<=[\r\n])id: {TOKEN}\.[0-9a-z]+(?:\r\n|\r|\n)".encode())
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def without(stream: bytes) -> bytes:
    """What the backend has sent, if the sidecar has inserted nothing but cursors."""
    return _LINE.sub(b"", stream)


def is_in(text: bytes) -> bool:
    return bool(re.search(TOKEN.encode(), text))


def sequence(cursor: str) -> int:
    return int(cursor.partition(".")[2], 36)


def token(cursor: str) -> str:
    return cursor.partition(".")[0]


def at(cursor: str, number: int) -> str:
    """The cursor of another event of the same stream."""
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return f"{token(cursor)}.{digits or '0'}"


def unknown(kind: str = "g") -> str:
    """A cursor of no stream that ever was, and right in its form."""
    return f"_{kind}AAAABBBBCCCCDDDD.a"
