"""A soak: all kinds of clients, of backends and of accidents for as long as one likes.

    ../soak [MINUTES]

Every stream's bytes are compared with what its backend sent, and its end with what is documented. The log of each sidecar process
has to report one end for each stream, and memory and descriptors must not grow.
"""

import asyncio
import json
import random
import re
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from pathlib import Path
from statistics import mean
from urllib.parse import urlsplit

from harness import doors, seeded
from harness.certificate import certificate
from harness.crowd import SeededBackend, Stream, pss_mib
from harness.listeners import Http1, Http2, tls
from harness.ports import free_port
from harness.sidecar import Sidecar

PEOPLE = 60
SETTINGS = """
heartbeat.interval = "300ms"
timeouts.response_head = "2s"
timeouts.read = "2s"
timeouts.write = "2s"
timeouts.connection_age = "20s"
drain = { delay = "off", timeout = "2s" }
"""
ROUTE = """
[[route]]
path = "/h2/"
upstream.url = "{url}"
"""
SECONDS_BETWEEN_ACCIDENTS = 15
ACCIDENTS = ("backend killed", "backend stopped for a second")
SECONDS_BETWEEN_RELOADS = 3
# What the file says then; another name is another upstream.
HEARTBEATS = ("300ms", "100ms", "1s")
HOSTS = ("127.0.0.1", "localhost")
MISTAKE = "300 ms or so"
# How long after an accident anything may still be its fault.
AFTERMATH_S = 6


