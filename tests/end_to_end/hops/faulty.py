"""A hop of a few lines, as people write them: it ignores that its client has left, or
strips comments, or does nothing worse than to ask with HTTP/1.0. Arguments: its port,
the port of its upstream, and what it does."""

import asyncio
import sys

# asyncio itself forgets the task of a client that has left.
tasks = set()
PORT, UPSTREAM, DOES = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


async def up(client: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> None:
    while data := await client.read(65536):
        upstream.write(data)
        await upstream.drain()


async def down(upstream: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
    if DOES == "strips_comments":
        while line := await upstream.readline():
            if not line.startswith(b": "):
                client.write(line)
                await client.drain()
        return
    while data := await upstream.read(65536):
        client.write(data)
        try:
            await client.drain()
        except ConnectionError:
            pass  # and reads on, for nobody


async def serve(
    client_reader: asyncio.StreamReader, client: asyncio.StreamWriter
) -> None:
    tasks.add(asyncio.current_task())
    try:
        head = await client_reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return client.close()  # nothing was asked
    reader, upstream = await asyncio.open_connection("127.0.0.1", UPSTREAM)
    # As old proxies do: then the body ends with the connection, and has no chunks.
    upstream.write(head.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1))
    sending = asyncio.create_task(up(client_reader, upstream))
    receiving = asyncio.create_task(down(reader, client))
    try:
        if DOES == "ignores_disconnect":
            await receiving
        else:
            await asyncio.wait({sending, receiving}, return_when="FIRST_COMPLETED")
    except ConnectionError:
        pass
    finally:
        sending.cancel()
        receiving.cancel()
        upstream.close()
        client.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", PORT)
    await server.serve_forever()


asyncio.run(main())
