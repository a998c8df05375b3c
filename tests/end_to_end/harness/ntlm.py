"""NTLM's two messages of a client, without a password: the servers of the tests ask none."""

import struct
from base64 import b64encode

SIGNATURE = b"NTLMSSP\0"
OEM, TARGET, NTLM_KEY = 1 << 1, 1 << 2, 1 << 9
FLAGS = OEM | TARGET | NTLM_KEY
HEADER = 64


def encoded(message: bytes) -> str:
    return b64encode(message).decode()


def negotiate() -> str:
    return encoded(SIGNATURE + struct.pack("<II", 1, FLAGS) + bytes(16))


def authenticate(user: str) -> str:
    """The third leg; the second is the server's."""
    name = user.encode()
    empty = struct.pack("<HHI", 0, 0, HEADER)
    fields = [empty] * 3 + [struct.pack("<HHI", len(name), len(name), HEADER)]
    head = SIGNATURE + struct.pack("<I", 3) + b"".join([*fields, empty, empty])
    return encoded(head + struct.pack("<I", FLAGS) + name)
