"""An MCP server with the Python SDK, whose one tool is a puppet: a test says over HTTP
what it reports and when it is done. Usage: mcp_python.py PORT [forgetful]
"""

import asyncio
import itertools
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.streamable_http import EventMessage, EventStore
from starlette.requests import Request
from starlette.responses import JSONResponse

import streams


class Events(EventStore):
    """All that was ever sent, by streams."""

    def __init__(self) -> None:
        self._sent = []

    async def store_event(self, stream_id, message):
        self._sent.append((stream_id, message))
        return str(len(self._sent))

    async def replay_events_after(self, last_event_id, send_callback):
        stream_id, _ = self._sent[int(last_event_id) - 1]
        missed = itertools.islice(enumerate(self._sent, 1), int(last_event_id), None)
        for event_id, (of, message) in list(missed):
            # A message of none is the event that opens a stream.
            if of == stream_id and message is not None:
                await send_callback(EventMessage(message, str(event_id)))
        return stream_id


class Visit:
    """One client: its call of the puppet, and its connections."""

    def __init__(self) -> None:
        self.context: Context | None = None
        self.finished = asyncio.Event()
        moments = ("opened", "aborted", "cancelled", "done")
        self.seen = dict.fromkeys(moments) | {"listening": 0}


visits: dict[str, Visit] = {}
server = MCPServer("puppet", log_level="WARNING")


@server.tool()
async def puppet(key: str, context: Context) -> str:
    visit = visits[key]
    visit.context = context
    visit.seen["opened"] = streams.now_ms()
    try:
        await visit.finished.wait()
    except asyncio.CancelledError:
        visit.seen["cancelled"] = streams.now_ms()
        raise
    return "done"


def of(request: Request) -> Visit:
    return visits[request.query_params["key"]]


@server.custom_route("/say", ["POST"])
async def say(request: Request) -> JSONResponse:
    number = int(request.query_params["number"])
    await of(request).context.report_progress(number, 100, f"step {number}")
    return JSONResponse(None)


@server.custom_route("/announce", ["POST"])
async def announce(request: Request) -> JSONResponse:
    uri = f"note://{request.query_params['number']}"
    await of(request).context.session.send_resource_updated(uri)
    return JSONResponse(None)


@server.custom_route("/finish", ["POST"])
async def finish(request: Request) -> JSONResponse:
    of(request).finished.set()
    return JSONResponse(None)


@server.custom_route("/probe", ["GET"])
async def probe(request: Request) -> JSONResponse:
    visit = visits.get(request.query_params["key"]) or Visit()
    return JSONResponse(visit.seen)


class Observer:
    """Knows who hung up before the answer was complete."""

    def __init__(self, app) -> None:
        self._app = app

    async def __call__(self, scope, receive, send) -> None:
        query = scope.get("query_string", b"").decode()
        if scope["type"] != "http" or scope["path"] != "/mcp":
            return await self._app(scope, receive, send)
        visit = visits.setdefault(query.removeprefix("key="), Visit())
        listens = scope["method"] == "GET"
        answered = complete = False

        async def observed_receive():
            message = await receive()
            if message["type"] == "http.disconnect" and not complete and not listens:
                visit.seen["aborted"] = streams.now_ms()
            return message

        async def observed_send(message) -> None:
            nonlocal answered, complete
            await send(message)
            if message["type"] == "http.response.start" and listens:
                answered = True
                visit.seen["listening"] += 1
            if message["type"] == "http.response.body":
                complete = not message.get("more_body", False)
                if complete and visit.finished.is_set():
                    visit.seen["done"] = streams.now_ms()

        try:
            await self._app(scope, observed_receive, observed_send)
        finally:
            if answered:
                visit.seen["listening"] -= 1


keeping = {"event_store": Events(), "retry_interval": 50}
app = server.streamable_http_app(**({} if "forgetful" in sys.argv else keeping))
uvicorn.run(
    Observer(app), port=int(sys.argv[1]), log_level="warning", timeout_keep_alive=60
)
