"""Nobody gets a file that is not in the root, however the path is spelled."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.curl import curl
from harness.sidecar import Sidecar
from harness.wire import converse

pytestmark = [
    pytest.mark.usefixtures("proxied"),
    pytest.mark.parametrize("backend", ["http_server"], indirect=True),
]

SECRET = b"nobody is to read this"
PAGE = b"<!doctype html><title>page</title>"

CLIMBING = [
    "/../secret.txt",
    "/assets/../../secret.txt",
    "/assets/../../../../../../../../etc/passwd",
    "/./../secret.txt",
    "/%2e%2e/secret.txt",
    "/%2E%2E/secret.txt",
    "/.%2e/secret.txt",
    "/%2e./secret.txt",
    "/..%2fsecret.txt",
    "/..%2Fsecret.txt",
    "/%2e%2e%2fsecret.txt",
    "/assets%2f..%2f..%2fsecret.txt",
    "/%252e%252e/secret.txt",
    "/%252e%252e%252fsecret.txt",
    "/..%252fsecret.txt",
    "/%25252e%25252e%25252fsecret.txt",
    "/..%5csecret.txt",
    "/..%255csecret.txt",
    "/%5c..%5csecret.txt",
    "/%5c%5chost%5cshare",
    "/c:%5cwindows%5cwin.ini",
    "/assets/..%00/secret.txt",
    "/index.html%00.png",
    "/%00",
    "/..%c0%afsecret.txt",
    "/%c0%ae%c0%ae/secret.txt",
    "/%uff0e%uff0e/secret.txt",
    "/..;/secret.txt",
    "/....//secret.txt",
    "/..%0asecret.txt",
    "//etc/passwd",
    "///etc/passwd",
    "/%2fetc%2fpasswd",
    "/%2f%2fetc/passwd",
    "/.env",
    "/%2eenv",
    "/%252eenv",
    "/assets/.git/config",
    "/.git/HEAD",
    "/..data/mounted.txt",
    "/out.txt",
    "/out-absolute.txt",
    "/folder-out/secret.txt",
    "/folder-out/",
    "/there-and-back.txt",
    "/root/etc/passwd",
    "/cwd/secret.txt",
    "/fifo",
    "/socket",
]

# What curl does not send.
RAW = [
    "/..\\secret.txt",
    "/..\\..\\..\\etc\\passwd",
    "\\..\\secret.txt",
    "/assets\\..\\..\\secret.txt",
    "../secret.txt",
    "http://t/../secret.txt",
    "http://t/%2e%2e/secret.txt",
    "/..\u00afsecret.txt",
    "/..?/secret.txt",
    "/..#/secret.txt",
]


@pytest.fixture
def sidecar(start, backend, tmp_path) -> Iterator[Sidecar]:
    """Files, with a fallback, and beside the root what is none of them."""
    root = tmp_path / "root"
    (root / "assets/.git").mkdir(parents=True)
    (root / ".git").mkdir()
    (tmp_path / "secret.txt").write_bytes(SECRET)
    (root / "index.html").write_bytes(PAGE)
    for hidden in (".env", "assets/.git/config", ".git/HEAD"):
        (root / hidden).write_bytes(SECRET)
    mounted(root)
    leading_out(root, tmp_path / "secret.txt")
    route = f'files = {{ root = "{root}", fallback = "index.html" }}'
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket"))
        yield start(Sidecar, backend.url, f"[[route]]\n{route}")


def mounted(root: Path) -> None:
    """A file as Kubernetes mounts it from a ConfigMap."""
    (root / "..2026_11_28").mkdir()
    (root / "..2026_11_28/mounted.txt").write_bytes(b"mounted")
    (root / "..data").symlink_to("..2026_11_28")
    (root / "mounted.txt").symlink_to("..data/mounted.txt")


def leading_out(root: Path, secret: Path) -> None:
    (root / "out.txt").symlink_to("../secret.txt")
    (root / "out-absolute.txt").symlink_to(secret)
    (root / "folder-out").symlink_to("..")
    (root / "there-and-back.txt").symlink_to("../root/mounted.txt")
    (root / "root").symlink_to("/proc/self/root")
    (root / "cwd").symlink_to("/proc/self/cwd")
    os.mkfifo(root / "fifo")


def test_no_spelling_leads_out(sidecar):
    # It works, so what follows is worth something.
    assert curl(f"{sidecar.url}/mounted.txt").body == b"mounted"
    assert curl(f"{sidecar.url}/users/7").body == PAGE
    got = {}
    ways = (("--http1.1", "*/*"), ("--http2-prior-knowledge", "text/html"))
    for path in CLIMBING:
        for version, accept in ways:
            options = (version, "--path-as-is", "--header", f"Accept: {accept}")
            run = curl(*options, f"{sidecar.url}{path}")
            got[path, version] = run.status, SECRET in run.body
    assert {key: what for key, what in got.items() if what != (404, False)} == {}


def test_no_bytes_lead_out(sidecar):
    got = {}
    for target in CLIMBING + RAW:
        head = f"GET {target} HTTP/1.1\r\nHost: t\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
        answer = converse(sidecar.port, head.encode())
        assert SECRET not in answer, target
        assert b"root:" not in answer, target
        got[target] = answer.split(b" ", 2)[1]
    refused = {target: status for target, status in got.items() if status != b"404"}
    # What is no target at all never comes so far.
    assert all(status == b"400" for status in refused.values()), refused
    assert set(refused) <= {"\\..\\secret.txt", "../secret.txt", "/..#/secret.txt"}
