"""A name with two addresses, of which one answers nothing: not a packet comes back. The next is tried
after a quarter of a second (RFC 8305), and the one that answered comes first from then on."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from socket import create_connection, create_server
from statistics import median

import pytest

from harness.network import Network
from harness.scripted import Peer, Scripted
from harness.sidecar import Sidecar
from harness.waiting import wait_for
from harness.wire import Answer, fetch

PORT = 8080
CONNECT_S = 3
NEXT_ADDRESS_S = 0.25
# What a machine that is busy may be late.
GRACE_S = 0.75
BACKENDS = ["one", "two"]


def a_page(peer: Peer) -> None:
    """One for each connection, so that every request takes a new one."""
    peer.head()
    peer.answer(b"a page", "Connection: close")


def is_open(address: tuple[str, int]) -> bool:
    try:
        create_connection(address, timeout=0.1).close()
    except OSError:
        return False
    return True


class Machines:
    def __init__(self, network: Network, stack: ExitStack, tmp_path) -> None:
        self._network, self._stack, self._folder = network, stack, tmp_path
        self.backends: dict[str, Scripted] = {}

    def serve(self, name: str) -> None:
        with self._network.on(name) as here:
            listener = create_server((here, PORT))
        backend = Scripted(a_page, listener=listener)
        self.backends[name] = self._stack.enter_context(backend)

    def start_sidecar(self, names: list[str]) -> None:
        lines = [f"{self._network.addresses[name]} backend.test" for name in names]
        settings = f'server.workers = 1\ntimeouts.connect = "{CONNECT_S}s"'
        with self._network.on("sidecar"):
            url = f"http://backend.test:{PORT}"
            hosts = "\n".join([*lines, ""])
            self.sidecar = Sidecar(self._folder, url, settings, hosts=hosts)
        self._stack.callback(self.sidecar.stop)

    def ask(self) -> tuple[Answer, float]:
        """The response, and how long it took."""
        with self._network.on("sidecar"):
            asked = time.monotonic()
            return fetch(self.sidecar.url), time.monotonic() - asked

    def comes_back(self, name: str) -> None:
        """A link that was set up loses packets for a moment."""
        self._network.plug(name)
        address = (self._network.addresses[name], PORT)
        with self._network.on("sidecar"):
            wait_for(lambda: is_open(address), f"{name} is back")

    def ask_often(self) -> float:
        """How long a request took; of some, that in the middle."""
        took = []
        for _ in range(5):
            answer, seconds = self.ask()
            assert answer.status == 200
            took.append(seconds)
        return median(took)


@pytest.fixture
def network(proxied) -> Iterator[Network]:
    with Network("sidecar", *BACKENDS) as network:
        yield network


@pytest.fixture
def machines(network, tmp_path) -> Iterator[Machines]:
    with ExitStack() as stack:
        yield Machines(network, stack, tmp_path)


# The order is the resolver's: one of the two is first.
@pytest.mark.parametrize("dead", BACKENDS)
def test_an_address_that_answers_nothing_costs_a_moment_once(network, machines, dead):
    for name in BACKENDS:
        machines.serve(name)
    machines.start_sidecar(BACKENDS)
    network.unplug(dead)
    answer, took = machines.ask()
    assert answer.status == 200
    assert took < NEXT_ADDRESS_S + GRACE_S, took
    assert machines.ask_often() < NEXT_ADDRESS_S / 2


def test_who_goes_silent_later_is_left_for_the_other(network, machines):
    for name in BACKENDS:
        machines.serve(name)
    machines.start_sidecar(BACKENDS)
    for dead in BACKENDS * 2:
        network.unplug(dead)
        answer, took = machines.ask()
        assert answer.status == 200
        assert took < NEXT_ADDRESS_S + GRACE_S, took
        assert machines.ask_often() < NEXT_ADDRESS_S / 2
        machines.comes_back(dead)


def test_where_all_answer_one_is_asked(machines):
    """The others are not bothered."""
    for name in BACKENDS:
        machines.serve(name)
    machines.start_sidecar(BACKENDS)
    assert machines.ask_often() < NEXT_ADDRESS_S / 2
    assert sorted(each.accepted for each in machines.backends.values()) == [0, 5]


@pytest.mark.parametrize("alive", BACKENDS)
def test_an_address_that_refuses_costs_nothing(machines, alive):
    machines.serve(alive)
    machines.start_sidecar(BACKENDS)
    assert machines.ask_often() < NEXT_ADDRESS_S / 2


def test_where_none_answers_it_is_504_in_time(network, machines):
    machines.start_sidecar(BACKENDS)
    for dead in BACKENDS:
        network.unplug(dead)
    answer, took = machines.ask()
    assert answer.status == 504
    assert CONNECT_S - 0.1 < took < CONNECT_S + GRACE_S, took
