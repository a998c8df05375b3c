"""A way that takes time: a TCP relay after which everything, also an end, arrives later.

So two peers can cross each other on it, as on any network. (The kernel's own `netem` is not
in every kernel.)
"""

import asyncio
import threading
from typing import Self


class Distance:
    """Relays connections from each of `hosts`, at a port of ours, to `port` on this machine."""

    def __init__(self, port: int, delay_s: float, hosts: list[str]) -> None:
        self._target, self._delay_s = port, delay_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        opened = asyncio.run_coroutine_threadsafe(self._open(hosts), self._loop)
        self.urls = opened.result(timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(timeout=5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self, hosts: list[str]) -> list[str]:
        urls = []
        self._servers = []
        for host in hosts:
            server = await asyncio.start_server(self._relay, host, 0)
            self._servers.append(server)
            port = server.sockets[0].getsockname()[1]
            urls.append(f"http://{host}:{port}")
        return urls

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        relaying = asyncio.all_tasks() - {asyncio.current_task()}
        for task in relaying:
            task.cancel()
        await asyncio.gather(*relaying, return_exceptions=True)

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await asyncio.sleep(self._delay_s)
        there = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(
            self._one_way(reader, there[1]), self._one_way(there[0], writer)
        )
        for each in (writer, there[1]):
            each.close()

    async def _one_way(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        under_way: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue()
        arriving = asyncio.create_task(self._arrive(under_way, sink))
        data: bytes | None = b""
        while data is not None:
            try:
                data = await source.read(65536) or None
            except OSError:
                data = None
            under_way.put_nowait((self._loop.time() + self._delay_s, data))
        await arriving

    async def _arrive(
        self, under_way: asyncio.Queue, sink: asyncio.StreamWriter
    ) -> None:
        while True:
            at, data = await under_way.get()
            await asyncio.sleep(at - self._loop.time())
            try:
                if data is None:
                    return sink.write_eof()
                sink.write(data)
                await sink.drain()
            except OSError:
                return
