"""`websockets`: the same as `websocket_node`."""

import asyncio
import hashlib
import ssl
import sys

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

import report

options = report.options
url = options["url"].replace("http", "ws", 1) + f"?key={options.get('key', '')}"
messages = options.get("messages", [])
authority = options.get("authority")
tls = ssl.create_default_context(cafile=authority) if authority else None


def summary(data: bytes) -> str:
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}"


async def say(connection: ClientConnection, message) -> tuple[str, str]:
    match message:
        case {"ping": text}:
            await (await connection.ping(text))
            return "pong", text
        case {"bytes": count}:
            await connection.send(b"ws" * (count // 2))
        case _:
            await connection.send(message)
    answer = await connection.recv()
    return ("text", answer) if isinstance(answer, str) else ("binary", summary(answer))


async def leave(connection: ClientConnection) -> None:
    left = report.now()
    connection.transport.abort()
    report.say(left=left)
    await asyncio.to_thread(sys.stdin.read)
    sys.exit()


async def talk() -> None:
    try:
        connection = await connect(
            url,
            subprotocols=options.get("protocols"),
            max_size=None,
            ping_interval=None,
            ssl=tls,
        )
    except InvalidStatus as refusal:
        response = refusal.response
        reason, body = response.headers["X-Reason"], response.body.decode()
        report.event(type="refused", data=f"{response.status_code} {reason} {body}")
        return
    extensions = [extension.name for extension in connection.protocol.extensions]
    protocol = connection.subprotocol or ""
    report.event(type="open", data=f"{protocol} {','.join(extensions)}")
    for message in messages:
        kind, data = await say(connection, message)
        if report.event(type=kind, data=data):
            await leave(connection)
    if messages:
        await connection.close(4002, "bye")
    try:
        await connection.recv()
    except ConnectionClosed:
        pass
    data = f"{connection.close_code} {connection.close_reason}"
    report.event(type="close", data=data)


async def main() -> None:
    report.asked()
    async with asyncio.TaskGroup() as crowd:
        for _ in range(options.get("crowd", 1)):
            crowd.create_task(talk())
    report.ended()


asyncio.run(main())
