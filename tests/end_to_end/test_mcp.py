"""The Model Context Protocol over Streamable HTTP: its SDKs as clients and servers.

The tool that is called is a puppet: it reports what the test says, when the test says
it. So nothing depends on time: each thing has to be heard before the next is said.
"""

import itertools
from collections.abc import Callable
from functools import partial

import pytest

from harness import expect
from harness.clients import Client
from harness.mcp import Puppet
from harness.sidecar import Sidecar
from harness.tap import Tap

SERVERS = ["mcp_node", "mcp_python"]
CLIENTS = ["mcp_node", "mcp_python"]
SESSIONS = list(itertools.product(CLIENTS, ["legacy"], SERVERS))
# The protocol of 2026 has neither sessions nor resumption; so far one SDK speaks it.
WITHOUT_SESSION = ("mcp_python", "2026-07-28", "mcp_python")
ALL = [*SESSIONS, WITHOUT_SESSION]

with_sessions = pytest.mark.parametrize(
    ("client", "mode", "backend"), SESSIONS, indirect=["backend"]
)
with_all = pytest.mark.parametrize(
    ("client", "mode", "backend"), ALL, indirect=["backend"]
)


def said(client: Client) -> list[tuple[str, str]]:
    """The events without those things that depend on the SDK."""
    return [(event.type, event.data) for event in client.heard.events]


def steps(*numbers: int) -> list[tuple[str, str]]:
    return [("progress", f"step {number}") for number in numbers]


def notes(*numbers: int) -> list[tuple[str, str]]:
    return [("announcement", f"note://{number}") for number in numbers]


@pytest.fixture
def puppet(backend, key) -> Puppet:
    return Puppet(backend, key)


@pytest.fixture
def call(client, mode, key):
    """Starts a client that calls the puppet behind this URL."""
    return partial(Client, client, key=key, mode=mode)


@with_all
def test_progress_arrives_step_by_step(sidecar, call, puppet):
    with call(sidecar.url) as client:
        puppet.wait_opened()
        for number in range(5):
            puppet.say(number)
            client.until_heard(number + 1)
        puppet.finish()
        client.until_end()
    assert said(client) == [*steps(*range(5)), ("result", "done")]


@with_sessions
def test_what_belongs_to_no_call_arrives_at_once(sidecar, call, puppet):
    with call(sidecar.url) as client:
        puppet.wait_opened()
        puppet.wait_listening()
        puppet.announce(1)
        client.until_heard(1)
        puppet.say(1)
        client.until_heard(2)
        puppet.announce(2)
        client.until_heard(3)
    assert said(client) == [*notes(1), *steps(1), *notes(2)]


@with_all
def test_heartbeats_go_unheard(chatty, call, puppet):
    """There are silences after the first report, which may be what sends the head."""
    with Tap(chatty.port) as tap, call(tap.url) as client:
        puppet.wait_opened()
        for number in range(3):
            puppet.say(number)
            client.until_heard(number + 1)
            tap.wait_heartbeats(2 * (number + 1))
        puppet.finish()
        client.until_end()
    assert said(client) == [*steps(*range(3)), ("result", "done")]


@with_sessions
def test_a_client_that_was_cut_off_resumes(sidecar, call, puppet):
    with Tap(sidecar.port) as tap:
        resumes(call(tap.url), puppet, tap, tap.cut)


@with_sessions
def test_a_client_whose_backend_was_cut_off_resumes(start, proxied, call, puppet):
    with Tap(puppet.port) as tap:
        resumes(call(start(Sidecar, tap.url).url), puppet, tap, tap.cut)


@with_sessions
def test_a_client_whose_time_is_up_resumes(sidecar_with, call, puppet):
    """The sidecar ends both streams, as planned: the client does not lose a thing."""
    sidecar = sidecar_with('timeouts.total = "1s"')
    with Tap(sidecar.port) as tap:
        resumes(call(tap.url), puppet, tap, tap.hold)


@with_sessions
def test_a_client_whose_sidecar_is_replaced_resumes(sidecar_with, call, puppet, key):
    """As in a rolling update: the old one ends its streams, the new one is there."""
    drain = 'drain = { delay = "off", timeout = "500ms" }'
    old, new = (sidecar_with(f"{drain} # {which} of {key}") for which in ("old", "new"))

    def replace() -> None:
        tap.hold()
        tap.redirect(new.port)
        old.terminate()

    with Tap(old.port) as tap:
        resumes(call(tap.url), puppet, tap, replace)


def resumes(call: Client, puppet: Puppet, tap: Tap, cut: Callable[[], None]) -> None:
    """`cut` is the end of both streams; what is said meanwhile is heard afterwards."""
    with call as client:
        puppet.wait_opened()
        puppet.wait_listening()
        puppet.say(1)
        client.until_heard(1)
        puppet.announce(1)
        client.until_heard(2)

        cut()
        puppet.wait_lost()
        puppet.wait_listening(0)
        for number in (2, 3):
            puppet.say(number)
            puppet.announce(number)
        tap.mend()
        client.until_heard(6)

        puppet.say(4)
        client.until_heard(7)
        puppet.finish()
        client.until_end()
    heard = said(client)
    assert [each for each in heard if each[0] == "progress"] == steps(1, 2, 3, 4)
    assert [each for each in heard if each[0] == "announcement"] == notes(1, 2, 3)
    assert heard[-1] == ("result", "done")
    assert tap.asked.lower().count(b"last-event-id: ") >= 2


@pytest.mark.parametrize(
    ("client", "mode", "backend"), [WITHOUT_SESSION], indirect=["backend"]
)
def test_a_client_that_cannot_resume_fails(sidecar, call, puppet):
    """The control: it is not the sidecar, nor the harness, that keeps what is missed."""
    with Tap(sidecar.port) as tap, call(tap.url) as client:
        puppet.wait_opened()
        puppet.say(1)
        client.until_heard(1)
        tap.cut()
        puppet.wait_lost()
        tap.mend()
        with pytest.raises(AssertionError, match="ended without a response"):
            client.until_heard(2)


@with_all
def test_the_server_is_told_of_a_cancelled_call(sidecar, call, puppet):
    with call(sidecar.url, leave="cancel", leave_after=1) as client:
        puppet.wait_opened()
        puppet.say(1)
        expect.soon_after(client.until_left(), puppet.wait_cancelled())


@with_all
def test_the_server_misses_a_client_that_closes(sidecar, call, puppet):
    with call(sidecar.url, leave="close", leave_after=1) as client:
        puppet.wait_opened()
        puppet.say(1)
        left = client.until_left()
        expect.soon_after(left, puppet.wait_lost())
        puppet.wait_listening(0)