class Generation:
    """One process of the sidecar, and how it does."""

    def __init__(self, sidecar: Sidecar, tls_port: int) -> None:
        self.sidecar, self.tls_port = sidecar, tls_port
        self.since = time.monotonic()
        self.mib: list[float] = []
        self.files: list[int] = []
        self.in_force = (HEARTBEATS[0], HOSTS[0])
        self.reloads: Counter[str] = Counter()

    def reload(self) -> list[str]:
        """Gives it another file, or one with a mistake; says what is not in force as it
        should be."""
        heartbeat, host = random.choice((*HEARTBEATS, MISTAKE)), random.choice(HOSTS)
        result = "rejected" if heartbeat == MISTAKE else "applied"
        config = self.sidecar.config.read_text()
        config = re.sub('(heartbeat.interval = ").*"', rf'\g<1>{heartbeat}"', config)
        config = re.sub('(upstream.url = ".*//).*:', rf"\g<1>{host}:", config)
        self.sidecar.reload(config)
        self.reloads[result] += 1
        if result == "applied":
            self.in_force = (heartbeat, host)
        status = self.sidecar.status()
        shown = tomllib.loads(status["config"])
        url = urlsplit(shown["upstream"]["url"])
        seen = {
            "in force": (shown["heartbeat"]["interval"], url.hostname),
            "rejected": [problem["key"] for problem in status["config_rejected"]],
            "waiting": status["config_waiting"],
            "times": self.sidecar.count(f'config_reloads_total{{result="{result}"}}'),
        }
        expected = {
            "in force": self.in_force,
            "rejected": [] if result == "applied" else ["heartbeat.interval"],
            "waiting": [],
            "times": self.reloads[result],
        }
        return [] if seen == expected else [f"reload {result}: {seen}, not {expected}"]

    def sample(self) -> None:
        self.mib.append(pss_mib(self.sidecar.pid))
        self.files.append(self.sidecar.open_files())

    def judge(self) -> list[str]:
        """What is wrong with it, now that it has ended."""
        *lines, ended = self.sidecar.log().splitlines()
        logged = [json.loads(line) for line in lines]
        messages = Counter(line["message"] for line in logged)
        wrong = []
        if messages["stream opened"] != messages["stream ended"]:
            wrong.append(f"not every stream ended once: {messages}")
        for line in logged:
            if line["level"] == "ERROR" or line["message"] == "log lines were lost":
                wrong.append(f"in the log: {line}")
        if (ended == "ended: 1") != (messages["responses were cut"] == 1):
            wrong.append(f"it {ended}, its log ends with {lines[-1]}")
        quarter = len(self.mib) // 4
        if quarter >= 15:
            for name, values in (("MiB", self.mib), ("files", self.files)):
                early = mean(values[quarter : 2 * quarter])
                late = mean(values[-quarter:])
                if late > early * 1.3 + 5:
                    wrong.append(f"{name} grow: {early:.1f}, then {late:.1f}")
        return wrong

    def __str__(self) -> str:
        def trend(values: list[float]) -> str:
            size = max(1, len(values) // 4)
            parts = [values[at : at + size] for at in range(0, 4 * size, size)]
            return " -> ".join(f"{mean(part):.1f}" for part in parts if part)

        trends = f"MiB {trend(self.mib)}, files {trend(self.files)}"
        return f"{len(self.mib)} s, {trends}, reloads {dict(self.reloads)}"


class Soak:
    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        self.until = time.monotonic() + seconds
        self.backends = [self.folder_for(SeededBackend) for _ in range(2)]
        self.generations: list[Generation] = []
        self.starting_or_reloading = asyncio.Lock()
        self.shaken = 0.0
        self.count = 0
        self.seen: Counter[str] = Counter()
        self.accidents: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.start()

    def folder_for(self, kind, *arguments):
        return kind(Path(tempfile.mkdtemp(dir=self.folder)), *arguments)

    def start(self) -> None:
        tls_port = free_port()
        listener = f'[[listener]]\naddress = "127.0.0.1:{tls_port}"\n'
        listener += doors.listener("h2")
        route = ROUTE.format(url=self.backends[1].url.replace("http", "h2c"))
        url = self.backends[0].url
        sidecar = self.folder_for(Sidecar, url, SETTINGS, listener + route)
        self.generations.append(Generation(sidecar, tls_port))

    async def connect(self):
        now = self.generations[-1]
        client, secure = random.choice((Http1, Http2)), random.random() < 0.5
        to = {"host": "127.0.0.1", "port": now.sidecar.port}
        if secure:
            protocol = "h2" if client is Http2 else "http/1.1"
            context = tls(str(certificate().authority), protocol)
            to |= {"port": now.tls_port, "ssl": context}
        return await client.connect(**to)

    async def person(self) -> None:
        """Does one thing after the other."""
        while time.monotonic() < self.until:
            since = time.monotonic()
            kind = random.choices(
                ("page", "whole", "faulty", "slow", "leaves", "stalls"),
                (2, 6, 4, 2, 2, 1),
            )[0]
            try:
                ending, expected = await asyncio.wait_for(self.act(kind), 30)
            except (AssertionError, TimeoutError) as error:
                self.wrong.append(f"{kind}: {error!r}")
                continue
            except OSError:
                ending, expected = "no connection", ()
            calm = since > self.shaken + AFTERMATH_S and self.shaken <= since
            self.seen[f"{kind}: {ending}"] += 1
            if calm and ending not in expected:
                self.wrong.append(f"{kind}: {ending}, not {expected}")

    async def act(self, kind: str) -> tuple[str, tuple[str, ...]]:
        """How it ended, and how it may end where there is no accident."""
        self.count += 1
        connection = await self.connect()
        try:
            return await self.ask(kind, connection)
        finally:
            connection.leave()

    async def ask(self, kind: str, connection) -> tuple[str, tuple[str, ...]]:
        prefix = random.choice(("", "/h2"))
        if kind == "page":
            heard = await connection.get(f"{prefix}/page")
            await heard.until_end()
            ended = f"{heard.status} {heard.end} {len(heard.body)}"
            return ended, (f"200 clean {2500}",)
        fault, at = "none", -1
        count, gap = random.randrange(1, 60), random.choice((0, 5, 50))
        if kind == "faulty":
            fault, at = random.choice(seeded.FAULTS), random.randrange(-1, 2000)
            count = 10_000
        elif kind in ("leaves", "stalls"):
            count = 1_000_000
        seed = f"{self.count}"
        target = seeded.target(seed, count, gap, fault, at)
        if kind in ("slow", "stalls") and isinstance(connection, Http1):
            pause = 0.02 if kind == "slow" else 5
            heard = await connection.get(prefix + target, pause)
        else:
            heard = await connection.get(prefix + target)
        stream = Stream(target, heard, None)
        if kind in ("leaves", "stalls"):
            await heard.until(1 if kind == "stalls" else random.randrange(1, 5000))
            if kind == "stalls":
                await asyncio.sleep(5)
            heard.ended("left")
        await heard.until_end()
        if heard.status != 200:
            before_head = ("502", "504") if at < 0 and fault != "none" else ()
            return str(heard.status), before_head
        expected = {"faulty": ("cut",), "leaves": ("left",), "stalls": ("left", "cut")}
        return stream.account(), expected.get(kind, ("complete",))

    async def accidents_happen(self) -> None:
        while time.monotonic() < self.until - SECONDS_BETWEEN_ACCIDENTS:
            await asyncio.sleep(SECONDS_BETWEEN_ACCIDENTS)
            accident = random.choice(ACCIDENTS)
            done = 1 - (self.until - time.monotonic()) / self.seconds
            if len(self.generations) <= 3 * done:
                accident = "sidecar restarted"
            self.accidents[accident] += 1
            self.shaken = time.monotonic() + 1e6
            await self.happen(accident)
            self.shaken = time.monotonic()

    async def reloads_happen(self) -> None:
        """Which are no excuse for anything."""
        while time.monotonic() < self.until:
            await asyncio.sleep(SECONDS_BETWEEN_RELOADS)
            async with self.starting_or_reloading:
                self.wrong += await asyncio.to_thread(self.generations[-1].reload)

    async def happen(self, accident: str) -> None:
        backend = random.choice(self.backends)
        match accident:
            case "backend killed":
                backend.send(signal.SIGKILL)
                await asyncio.sleep(random.random())
                await asyncio.to_thread(backend.restart)
            case "backend stopped for a second":
                backend.send(signal.SIGSTOP)
                await asyncio.sleep(1)
                backend.send(signal.SIGCONT)
            case "sidecar restarted":
                old = self.generations[-1]
                async with self.starting_or_reloading:
                    await asyncio.to_thread(self.start)
                await self.end(old)

    async def end(self, generation: Generation) -> None:
        generation.sidecar.terminate()
        deadline = time.monotonic() + 20
        while "ended: " not in generation.sidecar.log()[-20:]:
            if time.monotonic() > deadline:
                self.wrong.append("a sidecar does not end")
                return
            await asyncio.sleep(0.1)
        self.wrong += await asyncio.to_thread(generation.judge)

    async def watch(self) -> None:
        while True:
            self.generations[-1].sample()
            await asyncio.sleep(1)

    async def run(self) -> None:
        watching = asyncio.create_task(self.watch())
        people = [self.person() for _ in range(PEOPLE)]
        await asyncio.gather(self.accidents_happen(), self.reloads_happen(), *people)
        watching.cancel()
        last = self.generations[-1]
        await asyncio.sleep(1)
        for gauge in ("streams_active", "requests_active"):
            if active := last.sidecar.count(gauge):
                self.wrong.append(f"{gauge} is {active} when all have left")
        upstreams = [upstream["url"] for upstream in last.sidecar.status()["upstreams"]]
        if {urlsplit(url).hostname for url in upstreams} != {last.in_force[1]}:
            self.wrong.append(f"{upstreams} are there, not those of {last.in_force}")
        await self.end(last)

    def report(self) -> None:
        print(f"{self.count} requests of {PEOPLE} people in {self.seconds:.0f} s")
        for counts in (self.seen, self.accidents):
            for what, times in sorted(counts.items()):
                print(f"  {times:7} {what}")
        for generation in self.generations:
            print(f"  sidecar: {generation}")
        print(f"{len(self.wrong)} things went wrong")
        for wrong in self.wrong[:20]:
            print(f"  {wrong[:500]}")

    def stop(self) -> None:
        for server in [*self.backends, *(g.sidecar for g in self.generations)]:
            server.stop()


def main() -> int:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), minutes * 60)
        try:
            asyncio.run(soak.run())
        finally:
            soak.stop()
            soak.report()
    return 1 if soak.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
