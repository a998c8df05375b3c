"""A thousand streams at once, over HTTP/1.1 and HTTP/2, with TLS and without: each ends as the contract says, and is accounted for.

What a client saw, what the sidecar counts and what it logs has to be the same.
"""

import asyncio
import json
from collections import Counter

import pytest

from harness import doors
from harness.crowd import Crowd, SeededBackend, pss_mib
from harness.memory import Peak
from harness.ports import free_port
from harness.seeded import target
from harness.sidecar import Sidecar
from harness.waiting import wait_for

COUNT = 1000
ENDLESS = 1_000_000
SETTINGS = """
heartbeat.interval = "500ms"
drain = { delay = "off", timeout = "3s" }
"""

pytestmark = [
    pytest.mark.parametrize("protocol", ["http", "h2c"]),
    pytest.mark.timeout(90),
]


@pytest.fixture
def crowd(start, protocol, tmp_path, proxied):
    tls_port = free_port()
    url, settings = doors.upstream(start(SeededBackend), protocol)
    plain_and_tls = (
        f'[[listener]]\naddress = "127.0.0.1:{tls_port}"\n{doors.listener("h2")}'
    )
    sidecar = Sidecar(tmp_path, url, SETTINGS + settings, plain_and_tls)
    yield Crowd(sidecar, tls_port), sidecar
    sidecar.stop()


def logged(sidecar: Sidecar) -> Counter[str]:
    """The reasons in the log for which streams ended."""
    lines = map(json.loads, sidecar.log().splitlines()[:-1])
    return Counter(line["reason"] for line in lines if line["message"] == "stream ended")


def test_a_drain(crowd):
    """Those that are done in time are whole, those that are not end at a boundary, and
    only one that hangs within an event is cut."""
    crowd, sidecar = crowd
    third = COUNT // 4
    short = [target(f"short{n}", 20, 100) for n in range(2 * third)]
    endless = [target(f"endless{n}", ENDLESS, 300) for n in range(third)]
    hanging = [target(f"hanging{n}", 9, 1, "hang", 9) for n in range(third)]

    async def scenario() -> Counter[str]:
        await crowd.join(endless + hanging + short)
        sidecar.terminate()
        return await crowd.until_end()

    seen = asyncio.run(scenario())
    wait_for(lambda: "ended:" in sidecar.log(), "the process ends")
    cut = seen["cut"]
    assert seen["complete"] == len(short), seen
    assert seen["ended"] + cut == len(endless) + len(hanging), seen
    # An endless one may be within an event, at this moment or another.
    assert len(hanging) <= cut <= len(hanging) + len(endless) / 2, seen
    reasons = logged(sidecar)
    assert reasons == {"complete": seen["complete"], "shutdown": seen["ended"] + cut}
    assert f'"responses":{cut}}}' in sidecar.log()
    assert sidecar.log().endswith("ended: 1\n")


def nothing(sidecar: Sidecar) -> None:
    pass


@pytest.mark.parametrize("meanwhile", [nothing])
def test_what_they_took_is_given_back(crowd, meanwhile):
    """By a process that goes on, whoever ends them."""
    crowd, sidecar = crowd
    quarter = COUNT // 4

    async def scenario() -> Counter[str]:
        whole = [target(f"whole{n}", 10, 100) for n in range(quarter)]
        broken = [target(f"broken{n}", 20, 50, "fin", 100) for n in range(quarter)]
        hanging = [target(f"left{n}", ENDLESS, 100) for n in range(2 * quarter)]
        await crowd.join(hanging + broken + whole)
        await asyncio.to_thread(meanwhile, sidecar)
        for stream in crowd.streams[: 2 * quarter]:
            stream.leave()
        seen = await crowd.until_end()
        crowd.disperse()
        return seen

    def is_idle() -> bool:
        return sidecar.count("requests_active") == 0 and sidecar.open_files() <= files

    # Connections with HTTP/2 to the backend, of a hundred streams or fewer, are kept for a minute.
    files, base = sidecar.open_files() + 50, pss_mib(sidecar.pid)
    peaks, held = [], []
    for round in range(1, 4):
        with Peak(sidecar.pid) as peak:
            seen = asyncio.run(scenario())
        peaks.append(peak.mib)
        assert seen == {"complete": quarter, "cut": 3 * quarter}
        wait_for(is_idle, "everything is closed", seconds=20)
        held.append(pss_mib(sidecar.pid))
        ends = {
            reason: sidecar.count(f'stream_ends_total{{reason="{reason}",side="{side}"}}')
            for reason, side in (
                ("complete", "none"),
                ("client_gone", "client"),
                ("upstream_closed", "upstream"),
            )
        }
        assert ends == {
            "complete": round * quarter,
            "client_gone": round * 2 * quarter,
            "upstream_closed": round * quarter,
        }
        assert sidecar.count("streams_active") == 0
        assert sidecar.count("streams_total") == round * COUNT
    # The allocator keeps some for the next thousand, more or less of it; the soak sees slow growth.
    assert held[2] - base < 2 * (peaks[0] - base), (base, peaks, held)
