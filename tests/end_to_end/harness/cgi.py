"""Servers of files, and of CGI scripts in their `cgi-bin`."""

import shutil
from pathlib import Path

from harness.backends import FOLDER, Backend
from harness.process import tied_to_us

PAGE = "<!doctype html><title>page</title>\n" + "<p>An ordinary page.</p>\n" * 800
NPH = "/cgi-bin/nph-app"
"""The script, under the name by which it is known to write the status line itself."""


def site(folder: Path) -> Path:
    """A folder with a page, and with the script under both of its names."""
    root = folder / "site"
    scripts = root / "cgi-bin"
    scripts.mkdir(parents=True)
    (root / "page").write_text(PAGE)
    for name in ("app", "nph-app"):
        shutil.copy(FOLDER / "cgi/app", scripts / name)
    return root


class Cgi(Backend):
    def route(self, path: str) -> str:
        return path if path == "/page" else f"/cgi-bin/app{path}"


class Busybox(Cgi):
    def command(self, name: str, port: int, folder: Path) -> list[str]:
        server = ("busybox", "httpd", "-f", "-p", f"127.0.0.1:{port}")
        return tied_to_us(*server, "-h", site(folder))
