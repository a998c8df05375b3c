"""A single-page application and its API behind one sidecar, in a browser."""

import json
import subprocess
from pathlib import Path

import pytest

from harness.process import HERE, environment, node
from harness.sidecar import Sidecar

pytestmark = [
    pytest.mark.usefixtures("proxied"),
    pytest.mark.parametrize("backend", ["express"], indirect=True),
]


def build(folder: Path) -> Path:
    """The application as Vite builds it, with compressed files beside the others."""
    vite = HERE / "node_modules/vite/bin/vite.js"
    app = HERE / "backends/single_page"
    command = node(vite, "build", app, "--outDir", folder, "--emptyOutDir")
    subprocess.run(
        command, cwd=HERE, env=environment(), timeout=40, check=True, capture_output=True
    )
    return folder


@pytest.fixture
def visit(start, backend, tmp_path) -> dict:
    root = build(tmp_path / "dist")
    routes = f"""
        [[route]]
        path = "/api"
        replace_prefix = "/"
        upstream.url = "{backend.url}"

        [[route]]
        files = {{ root = "{root}", fallback = "index.html" }}
    """
    sidecar = start(Sidecar, backend.url, routes)
    visitor = subprocess.run(
        node(HERE / "clients/single_page.mjs", json.dumps({"url": sidecar.url})),
        cwd=HERE,
        env=environment(),
        stdout=subprocess.PIPE,
        timeout=40,
        check=True,
    )
    return json.loads(visitor.stdout)


def test_it_works_from_every_address(visit):
    for moment, heading in (
        ("first", "/"),
        ("followed", "/users/john.doe"),
        ("reloaded", "/users/john.doe"),
        ("deep", "/users/7"),
    ):
        page = visit[moment]
        assert page["heading"] == heading
        assert page["color"] == "rgb(1, 2, 3)"
        assert page["picture"] == 30
        assert page["late"] == "here all the same"
        assert page["events"] == ["0", "1", "2"]

    sent = {answer["path"]: answer for answer in visit["first"]["sent"]}
    assert sent["/api/events"]["type"].startswith("text/event-stream")
    page = sent["/"]
    assert page["type"] == "text/html; charset=utf-8"
    assert page["coding"] in ("br", "gzip")
    [script] = [path for path in sent if path.startswith("/assets/index") and path.endswith(".js")]
    assert sent[script]["type"] == "text/javascript; charset=utf-8"
    assert sent[script]["coding"] in ("br", "gzip")

    # The same page, wherever it is asked for.
    [reloaded] = [a for a in visit["reloaded"]["sent"] if a["path"] == "/users/john.doe"]
    assert (reloaded["status"], reloaded["tag"]) == (200, page["tag"])

    # What is no page is missed, and the browser says so; nothing else has gone wrong.
    assert visit["missing"] == [404, 404, "failed"]
    assert len(visit["errors"]) == 3, visit["errors"]
    assert all("404" in error for error in visit["errors"]), visit["errors"]
