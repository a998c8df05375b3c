"""Whole kinds of sites, imported and beside a real nginx: names, pages of other origins, files."""

from contextlib import ExitStack

import pytest

from harness.imported import Pair, Recorder
from harness.scripted import Scripted

NAMES = """
server {
    listen 127.0.0.1:PORT;
    server_name b.test *.b.test;
    location / { proxy_pass http://B; proxy_set_header Host $host; }
}
server {
    listen 127.0.0.1:PORT;
    server_name x.b.test;
    location /api { proxy_pass http://A; proxy_set_header Host $host; }
}
server {
    listen 127.0.0.1:PORT default_server;
    server_name fallback.test;
    location / { proxy_pass http://A; }
}
server {
    listen 127.0.0.1:PORT;
    server_name old.test;
    return 301 $scheme://b.test$request_uri;
}
"""

ORIGINS = """
map $http_origin $allowed {
    default "";
    "https://a.test" $http_origin;
    "https://b.test" $http_origin;
}
server {
    listen 127.0.0.1:PORT;
    location /listed/ {
        if ($request_method = OPTIONS) {
            add_header Access-Control-Allow-Origin $allowed;
            add_header Access-Control-Allow-Credentials true;
            add_header Access-Control-Allow-Methods "GET, POST, OPTIONS";
            add_header Access-Control-Allow-Headers "Authorization, Last-Event-ID";
            add_header Access-Control-Max-Age 600;
            return 204;
        }
        add_header Access-Control-Allow-Origin $allowed always;
        add_header Access-Control-Allow-Credentials true always;
        proxy_pass http://A;
    }
    location /all/ {
        if ($request_method = OPTIONS) {
            add_header Access-Control-Allow-Origin *;
            return 204;
        }
        add_header Access-Control-Allow-Origin *;
        proxy_pass http://A;
    }
}
"""

FILES = """
server {
    listen 127.0.0.1:PORT;
    root ROOT;
    location / { try_files $uri $uri/ /index.html; }
    location /plain/ { }
    location /assets/ { alias ROOT/files/; add_header Cache-Control public always; }
    location = /files/a.txt { alias ROOT/files/a.txt; }
    location ^~ /.well-known/acme-challenge/ { root ROOT/acme; }
    location ~ /\\. { deny all; }
}
"""


def pages(root) -> None:
    for name, text in {
        "index.html": "<p>index</p>",
        "page.html": "<p>page</p>",
        "folder/index.html": "<p>folder</p>",
        "plain/x.css": "p {}",
        "plain/.secret": "no",
        ".env": "no",
        "files/a.txt": "a",
        "acme/.well-known/acme-challenge/token": "proof",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def pair(tmp_path, request):
    """The site that the test's parameter is."""
    with ExitStack() as stack:
        backends = {n: Recorder(n.lower()) for n in "AB"}
        site = request.param
        # The workers of an nginx that root starts are somebody else.
        for folder in (tmp_path, *tmp_path.parents[:3]):
            folder.chmod(0o755)
        if "ROOT" in site:
            pages(tmp_path)
            site = site.replace("ROOT", str(tmp_path))
        for name, recorder in backends.items():
            backend = stack.enter_context(Scripted(recorder))
            site = site.replace(f"http://{name};", f"http://127.0.0.1:{backend.port};")
        servers = tmp_path / "servers"
        servers.mkdir(mode=0o755)
        yield stack.enter_context(Pair(servers, site))


@pytest.mark.parametrize("pair", [NAMES], indirect=True)
def test_each_name_has_the_routes_of_its_server(pair):
    for host in (
        "b.test",
        "B.test",
        "a.b.test",
        "y.x.b.test",
        "x.b.test",
        "fallback.test",
        "unknown.test",
        "old.test",
    ):
        for target in ("/none", "/api/x"):
            pair.expect_same(target, headers={"Host": host})


def preflight(answer) -> dict[str, str | set[str] | None]:
    """What a browser reads of a preflight's answer."""
    prefix = "Access-Control-Allow-"
    listed = answer.headers[prefix + "Methods"] or ""
    return {
        "ok": 200 <= answer.status < 300,
        "origin": answer.headers[prefix + "Origin"],
        "credentials": answer.headers[prefix + "Credentials"],
        "methods": {name.strip() for name in listed.split(",")} - {"OPTIONS", ""},
        "age": answer.headers["Access-Control-Max-Age"],
    }


@pytest.mark.parametrize("pair", [ORIGINS], indirect=True)
def test_pages_of_listed_origins_may_read(pair):
    asks = {"Access-Control-Request-Method": "GET"}
    for origin in ("https://a.test", "https://b.test"):
        headers = {"Origin": origin}
        nginx, sidecar = pair.answers("/listed/x", "OPTIONS", headers | asks)
        assert preflight(sidecar) == preflight(nginx)
        nginx, sidecar = pair.answers("/listed/x", headers=headers)
        for name in ("Origin", "Credentials"):
            name = f"Access-Control-Allow-{name}"
            assert sidecar.headers[name] == nginx.headers[name]
            assert nginx.headers[name]
    nginx, sidecar = pair.answers("/all/x", headers={"Origin": "https://any.test"})
    name = "Access-Control-Allow-Origin"
    assert sidecar.headers[name] == nginx.headers[name] == "*"


@pytest.mark.parametrize("pair", [ORIGINS], indirect=True)
def test_pages_of_other_origins_may_not(pair):
    asks = {"Access-Control-Request-Method": "GET", "Origin": "https://evil.test"}
    for method in ("OPTIONS", "GET"):
        for answer in pair.answers("/listed/x", method, asks):
            assert answer.headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize("pair", [FILES], indirect=True)
def test_files_are_the_same(pair):
    for target in (
        "/",
        "/index.html",
        "/page.html",
        "/folder/",
        "/no/such/page",
        "/plain/x.css",
        "/plain/none.css",
        "/assets/a.txt",
        "/assets/none.txt",
        "/files/a.txt",
        "/.well-known/acme-challenge/token",
        "/.well-known/acme-challenge/none",
    ):
        nginx, sidecar = pair.answers(target)
        assert sidecar.status == nginx.status, target
        if nginx.status == 200:
            assert sidecar.body == nginx.body, target
            types = [a.headers.get_content_type() for a in (nginx, sidecar)]
            # This nginx has no table of types.
            assert types[0] in ("text/plain", "text/html", types[1]), target
            caching = "Cache-Control"
            assert sidecar.headers[caching] == nginx.headers[caching], target


@pytest.mark.parametrize("pair", [FILES], indirect=True)
def test_what_has_a_dot_is_served_by_neither(pair):
    for target in ("/.env", "/plain/.secret", "/%2eenv", "/assets/../.env"):
        for answer in pair.answers(target):
            assert answer.body not in (b"no", b"no\n"), target
    assert pair.sidecar.code == 0, pair.sidecar.report
