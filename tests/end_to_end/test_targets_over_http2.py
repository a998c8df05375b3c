"""What is asked for over HTTP/2 reaches the backend as it would over HTTP/1.1."""

import json
from collections.abc import Iterator

import pytest

from harness.frames import Connection, request
from harness.sidecar import Sidecar

pytestmark = [
    pytest.mark.parametrize("backend", ["files"], indirect=True),
    pytest.mark.usefixtures("proxied"),
]

AS_THEY_ARE = ["/a/../b/./c//d", "/%2e%2e/%2F?x=%zz", "/?", "/;v=1?a?b", "/a|b^{}\\"]


@pytest.fixture
def http(start, backend) -> Iterator[Connection]:
    with Connection(start(Sidecar, backend.url).port) as http:
        yield http


def asked(http: Connection, target: str) -> tuple[int | None, bytes]:
    heard = http.until_over(http.headers(request(target)))
    return heard.status, bytes(heard.body)


@pytest.mark.parametrize("target", AS_THEY_ARE)
def test_a_target_passes_as_it_is(http, target):
    status, body = asked(http, target)
    assert status == 200
    assert json_target(body) == target


@pytest.mark.parametrize("target", ["/a#b", "/a?b#c"])
def test_a_limit_a_fragment_is_left_out(http, target):
    """The h2 crate hands targets out without it, so nobody here can see that there was one; over HTTP/1 it is refused."""
    status, body = asked(http, target)
    assert (status, json_target(body)) == (200, target.split("#")[0])


def json_target(body: bytes) -> str:
    return json.loads(body)["target"]
