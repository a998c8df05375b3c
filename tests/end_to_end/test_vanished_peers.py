"""Peers that vanish without a packet, as a laptop that is closed or a node that loses its power.

No connection is closed, and none is reset: there is only silence, which is
the sidecar's to tell from a pause.
"""

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest

from backends.seeded import start
from harness import seeded
from harness.listeners import Http1, Http2
from harness.network import Network
from harness.seeded import target, without_heartbeats
from harness.sidecar import Sidecar
from harness.waiting import wait_for

PORT = 8080
WRITE_S, READ_S, CONNECT_S, HEAD_S = 2, 2, 1, 1
CLOCKS = f"""
server.workers = 1
timeouts.write = "{WRITE_S}s"
timeouts.connect = "{CONNECT_S}s"
timeouts.response_head = "{HEAD_S}s"
"""
# The kernel's probe, and what it waits for the answer.
PROBED_S = 30 + 10
# What a machine that is busy may be late.
GRACE_S = 3

GONE = 'stream_ends_total{reason="client_gone",side="client"}'
STALLED = 'stream_ends_total{reason="client_stalled",side="client"}'
SILENT = 'stream_ends_total{reason="upstream_read_timeout",side="upstream"}'

with_clients = pytest.mark.parametrize("client", [Http1, Http2])
with_upstreams = pytest.mark.parametrize("protocol", ["http", "h2c"])


@pytest.fixture
def network(proxied) -> Iterator[Network]:
    with Network("client", "sidecar", "backend") as network:
        yield network


@pytest.fixture
def sidecar_in(network, tmp_path):
    """Starts a sidecar on its machine, before the backend on the other."""
    started = []

    def start_sidecar(protocol: str, read: str, heartbeat="500ms") -> Sidecar:
        with network.on("sidecar") as here:
            url = f"{protocol}://{network.addresses['backend']}:{PORT}"
            settings = (
                f'{CLOCKS}timeouts.read = "{read}"\nheartbeat.interval = "{heartbeat}"'
            )
            outside = f'[[listener]]\naddress = "{here}:{PORT}"'
            started.append(Sidecar(tmp_path, url, settings, outside))
        return started[-1]

    yield start_sidecar
    for sidecar in started:
        sidecar.stop()


async def serve(network: Network) -> asyncio.Queue:
    """Starts the backend; gives the moments at which it missed a client."""
    missed = asyncio.Queue()
    with network.on("backend") as here:
        listener = socket.create_server((here, PORT))
    await start(listener, lambda seed: missed.put_nowait(time.monotonic()))
    return missed


async def connect(network: Network, client: type[Http1] | type[Http2]):
    with network.on("client"):
        address = (network.addresses["sidecar"], PORT)
        connection = socket.create_connection(address, timeout=5)
    connection.setblocking(False)
    return await client.connect(sock=connection)


@with_clients
@with_upstreams
@pytest.mark.parametrize("gap_ms", [5, 1_000_000], ids=["busy", "idle"])
def test_a_client_that_vanishes_is_missed(
    network, sidecar_in, client, protocol, gap_ms
):
    """The kernel has taken what was written: it is the missing ACK that tells."""
    sidecar = sidecar_in(protocol, read="off")

    async def scenario() -> float:
        missed = await serve(network)
        connection = await connect(network, client)
        heard = await connection.get(target("vanishing", 1_000_000, gap_ms))
        await heard.until(1)
        network.unplug("client")
        left = time.monotonic()
        return await asyncio.wait_for(missed.get(), 20) - left

    took = asyncio.run(scenario())
    assert took < 0.5 + WRITE_S + GRACE_S, took
    with network.on("sidecar"):
        wait_for(lambda: sidecar.count(GONE) + sidecar.count(STALLED) == 1, "its end")
        assert sidecar.count("streams_active") == 0


@pytest.mark.timeout(PROBED_S + 60)
def test_a_client_that_vanishes_is_missed_also_where_nothing_is_written(
    network, sidecar_in
):
    """Without heartbeats only the kernel asks, after half a minute."""
    sidecar = sidecar_in("http", read="off", heartbeat="off")

    async def scenario() -> float:
        missed = await serve(network)
        connection = await connect(network, Http1)
        heard = await connection.get(target("vanishing", 1_000_000, 1_000_000))
        await heard.until(1)
        network.unplug("client")
        left = time.monotonic()
        return await asyncio.wait_for(missed.get(), PROBED_S + 20) - left

    took = asyncio.run(scenario())
    assert took < PROBED_S + GRACE_S, took
    with network.on("sidecar"):
        wait_for(lambda: sidecar.count(GONE) == 1, "its end")


@with_clients
@with_upstreams
def test_a_client_that_is_back_in_time_misses_nothing(
    network, sidecar_in, client, protocol
):
    """The control: it is the silence that is too long, and not the network that is torn."""
    sidecar_in(protocol, read="off")

    async def scenario() -> tuple[str | None, bytes]:
        await serve(network)
        connection = await connect(network, client)
        heard = await connection.get(target("blinking", 100, 5))
        await heard.until(1)
        network.unplug("client")
        await asyncio.sleep(WRITE_S / 4)
        network.plug("client")
        await asyncio.wait_for(heard.until_end(), 20)
        return heard.end, bytes(heard.body)

    end, body = asyncio.run(scenario())
    assert end == "clean"
    assert without_heartbeats(body) == seeded.body("blinking", 100)


@with_clients
@with_upstreams
def test_an_upstream_that_vanishes_is_an_abort(network, sidecar_in, client, protocol):
    """In the read clock's time, whatever heartbeats the client gets meanwhile."""
    sidecar = sidecar_in(protocol, read=f"{READ_S}s")

    async def scenario() -> tuple[float, str | None, bytes]:
        await serve(network)
        connection = await connect(network, client)
        heard = await connection.get(target("dying", 1_000_000, 5))
        await heard.until(1)
        assert heard.status == 200, heard.body
        left = (
            time.monotonic()
        )  # the backend, which is here too, says nothing meanwhile
        network.unplug("backend")
        await asyncio.wait_for(heard.until_end(), 20)
        return time.monotonic() - left, heard.end, bytes(heard.body)

    took, end, body = asyncio.run(scenario())
    assert end == "cut"
    assert READ_S - 0.1 < took < READ_S + GRACE_S, took
    said = without_heartbeats(body)
    assert said == seeded.body("dying", 1000)[: len(said)]
    with network.on("sidecar"):
        assert sidecar.count(SILENT) == 1


@with_clients
@with_upstreams
def test_an_upstream_that_is_nowhere_is_504_and_answers_when_it_is_back(
    network, sidecar_in, client, protocol
):
    sidecar_in(protocol, read="off")

    async def ask() -> int | None:
        connection = await connect(network, client)
        heard = await connection.get("/page")
        await heard.until_end()
        connection.leave()
        return heard.status

    async def scenario() -> None:
        await serve(network)
        network.unplug("backend")
        assert await ask() == 504
        network.plug("backend")
        assert await ask() == 200
        network.unplug("backend")
        assert await ask() == 504, "on a connection that is kept"
        network.plug("backend")
        while await ask() != 200:
            pass  # TCP may wait for seconds before it sends again

    asyncio.run(asyncio.wait_for(scenario(), 30))
