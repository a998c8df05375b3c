"""FastAPI with `sse-starlette`, for uvicorn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing

from fastapi import FastAPI
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import HTMLResponse
from sse_starlette import EventSourceResponse

import streams

app = FastAPI()
app.add_middleware(GZipMiddleware)
visits = streams.Visits()


async def walk(steps: streams.Steps) -> AsyncIterator[bytes]:
    with closing(steps):
        for step in steps:
            if isinstance(step, float):
                await asyncio.sleep(step)
            else:
                yield step


def stream(steps: streams.Steps) -> EventSourceResponse:
    # Its own pings would hide the sidecar's heartbeats.
    return EventSourceResponse(walk(steps), ping=3600)


@app.api_route("/events", methods=["GET", "POST"])
async def events(n: int, gap_ms: float):
    return stream(streams.events(n, gap_ms))


@app.get("/silence")
async def silence(ms: float):
    return stream(streams.silence(ms))


@app.get("/awkward")
async def awkward():
    return stream(streams.awkward())


@app.get("/endless")
async def endless(key: str):
    return stream(visits.endless(key))


@app.get("/probe")
async def probe(key: str):
    return visits.probe(key)


@app.get("/page")
async def page():
    return HTMLResponse(streams.PAGE)
