"""The backend's part of a WebSocket's opening handshake, on a connection of a scripted backend."""

import re

from websockets.utils import accept_key

from harness.scripted import Peer


def key_of(head: bytes) -> str:
    return re.search(rb"(?i)\r\nsec-websocket-key: *(\S+)", head)[1].decode()


def accepts(peer: Peer, *fields: str, at_once: bytes = b"") -> bytes:
    """Accepts an upgrade, with bytes in the same packet; gives the request's head."""
    head = peer.head()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_key(key_of(head))}",
        *fields,
    ]
    peer.connection.sendall("\r\n".join([*lines, "", ""]).encode() + at_once)
    return head
