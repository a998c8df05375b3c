"""WebSockets with `websockets`: the same as `websocket_node`.
Usage: websocket_python.py PORT
"""

import asyncio
import json
import sys
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

import streams

visits: dict[str, dict] = {}


def path_of(request) -> str:
    return urlsplit(request.path).path


def key_of(connection: ServerConnection) -> str:
    return parse_qs(urlsplit(connection.request.path).query)["key"][0]


async def handle(connection: ServerConnection) -> None:
    if path_of(connection.request) == "/close":
        await connection.close(4001, "enough")
        return
    visit = visits[key_of(connection)] = {"opened": streams.now_ms()}
    with suppress(ConnectionClosed):
        async for message in connection:
            if message == "ping me":
                asyncio.create_task(ping(connection))
            else:
                await connection.send(message)
    visit |= {"aborted": streams.now_ms(), "code": connection.close_code}


async def ping(connection: ServerConnection) -> None:
    answered = await connection.ping("at the server")
    await answered
    await connection.send("pong at the server")


def answer(connection: ServerConnection, request):
    path = path_of(request)
    if path == "/probe":
        visit = {"opened": None, "aborted": None} | visits.get(key_of(connection), {})
        return connection.respond(HTTPStatus.OK, json.dumps(visit))
    if path == "/refused":
        response = connection.respond(HTTPStatus.FORBIDDEN, "members only\n")
        response.headers["X-Reason"] = "members"
        return response
    return None


def agree(_connection, offered):
    return next((name for name in offered if name.startswith("echo.")), None)


async def main() -> None:
    async with serve(
        handle,
        "127.0.0.1",
        int(sys.argv[1]),
        process_request=answer,
        select_subprotocol=agree,
        max_size=None,
        ping_interval=None,
    ) as server:
        await server.serve_forever()


asyncio.run(main())
