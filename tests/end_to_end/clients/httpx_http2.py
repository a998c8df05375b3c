"""`httpx` with HTTP/2: an event stream; leaving is the end of the connection, as it
resets no stream. `authority` names the file of the authority to trust.
"""

import ssl

import httpx
from httpx_sse import EventSource

import report

options = report.options
url, authority = options["url"], options.get("authority")
trust = ssl.create_default_context(cafile=authority) if authority else False

with httpx.Client(http1=False, http2=True, verify=trust) as client:
    report.asked()
    headers = {"Accept": "text/event-stream"}
    with client.stream("GET", url, headers=headers) as response:
        assert response.http_version == "HTTP/2"
        for event in EventSource(response).iter_sse():
            if report.event(event.data, event.event, event.id):
                report.leave(client.close)
        report.ended()
