"""Clients that read more slowly than the backend sends, with a history that is smaller than what they
have not read: one waits, or is told that it fell behind, but misses nothing unawares."""

import threading

import pytest

from harness.feed import Asked
from harness.kept import GRACE, numbers, wait_end
from harness.reader import Reader
from harness.sidecar import Sidecar
from harness.waiting import wait_for

COUNT, LENGTH = 400, 20_000
BY_KEY = 'resume.key = "query:run"\nresume.at = "/runs/{key}/stream"\n'
SMALL = 'resume.history = "256KiB"\n'


def large(number: int) -> bytes:
    return b"data: %d\ndata: %b\n\n" % (number, b"x" * LENGTH)


def which(reader: Reader) -> list[str]:
    return [data.partition("\n")[0] for data in reader.data]


class Sending(threading.Thread):
    """All events and the end, as fast as they are taken."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(daemon=True)
        self._asked, self.sent = asked, 0

    def run(self) -> None:
        for number in range(1, COUNT + 1):
            self._asked.write(large(number))
            self.sent = number
        self._asked.end()


def test_the_only_reader_misses_nothing(keeping, feed):
    """The backend has to wait for it, as it would without resuming."""
    sidecar = keeping(SMALL)
    with Reader(sidecar.url) as reader:
        asked = feed.request(1)
        asked.begin()
        reader.head()
        sending = Sending(asked)
        sending.start()
        wait_for(lambda: is_stuck(sending), "the backend cannot send more")
        assert sending.sent < COUNT
        assert reader.until_end() == "clean"
        assert which(reader) == numbers(1, COUNT)
    assert sidecar.count("history_bytes") <= 2 * 256 * 1024


def is_stuck(sending: Sending) -> bool:
    """Nothing was sent for a while; only the clock can tell."""
    before = sending.sent
    sending.join(0.5)
    return sending.sent == before


def test_a_second_reader_that_stalls_is_ended_and_does_not_hold_the_first(
    keeping, feed
):
    sidecar = keeping(SMALL + BY_KEY)
    with Reader(f"{sidecar.url}/ask?run=r1", body=b"{}", accept="*/*") as first:
        asked = feed.request(1)
        asked.begin()
        first.head()
        with Reader(f"{sidecar.url}/runs/r1/stream", accept="*/*") as stalled:
            stalled.head()
            Sending(asked).start()
            assert first.until_end() == "clean"
            assert which(first) == numbers(1, COUNT)
            wait_end(sidecar, "lagged")
            assert stalled.until_end() == "cut"
            seen = which(stalled)
            assert seen == numbers(1, len(seen))
            assert len(seen) < COUNT


@pytest.mark.parametrize("cut_after", [1, 200, COUNT - 1])
def test_a_long_replay_is_whole(start, feed, proxied, cut_after):
    """Eight megabytes, of which nobody read more than the beginning."""
    settings = f'{GRACE}resume.history = "16MiB"'
    sidecar = start(Sidecar, feed.url, settings)
    with Reader(sidecar.url) as reader:
        asked = feed.request(1)
        asked.begin()
        reader.head()
        sending = Sending(asked)
        sending.start()
        reader.until(lambda: reader.body.count(b"\n\n") >= cut_after)
        cursor = reader.events[cut_after - 1].id
        reader.reset()
    with Reader(sidecar.url, cursor) as again:
        assert again.until_end() == "clean"
        assert which(again) == numbers(cut_after + 1, COUNT)
    assert feed.count == 1
