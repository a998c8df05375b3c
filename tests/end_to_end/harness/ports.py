"""Ports to listen on."""

import random
import socket

# Below the range from which the kernel takes the ports of outgoing connections:
# between our look at a port and a server's bind, no connection can take it.
FIRST, LAST = 10_000, 32_000


def free_port() -> int:
    while True:
        port = random.randrange(FIRST, LAST)
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def listening(port: int) -> bool:
    with socket.socket() as connection:
        connection.settimeout(1)
        return connection.connect_ex(("127.0.0.1", port)) == 0
