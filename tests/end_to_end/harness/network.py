"""Machines of our own, on a switch from which each can be unplugged: its peers get no packet that says so.

Each is a network namespace. A socket stays in the one it was opened in, and so does a process.
"""

import ctypes
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import pytest

from harness.waiting import wait_for

_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
SWITCH = "switch"


def ip(*arguments: str) -> str:
    done = subprocess.run(
        ["ip", *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout


def enter(namespace: str) -> None:
    """For this thread only."""
    file = os.open(namespace, os.O_RDONLY)
    try:
        if _libc.setns(file, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(file)


def hardware(address: str) -> str:
    return f"02:00:00:00:00:{int(address.split('.')[3]):02x}"


class Network:
    def __init__(self, *machines: str) -> None:
        self._prefix = f"sse-{os.getpid()}-"
        self._namespaces: list[str] = []
        self.addresses = {name: f"192.0.2.{n}" for n, name in enumerate(machines, 1)}

    def __enter__(self) -> Self:
        try:
            self._build()
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            self.__exit__()
            why = getattr(error, "stderr", None) or error
            pytest.skip(f"no network namespaces, they take root and iproute2: {why}")
        except TimeoutError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for namespace in self._namespaces:
            ip("netns", "delete", namespace)

    def _build(self) -> None:
        switch = self._add(SWITCH)
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        for name, address in self.addresses.items():
            machine = self._add(name)
            wire = ["wire", "address", hardware(address), "type", "veth"]
            ip("-n", machine, "link", "add", *wire, "peer", name, "netns", switch)
            ip("-n", machine, "address", "add", f"{address}/24", "dev", "wire")
            for link in ("wire", "lo"):
                ip("-n", machine, "link", "set", link, "up")
            # Else its peers would ask for it, and the kernel say that it is gone.
            for peer in self.addresses.values():
                known = [peer, "lladdr", hardware(peer), "dev", "wire"]
                ip("-n", machine, "neighbour", "add", *known)
            ip("-n", switch, "link", "set", name, "master", "bridge", "up")
        wait_for(self._is_up, "packets pass")

    def _is_up(self) -> bool:
        """A link that was set up loses packets until the kernel comes to it."""
        for namespace in self._namespaces:
            for link in json.loads(ip("-n", namespace, "-json", "link", "show", "up")):
                # Of `lo` it is unknown, and what is not set up is empty here.
                if link.get("operstate", "UP") not in ("UP", "UNKNOWN"):
                    return False
        return True

    def _add(self, name: str) -> str:
        namespace = self._prefix + name
        ip("netns", "add", namespace)
        self._namespaces.append(namespace)
        return namespace

    @contextmanager
    def on(self, machine: str) -> Iterator[str]:
        """What is opened and started here is on this machine; gives its address."""
        home = f"/proc/{os.getpid()}/task/{_libc.gettid()}/ns/net"
        stay = os.open(home, os.O_RDONLY)
        enter(f"/run/netns/{self._prefix}{machine}")
        try:
            yield self.addresses[machine]
        finally:
            _libc.setns(stay, CLONE_NEWNET)
            os.close(stay)

    def unplug(self, machine: str) -> None:
        """Packets to it and from it are lost; its own wire stays up."""
        ip("-n", self._prefix + SWITCH, "link", "set", machine, "nomaster")

    def plug(self, machine: str) -> None:
        ip("-n", self._prefix + SWITCH, "link", "set", machine, "master", "bridge")
