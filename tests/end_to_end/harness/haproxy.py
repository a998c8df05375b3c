"""An HAProxy of its own, as Debian ships it, that speaks HTTP/2 to the server behind it."""

from pathlib import Path

from harness.ports import free_port
from harness.process import Server, tied_to_us

CONFIG = """
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout tunnel 30s

frontend in
    bind 127.0.0.1:{port}
    default_backend behind

backend behind
    server only 127.0.0.1:{behind} proto h2
"""


class HaProxy(Server):
    def __init__(self, folder: Path, behind: str) -> None:
        port = free_port()
        config = folder / "haproxy.cfg"
        config.write_text(CONFIG.format(port=port, behind=behind))
        argv = tied_to_us("/usr/sbin/haproxy", "-db", "-f", config)
        super().__init__("haproxy", argv, port, folder / "log")
