"""MCP over servers that keep nothing: what was said while the client was cut off still arrives, in
the protocol of 2025; in that of 2026 a closed stream is a cancelled call, and stays one."""

import itertools
from functools import partial

import pytest

from harness import cursors, expect
from harness.clients import Client
from harness.hop import Hop
from harness.kept import GRACE, resumes, wait_detached
from harness.mcp import Puppet
from harness.wire import now_ms
from test_mcp import notes, said, steps

CLIENTS = ["mcp_node", "mcp_python"]
FORGETFUL = ["mcp_node_forgetful", "mcp_python_forgetful"]
# These have ids of their own, and a store of what they have sent.
KEEPING = ["mcp_node", "mcp_python"]
STATELESS = "2026-07-28"

with_forgetful = pytest.mark.parametrize(
    ("client", "backend"),
    [*itertools.product(CLIENTS, FORGETFUL)],
    indirect=["backend"],
)
with_keeping = pytest.mark.parametrize(
    ("client", "backend"), [*itertools.product(CLIENTS, KEEPING)], indirect=["backend"]
)


@pytest.fixture
def puppet(backend, key) -> Puppet:
    return Puppet(backend, key)


@pytest.fixture
def sidecar(sidecar_with, key):
    return sidecar_with(f"{GRACE}# for the call {key}")


@pytest.fixture
def call(client, key):
    return partial(Client, client, key=key, mode="legacy")


def cut_off(call, puppet: Puppet, hop: Hop, sidecar) -> Client:
    """The client has heard of its call and of its session when both streams are lost."""
    client = call(hop.url)
    puppet.wait_opened()
    puppet.wait_listening()
    puppet.say(1)
    client.until_heard(1)
    puppet.announce(1)
    client.until_heard(2)
    hop.reset()
    wait_detached(sidecar, 2)
    return client


@with_forgetful
def test_a_client_that_was_cut_off_misses_nothing(sidecar, call, puppet):
    with Hop(sidecar.port) as hop, cut_off(call, puppet, hop, sidecar) as client:
        for number in (2, 3):
            puppet.say(number)
            puppet.announce(number)
        hop.mend()
        client.until_heard(6)
        puppet.say(4)
        client.until_heard(7)
        puppet.finish()
        client.until_end()
        assert puppet.is_served()
    heard = said(client)
    assert [each for each in heard if each[0] == "progress"] == steps(1, 2, 3, 4)
    assert [each for each in heard if each[0] == "announcement"] == notes(1, 2, 3)
    assert heard[-1] == ("result", "done")
    assert resumes(sidecar, "replayed") >= 1
    assert cursors.is_in(hop.asked)


@with_forgetful
def test_the_result_arrives_though_it_came_meanwhile(sidecar, call, puppet):
    with Hop(sidecar.port) as hop, cut_off(call, puppet, hop, sidecar) as client:
        puppet.say(2)
        puppet.finish()
        # The call's stream has ended; that of the session goes on.
        puppet.wait_done()
        hop.mend()
        client.until_end()
    progress = [each for each in said(client) if each[0] != "announcement"]
    assert progress == [*steps(1, 2), ("result", "done")]


@with_keeping
def test_a_server_with_a_store_is_not_asked(sidecar, call, puppet):
    """Its ids are the cursors, and what they name is here already."""
    with Hop(sidecar.port) as hop, cut_off(call, puppet, hop, sidecar) as client:
        puppet.say(2)
        puppet.announce(2)
        hop.mend()
        client.until_heard(4)
        puppet.finish()
        client.until_end()
        assert puppet.is_served()
    heard = said(client)
    assert [each for each in heard if each[0] == "progress"] == steps(1, 2)
    assert [each for each in heard if each[0] == "announcement"] == notes(1, 2)
    assert heard[-1] == ("result", "done")
    assert b"\nid: _" not in hop.heard
    assert not cursors.is_in(hop.asked)


@pytest.mark.parametrize("backend", ["mcp_python_forgetful"], indirect=True)
@pytest.mark.parametrize("client", ["mcp_python"])
def test_in_the_protocol_of_2026_a_lost_stream_is_a_cancelled_call(
    sidecar, puppet, client, key
):
    with (
        Hop(sidecar.port) as hop,
        Client(client, hop.url, key=key, mode=STATELESS) as caller,
    ):
        puppet.wait_opened()
        puppet.say(1)
        caller.until_heard(1)
        left = now_ms()
        hop.reset()
        expect.soon_after(left, puppet.wait_lost())
        puppet.wait_cancelled()
    assert b"\nid:" not in hop.heard
    assert sidecar.count("streams_detached") == 0
