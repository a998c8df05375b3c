"""The MCP SDK for Python: calls the puppet, and says what it hears of it and besides.

`mode` is "legacy" for the handshake with a session, or the version of a protocol that
has none. `leave` says what leaving is: to "cancel" the call, or to "close" the client.
"""

import sys

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ResourceUpdatedNotification

import report

options = report.options
url = f"{options['url']}/mcp?key={options['key']}"
leave = options.get("leave")
done = anyio.Event()


def hear(type: str, data: str) -> None:
    if report.event(type=type, data=data):
        done.set()


async def hear_progress(_progress: float, _total: float | None, message: str | None):
    hear("progress", message)


async def hear_besides(message) -> None:
    match message:
        case ResourceUpdatedNotification(params=params):
            hear("announcement", str(params.uri))
        case Exception():
            report.say(failed=repr(message))


async def call(client: Client, scope: anyio.CancelScope) -> None:
    with scope:
        result = await client.call_tool(
            "puppet", {"key": options["key"]}, progress_callback=hear_progress
        )
        hear("result", result.content[0].text)
        report.ended()
        done.set()


async def main() -> None:
    report.asked()
    scope = anyio.CancelScope()
    async with httpx2.AsyncClient(timeout=httpx2.Timeout(10, read=300)) as http:
        transport = streamable_http_client(
            url, http_client=http, terminate_on_close=False
        )
        client = Client(transport, mode=options["mode"], message_handler=hear_besides)
        async with client, anyio.create_task_group() as calls:
            calls.start_soon(call, client, scope)
            await done.wait()
            left = report.now()
            scope.cancel()
            if leave == "cancel":
                await live_on(left)
    if leave == "close":
        await live_on(left)


async def live_on(left: float) -> None:
    report.say(left=left)
    await anyio.to_thread.run_sync(sys.stdin.read)
    sys.exit()


anyio.run(main)
