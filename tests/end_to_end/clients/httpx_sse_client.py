"""`httpx-sse`."""

import httpx
from httpx_sse import connect_sse

import report

with httpx.Client() as client:
    report.asked()
    with connect_sse(client, "GET", report.options["url"]) as source:
        source.response.raise_for_status()
        for event in source.iter_sse():
            if report.event(event.data, event.event, event.id):
                report.leave(source.response.close)
        report.ended()
