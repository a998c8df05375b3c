"""Distinct cache lines of each turn of the event loop in which one event passed, from what
valgrind's lackey says of memory (`I  addr,size`, ` L addr,size`) and of system calls."""

import sys
from collections.abc import Iterable, Iterator
from statistics import median

LINE = 64


def turns(trace: Iterable[str]) -> Iterator[list[str]]:
    """What was touched in each turn that received and sent something."""
    connected = False
    touched: list[str] = []
    received = sent = 0
    for entry in trace:
        if "SYSCALL" not in entry:
            if connected:
                touched.append(entry)
        elif "sys_epoll_wait" in entry:
            if received and sent == 1:
                yield touched
            touched, received, sent = [], 0, 0
        else:
            connected |= "sys_accept" in entry
            received += "sys_recvfrom" in entry
            sent += "sys_sendto" in entry


def lines(touched: list[str], kinds: tuple[str, ...]) -> int:
    found: set[int] = set()
    for entry in touched:
        if entry[:2] in kinds:
            address, _, size = entry[3:].partition(",")
            first = int(address, 16)
            found.add(first // LINE)
            found.add((first + int(size) - 1) // LINE)
    return len(found)


def main() -> None:
    with open(sys.argv[1]) as trace:
        counts = [
            (lines(touched, ("I ",)), lines(touched, (" L", " S", " M")))
            for touched in turns(trace)
        ]
    code, data = (median(column) for column in zip(*counts, strict=True))
    print(code + data, code, data, len(counts))


if __name__ == "__main__":
    main()
