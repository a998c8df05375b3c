"""Pages of another origin resume too, though their backend has never heard of `Last-Event-ID`: what
the browser asks in its preflight is answered for it."""

import json

import pytest

from harness.clients import Client
from harness.feed import Feed
from harness.hop import Hop
from harness.kept import messages, numbers, resumes, wait_detached
from harness.sidecar import Sidecar
from harness.wire import fetch

JSON = {"content-type": "application/json"}
BODY = json.dumps({"prompt": "count"})
ORIGIN = "http://app.example"


@pytest.fixture
def site():
    """Another origin, which has nothing but a page."""
    with Feed() as site:
        yield f"{site.url}/page"


def allowing(site: str) -> str:
    return f"Access-Control-Allow-Origin: {site.removesuffix('/page')}"


def test_a_post_that_is_repeated_passes_its_preflight(keeping, feed, site):
    sidecar = keeping()
    options = {"page": site, "body": BODY, "headers": JSON}
    with (
        Hop(sidecar.port) as hop,
        Client("fetch_event_source_page", f"{hop.url}/count", **options) as reader,
    ):
        asked = feed.request(1)
        asked.begin(allowing(site))
        asked.events(1, 10)
        reader.until_data(10)
        hop.reset()
        wait_detached(sidecar)
        asked.events(11, 15)
        hop.wait_back()
        hop.mend()
        reader.until_data(15)
        asked.events(16, 20)
        reader.until_data(20)
        asked.end()
        heard = reader.until_end()
    assert messages(heard) == numbers(1, 20)
    assert feed.count == 1
    assert resumes(sidecar, "replayed") == 1
    wanted = [
        asked.fields["access-control-request-headers"] for asked in feed.preflights
    ]
    assert len(wanted) >= 2
    assert not any("last-event-id" in names.lower() for names in wanted)


def test_a_page_reads_again_what_its_first_response_named(keeping, feed, site):
    """By a few lines of its own: the name is in a field that it may see."""
    sidecar = keeping()
    with (
        Hop(sidecar.port) as hop,
        Client("own_fetch_page", f"{hop.url}/count", page=site, body=BODY) as reader,
    ):
        asked = feed.request(1)
        asked.begin(allowing(site))
        asked.events(1, 10)
        reader.until_data(10)
        hop.reset()
        wait_detached(sidecar)
        hop.wait_back()
        hop.mend()
        reader.until_data("0", "open")
        asked.events(11, 12)
        reader.until_data(12)
        asked.end()
        heard = reader.until_end()
    [stream] = [each.data for each in heard.events if each.type == "stream"]
    assert stream.startswith("_p")
    assert messages(heard) == numbers(1, 10) + numbers(1, 12)
    assert feed.count == 1


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ("last-event-id", True),
        ("content-type,last-event-id", True),
        ("content-type, Last-Event-ID, x-other", True),
        ("content-type", False),
    ],
)
def test_what_a_preflight_allows(keeping, feed, asked, allowed):
    fields = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": asked,
    }
    answer = fetch(f"{keeping().url}/count", fields, method="OPTIONS")
    lines = answer.headers.get_all("Access-Control-Allow-Headers")
    names = [name.strip() for name in ",".join(lines).lower().split(",")]
    assert ("last-event-id" in names) == allowed
    assert "content-type" in names
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    [preflight] = feed.preflights
    assert (
        "last-event-id"
        not in preflight.fields.get("access-control-request-headers", "").lower()
    )


def test_an_origin_that_the_backend_refuses_stays_refused(keeping, feed):
    feed.allows_origins = False
    fields = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "last-event-id",
    }
    answer = fetch(f"{keeping().url}/count", fields, method="OPTIONS")
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert (
        "last-event-id"
        not in answer.headers.get("Access-Control-Allow-Headers", "").lower()
    )


def test_a_route_that_keeps_nothing_leaves_preflights_alone(start, feed, proxied):
    fields = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "last-event-id",
    }
    answer = fetch(f"{start(Sidecar, feed.url).url}/count", fields, method="OPTIONS")
    assert answer.headers["Access-Control-Allow-Headers"] == feed.allowed
    [preflight] = feed.preflights
    assert preflight.fields["access-control-request-headers"] == "last-event-id"
