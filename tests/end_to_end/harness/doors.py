"""How a client comes in: HTTP/1.1 or HTTP/2, with TLS or without."""

from dataclasses import dataclass, field
from typing import Any, Self

from harness.certificate import certificate
from harness.process import Server

TLS = {"https", "h2"}
VERSION = {"http": "1.1", "h2c": "2", "https": "1.1", "h2": "2"}
CURL = {
    "http": ["--http1.1"],
    "h2c": ["--http2-prior-knowledge"],
    "https": ["--http1.1"],
    "h2": ["--http2"],
}


@dataclass(frozen=True)
class Door:
    name: str
    url: str
    curl: list[str] = field(default_factory=list)
    """For curl's command line."""
    options: dict[str, Any] = field(default_factory=dict)
    """For the other clients."""

    @classmethod
    def of(cls, server: Server, name: str) -> Self:
        if name not in TLS:
            return cls(name, server.url, CURL[name])
        url = server.url.replace("http", "https")
        authority = str(certificate().authority)
        curl = ["--cacert", authority, *CURL[name]]
        return cls(name, url, curl, {"authority": authority})


def listener(name: str) -> str:
    """The sidecar's settings for such a door."""
    if name not in TLS:
        return ""
    ours = certificate()
    return f'tls.certificate = "{ours.chain}"\ntls.private_key = "{ours.private_key}"\n'


def upstream(server: Server, name: str) -> tuple[str, str]:
    """The sidecar's URL of the backend when it is asked like this, and its settings."""
    url = server.url.replace("http", name)
    if name not in TLS:
        return url, ""
    return url, f'upstream.tls.ca = "{certificate().authority}"\n'
