"""A stream that was begun over one protocol is found over another, as when a client changes networks
or a proxy its mind."""

import itertools

import pytest

from harness import doors
from harness.clients import Client
from harness.doors import Door
from harness.kept import GRACE, numbers, wait_detached, wait_end
from harness.ports import free_port
from harness.sidecar import Sidecar

NAMES = ["http", "h2c", "https", "h2"]
PAIRS = [*itertools.product(NAMES, NAMES)]


@pytest.fixture
def behind(start, feed, proxied):
    """Two listeners of one sidecar, with TLS and without."""

    def behind(*names: str) -> tuple[Sidecar, list[Door]]:
        port = free_port()
        clear = f'[[listener]]\naddress = "127.0.0.1:{port}"\n'
        sidecar = start(Sidecar, feed.url, GRACE, f"{doors.listener('h2')}\n{clear}")
        found = []
        for name in names:
            door = Door.of(sidecar, name)
            if name not in doors.TLS:
                door = Door(name, f"http://127.0.0.1:{port}", door.curl)
            found.append(door)
        return sidecar, found

    return behind


def reading(door: Door, cursor: str | None = None, **options) -> Client:
    headers = {"Accept": "text/event-stream"}
    if cursor:
        headers["Last-Event-ID"] = cursor
    url = f"{door.url}/count"
    return Client("curl", url, headers=headers, arguments=door.curl, **options)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_client_comes_back_through_another_door(behind, feed, first, second):
    sidecar, (one, other) = behind(first, second)
    with reading(one, leave_after=10) as reader:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 10)
        reader.until_left()
        cursor = reader.heard.events[4].id
    wait_detached(sidecar)
    asked.events(11, 15)
    with reading(other, cursor) as reader:
        reader.until_data(15)
        asked.events(16, 20)
        asked.end()
        heard = reader.until_end()
    assert [event.data for event in heard.events] == numbers(6, 20)
    assert feed.count == 1


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_the_newest_wins_through_every_door(behind, feed, first, second):
    sidecar, (one, other) = behind(first, second)
    with reading(one) as old:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 5)
        old.until_data(5)
        cursor = old.heard.events[-1].id
        with reading(other, cursor) as new:
            # It has got nothing yet, so that only the log tells that it is there.
            wait_end(sidecar, "superseded")
            asked.events(6, 8)
            asked.end()
            heard = new.until_end()
        with pytest.raises(AssertionError, match="the client failed"):
            old.until_end()
    assert [event.data for event in heard.events] == numbers(6, 8)
    assert [event.data for event in old.heard.events] == numbers(1, 5)
    assert feed.count == 1
