"""NTLM, and Negotiate that speaks it, log a connection in and not a request: who has the
connection is the user. It is its client's alone, until one of the two closes it."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection

import pytest

from harness import expect, ntlm
from harness.curl import curl
from harness.scripted import Peer, Scripted
from harness.sidecar import Sidecar
from harness.wire import now_ms

# One worker has one pool, so that nobody is kept apart by chance.
SETTINGS = "server.workers = 1"
LEGS = ["negotiate", "authenticate"]
# Longer than the sidecar keeps what it may give to anybody.
IDLE_S = 4.5


class Browser:
    """One connection of one client, which is never opened anew."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=10)
        self._connection.connect()
        self._socket = self._connection.sock

    def ask(self, path: str, authorization: str | None = None) -> tuple[int, str]:
        """The response's status and body, which may be a challenge."""
        self.send(path, authorization)
        return self.answer()

    def send(self, path: str, authorization: str | None = None) -> None:
        fields = {"Authorization": authorization} if authorization else {}
        self._connection.request("GET", path, headers=fields)

    def answer(self) -> tuple[int, str]:
        with self._connection.getresponse() as response:
            status, body = response.status, response.read().decode()
        assert self._connection.sock is self._socket, "the client's connection is kept"
        return status, body

    def log_in(self, user: str, path: str, scheme: str = "NTLM") -> None:
        assert self.ask(path)[0] == 401
        assert self.ask(path, f"{scheme} {ntlm.negotiate()}")[0] == 401
        assert self.ask(path, f"{scheme} {ntlm.authenticate(user)}") == (
            200,
            f"{user}\n",
        )

    def leave(self) -> None:
        self._connection.close()


@pytest.fixture
def browser() -> Iterator[Callable[[int], Browser]]:
    with ExitStack() as stack:

        def open_one(port: int) -> Browser:
            opened = Browser(port)
            stack.callback(opened.leave)
            return opened

        yield open_one


@pytest.fixture
def shared(sidecar_with) -> Sidecar:
    return sidecar_with(SETTINGS)


with_backend = pytest.mark.parametrize("backend", ["ntlm_node"], indirect=True)
with_schemes = pytest.mark.parametrize(
    ("scheme", "path"), [("NTLM", "/user"), ("Negotiate", "/negotiate")]
)


@with_backend
def test_curl_logs_in_once_for_all_its_requests(shared, key):
    user = f"curl-{key}"
    page = f"{shared.url}/user"
    run = curl("--ntlm", "--user", f"{user}:secret", page, page, page)
    assert (run.status, run.body.decode()) == (200, f"{user}\n" * 3)
    assert run.about["num_connects"] == 0


@with_backend
@with_schemes
def test_nobody_else_is_served_as_the_user(shared, browser, scheme, path, key):
    alice, bob = browser(shared.port), browser(shared.port)
    alice.log_in(key, path, scheme)
    assert bob.ask(path)[0] == 401
    assert alice.ask(path) == (200, f"{key}\n")
    assert bob.ask(path)[0] == 401


@with_backend
@with_schemes
def test_a_user_that_logs_in_has_the_connection_between_the_legs(
    shared, browser, scheme, path, key
):
    """Somebody else asks for a page at that moment, and waits for it."""
    alice, bob = browser(shared.port), browser(shared.port)
    assert alice.ask(path)[0] == 401
    assert alice.ask(path, f"{scheme} {ntlm.negotiate()}")[0] == 401
    bob.send("/public?ms=500")
    # The backend has it: a later request is answered.
    assert browser(shared.port).ask("/public") == (200, "for everybody\n")
    assert alice.ask(path, f"{scheme} {ntlm.authenticate(key)}") == (200, f"{key}\n")
    assert bob.answer() == (200, "for everybody\n")
    assert alice.ask(path) == (200, f"{key}\n")


@with_backend
def test_what_needs_no_login_goes_the_same_way(shared, browser, key):
    alice = browser(shared.port)
    alice.log_in(key, "/user")
    for _ in range(3):
        assert alice.ask("/public") == (200, "for everybody\n")
        assert alice.ask("/user") == (200, f"{key}\n")


@with_backend
def test_a_login_ends_with_the_clients_connection(shared, backend, browser, key):
    alice = browser(shared.port)
    alice.log_in(key, "/user")
    left = now_ms()
    alice.leave()
    expect.soon_after(left, backend.wait_aborted(key))
    assert browser(shared.port).ask("/user")[0] == 401


@with_backend
def test_a_login_lasts_as_long_as_the_clients_connection(shared, backend, browser, key):
    """Also where that is idle for longer than other connections are kept."""
    alice = browser(shared.port)
    alice.log_in(key, "/user")
    time.sleep(IDLE_S)
    assert backend.probe(key)["aborted"] is None
    assert alice.ask("/user") == (200, f"{key}\n")


@with_backend
def test_two_users_stay_apart(shared, browser, key):
    users = [(browser(shared.port), f"{name}-{key}") for name in ("alice", "bob")]
    for client, user in users:
        client.log_in(user, "/user")
    for client, user in users * 2:
        assert client.ask("/user") == (200, f"{user}\n")


def numbered(peer: Peer) -> None:
    """Each answer has its connection's number; `/challenge` says what it is told to."""
    while head := peer.head():
        fields = []
        if b"/challenge" in head.split(b"\r\n")[0]:
            target = head.split(b" ")[1].decode()
            fields = target.removeprefix("/challenge/").replace("+", " ").split(";")
        peer.answer(str(peer.number).encode(), *fields)


@pytest.fixture
def numbers(start, proxied) -> Iterator[Sidecar]:
    with Scripted(numbered) as backend:
        yield start(Sidecar, backend.url, SETTINGS)


BOUND = {
    "asked": ("/challenge/WWW-Authenticate:+NTLM", None),
    "in small letters": ("/challenge/www-authenticate:+ntlm", None),
    "negotiated": ("/challenge/WWW-Authenticate:+Negotiate+YII=", None),
    "by a proxy": ("/challenge/Proxy-Authenticate:+NTLM", None),
    "on the second line": (
        "/challenge/WWW-Authenticate:+Basic+realm=x;WWW-Authenticate:+NTLM",
        None,
    ),
    "second in the line": (
        "/challenge/WWW-Authenticate:+Basic+realm=x,+Negotiate",
        None,
    ),
    "unasked": ("/page", f"NTLM {ntlm.negotiate()}"),
    "unasked, negotiated": ("/page", "negotiate YII="),
}
FREE = {
    "nothing": ("/page", None),
    "basic": ("/challenge/WWW-Authenticate:+Basic+realm=NTLM", "Basic YTpi"),
    "bearer": ("/page", "Bearer Negotiate"),
    "a name that begins like it": ("/challenge/WWW-Authenticate:+NTLMv3+x=y", None),
}


@pytest.mark.parametrize(("path", "authorization"), BOUND.values(), ids=BOUND)
def test_what_binds_a_connection(numbers, browser, path, authorization):
    alice, bob = browser(numbers.port), browser(numbers.port)
    _, hers = alice.ask(path, authorization)
    assert bob.ask("/page")[1] != hers
    assert alice.ask("/page")[1] == hers


@pytest.mark.parametrize(("path", "authorization"), FREE.values(), ids=FREE)
def test_what_binds_none(numbers, browser, path, authorization):
    """The control: other connections are anybody's."""
    alice, bob = browser(numbers.port), browser(numbers.port)
    _, first = alice.ask(path, authorization)
    assert bob.ask("/page")[1] == first
