"""A client that comes back while its old connection still looks alive, as after a change of networks
or a laptop's sleep: the new one wins, and nothing falls between the two."""

import random
import time

import pytest

from harness import cursors
from harness.clients import Client
from harness.feed import event
from harness.hop import Hop
from harness.kept import messages, numbers, resumes, wait_line
from harness.reader import Reader

ROUNDS = 1000
# So much per test, that each stays within its deadline.
SHARES = 4


def test_the_newest_connection_wins(keeping, feed):
    sidecar = keeping()
    with Reader(sidecar.url) as old:
        asked = feed.request(1)
        asked.begin()
        asked.events(1, 10)
        cursor = old.until_events(10).cursor
        # These are in the old one's way, and it does not read them.
        asked.events(11, 20)
        with Reader(sidecar.url, cursor) as new:
            new.until_events(10)
            asked.events(21, 22)
            new.until_events(12)
            assert new.data == numbers(11, 22)
            assert old.until_end() == "cut"
            assert old.data == numbers(1, len(old.data))
            wait_line(sidecar, "stream ended", reason="superseded")
            asked.end()
            assert new.until_end() == "clean"
    assert feed.count == 1
    assert resumes(sidecar, "replayed") + resumes(sidecar, "live") == 1


@pytest.mark.parametrize("client", ["reconnecting", "reconnecting_eventsource"])
def test_a_client_whose_old_connection_stays_open_misses_nothing(keeping, feed, client):
    """The hop has lost the client, and does not tell."""
    sidecar = keeping()
    with (
        Hop(sidecar.port) as hop,
        Client(client, f"{hop.url}/count", count=40) as reader,
    ):
        asked = feed.request(1)
        asked.begin()
        asked.write(b"retry: 100\n" + event(1))
        asked.events(2, 10)
        reader.until_data(10)
        hop.vanish()
        asked.events(11, 20)
        hop.wait_back()
        hop.mend()
        reader.until_data(20)
        asked.events(21, 40)
        heard = reader.until_end()
    assert messages(heard) == numbers(1, 40)
    assert feed.count == 1
    wait_line(sidecar, "stream ended", reason="superseded")


@pytest.mark.parametrize("share", range(SHARES))
def test_no_timing_loses_an_event(keeping, feed, share):
    """The new connection comes at any moment between events, and the old one is never told: each
    event is heard once and in order, by the union of what both have read."""
    chance = random.Random(share)
    url = keeping().url
    for number in range(1, ROUNDS // SHARES + 1):
        count, back_at = chance.randint(2, 12), chance.random()
        with Reader(url) as old:
            asked = feed.request(number)
            asked.begin()
            asked.events(1, 1)
            cursor = old.until_events(1).cursor
            new = None
            for sent in range(2, count + 1):
                if new is None and chance.random() < back_at:
                    new = Reader(url, cursor)
                asked.write(event(sent))
                if chance.random() < 0.3:
                    time.sleep(chance.random() / 2000)
            with new or Reader(url, cursor) as new:
                asked.end()
                assert new.until_end() == "clean", (share, number)
                assert new.data == numbers(2, count), (share, number)
                assert old.until_end() in ("clean", "cut")
                assert old.data == numbers(1, len(old.data)), (share, number)
        assert feed.count == number


def test_a_reader_in_a_hurry_changes_connections_all_the_time(keeping, feed):
    """A stream of three hundred events, read through as many connections as fit."""
    url = keeping().url
    heard, cursor, readers = [], None, 0
    reader = Reader(url)
    asked = feed.request(1)
    asked.begin()
    for sent in range(1, 301):
        asked.write(event(sent))
        if sent % 3:
            continue
        reader.until_events(1)
        heard += reader.data
        cursor = reader.cursor
        next_reader = Reader(url, cursor)
        readers += 1
        next_reader.head()
        reader.reset()
        reader = next_reader
    asked.end()
    with reader:
        assert reader.until_end() == "clean"
        heard += reader.data
    assert readers == 100
    assert heard == numbers(1, 300)
    assert feed.count == 1
    assert cursors.CURSOR.fullmatch(cursor)
