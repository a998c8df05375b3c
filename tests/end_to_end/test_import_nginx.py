"""What `import-nginx` makes of a site file behaves as nginx does with the original: the backend sees
the same method, path and fields, and the client gets the same answer."""

from collections.abc import Iterator

import pytest

from harness.imported import Pair, Recorder
from harness.scripted import Scripted

SITE = """
map $http_upgrade $connection_upgrade { default upgrade; '' close; }
upstream named { server BACKEND; keepalive 4; }
server {
    listen 127.0.0.1:PORT;
    set $app http://BACKEND;

    location = /exact { proxy_pass http://BACKEND/other; }
    location /stripped/ { proxy_pass http://BACKEND/; }
    location /replaced { proxy_pass http://BACKEND/v2; }
    location /same/ { proxy_pass http://BACKEND/same/; }
    location ^~ /firm/ { proxy_pass $app; proxy_set_header Host $host; }
    location ~ ^/firm/never { return 418; }
    location /rewritten/ {
        rewrite ^/rewritten/(.*)$ /$1 break;
        proxy_pass http://BACKEND;
        proxy_set_header Host $host;
    }
    location ~ ^/captured/(.*)$ {
        proxy_pass $app/found/$1$is_args$args;
        proxy_set_header Host $host;
    }
    location ~ ^/(v1|openai)/chat {
        proxy_pass $app;
        proxy_set_header Host $host;
        proxy_set_header X-Kind chat;
    }
    location /v1/ { proxy_pass http://BACKEND; proxy_set_header X-Kind v1; }
    location ~ ^/jobs/[^/]+/events$ { proxy_pass http://BACKEND; proxy_set_header X-Kind job; }

    location /headers/ {
        proxy_pass http://BACKEND;
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Scheme $scheme;
        proxy_set_header X-Client "[$remote_addr] {$host}";
        proxy_set_header X-Copied $http_x_original;
        proxy_set_header Authorization "";
        proxy_set_header Connection "";
        add_header X-Frame-Options DENY always;
        add_header Referrer-Policy "no-referrer; \\"quoted\\"" always;
        proxy_hide_header X-Powered-By;
    }
    location /named/ { proxy_pass http://named; }
    location /host/ { proxy_pass http://BACKEND; proxy_set_header Host backend.test; }

    location = /health { default_type text/plain; return 200 "ok\\n"; }
    location = /gone { return 410; }
    location /moved/ { return 301 https://$host$request_uri; }
    location /elsewhere { return 302 http://other.test:8080/landing; }
    location /denied/ { deny all; }
    location /posts/ {
        if ($request_method !~ ^(POST|PUT)$) { return 405; }
        proxy_pass http://BACKEND;
    }
    location /switch/ {
        if ($http_x_mode = maintenance) { return 503; }
        if ($arg_old) { return 302 /new; }
        proxy_pass http://BACKEND;
    }
    location / { proxy_pass http://BACKEND; proxy_set_header Host $host; }
}
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Iterator[Pair]:
    with Scripted(Recorder("a", ["X-Powered-By: tests"])) as backend:
        site = SITE.replace("BACKEND", f"127.0.0.1:{backend.port}")
        with Pair(tmp_path_factory.mktemp("import"), site) as pair:
            yield pair


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/anything/else?a=b&c=%20",
        "/exact",
        "/exact?a=b",
        "/exact/more",
        "/stripped",
        "/stripped?a=b",
        "/stripped/",
        "/stripped/a/b?c=d",
        "/replaced",
        "/replaced/a",
        "/same/a",
        "/firm/x",
        "/firm/never",
        "/rewritten/a/b?c",
        "/captured/a/b?c=d",
        "/v1/chat/completions",
        "/openai/chat",
        "/v1/models",
        "/jobs/17/events",
        "/jobs/17/events/more",
        "/jobs/1/2/events",
        "//v1//models",
        "/v1/../v1/models",
        "/%76%31/models",
    ],
)
def test_paths_lead_to_the_same_backend_path(pair, target):
    pair.expect_same(target)


def test_fields_are_the_same(pair):
    headers = {
        "X-Original": "one",
        "Authorization": "Basic eDp5",
        "Cookie": "a=b",
        "X-Kind": "mine",
    }
    pair.expect_same("/headers/x", headers=headers)
    pair.expect_same("/headers/x")
    pair.expect_same("/named/x", headers=headers)
    pair.expect_same("/host/x", headers=headers)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_methods_are_the_same(pair, method):
    body = b"x" * 100 if method in ("POST", "PUT") else None
    pair.expect_same("/v1/models", method=method, body=body)
    pair.expect_same("/posts/x", method=method, body=body)


@pytest.mark.parametrize(
    "target",
    ["/health", "/gone", "/moved/a?b", "/elsewhere", "/elsewhere/x", "/denied/x"],
)
def test_own_answers_are_the_same(pair, target):
    pair.expect_same(target)


def test_conditions_are_the_same(pair):
    pair.expect_same("/switch/x")
    pair.expect_same("/switch/x", headers={"X-Mode": "maintenance"})
    pair.expect_same("/switch/x", headers={"X-Mode": "other"})


def test_only_what_is_known_to_differ_is_left_out(pair):
    """The report names nothing else, and `check` takes the configuration."""
    assert pair.sidecar.code == 0, pair.sidecar.report
    assert "`sse-sidecar check` takes the configuration" in pair.sidecar.report
