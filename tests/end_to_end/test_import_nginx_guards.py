"""What decides who may call, imported and beside a real nginx: the same requests are refused."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.imported import Pair, Recorder
from harness.scripted import Scripted

# ann, with the password "right": bcrypt of cost 5.
USERS = "ann:$2b$05$bvIG6Nmid91Mu9RcmmWZfOuFkcO0w/i0jOE/4xVMaX5MfJNES4OVm\n"
ANN = {"Authorization": "Basic YW5uOnJpZ2h0"}
WRONG = {"Authorization": "Basic YW5uOndyb25n"}

SITE = """
limit_req_zone $binary_remote_addr zone=slow:1m rate=1r/m;
server {
    listen 127.0.0.1:PORT;
    limit_req_status 429;
    location /mine/ { allow 127.0.0.0/8; deny all; proxy_pass http://BACKEND; }
    location /others/ { allow 192.0.2.0/24; deny all; proxy_pass http://BACKEND; }
    location /not-mine/ { deny 127.0.0.1; proxy_pass http://BACKEND; }
    location /small/ { client_max_body_size 1k; proxy_pass http://BACKEND; }
    location /slow/ { limit_req zone=slow burst=2 nodelay; proxy_pass http://BACKEND; }
    location /asked/ {
        auth_request /verify;
        auth_request_set $user $upstream_http_x_user;
        proxy_set_header X-User $user;
        proxy_pass http://BACKEND;
    }
    location = /verify {
        internal;
        proxy_pass http://VERIFIER/decide;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
    }
    location / { proxy_pass http://BACKEND; }
}
"""


def verify(peer) -> None:
    """Lets through whoever knows the word, and says who that is."""
    while head := peer.head():
        knows = b"x-word: sesame" in head.lower()
        status = "204 No Content" if knows else "403 Forbidden"
        peer.answer(b"", "X-User: ann", status=status)


@pytest.fixture
def pair(tmp_path: Path):
    with ExitStack() as stack:
        backend = stack.enter_context(Scripted(Recorder()))
        verifier = stack.enter_context(Scripted(verify))
        site = SITE.replace("BACKEND", f"127.0.0.1:{backend.port}")
        site = site.replace("VERIFIER", f"127.0.0.1:{verifier.port}")
        yield stack.enter_context(Pair(tmp_path, site))


def test_addresses(pair):
    for target in ("/mine/x", "/others/x", "/not-mine/x", "/others", "//others/x"):
        pair.expect_same(target)
    assert pair.sidecar.code == 0, pair.sidecar.report


def test_bodies(pair):
    for length in (10, 1024, 1025, 100_000):
        pair.expect_same("/small/x", method="POST", body=b"x" * length)


def test_rates(pair):
    statuses = [pair.answers("/slow/x") for _ in range(5)]
    nginx, sidecar = ([a.status for a in answers] for answers in zip(*statuses))
    assert sidecar == nginx == [200, 200, 200, 429, 429]


def test_a_service_that_decides(pair):
    forged = {"X-User": "root"}
    pair.expect_same("/asked/x", headers=forged)
    pair.expect_same("/asked/x", headers=forged | {"X-Word": "sesame"})
    pair.expect_same("/verify")


def test_passwords(tmp_path):
    users = tmp_path / "users"
    users.write_text(USERS)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(
            0o755
        )  # the workers of an nginx that root starts are somebody else
    site = """
    server {
        listen 127.0.0.1:PORT;
        auth_basic "Members";
        auth_basic_user_file USERS;
        location / { proxy_pass http://BACKEND; }
        location /open/ { auth_basic off; proxy_pass http://BACKEND; }
    }
    """
    servers = tmp_path / "servers"
    servers.mkdir()
    with Scripted(Recorder()) as backend:
        site = site.replace("BACKEND", f"127.0.0.1:{backend.port}")
        with Pair(servers, site.replace("USERS", str(users))) as pair:
            for headers in (None, ANN, WRONG):
                pair.expect_same("/x", headers=headers)
                pair.expect_same("/open/x", headers=headers)
            for answer in pair.answers("/x", headers=ANN):
                assert answer.status == 200
