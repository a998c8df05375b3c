"""An nginx that knows nothing of event streams, in front of the sidecar."""

import pytest

from harness import expect
from harness.clients import leaving, listen
from harness.nginx import Nginx

COUNT, GAP_MS = 8, 200
EVENTS = f"/events?n={COUNT}&gap_ms={GAP_MS}"

pytestmark = pytest.mark.parametrize(
    "backend", ["express", "http_server"], indirect=True
)


def test_nginx_streams_because_the_sidecar_asks_it_to(start, sidecar):
    nginx = start(Nginx, sidecar.url)
    heard = listen("eventsource", nginx.url + EVENTS)
    expect.one_by_one(heard, COUNT, GAP_MS)


def test_nginx_in_front_of_the_backend_makes_a_burst(start, backend):
    """The control: it is not nginx that has become kinder."""
    nginx = start(Nginx, backend.url)
    heard = listen("curl", nginx.url + EVENTS)
    expect.a_burst(heard, COUNT, GAP_MS)


def test_the_backend_misses_a_client_of_nginx(start, sidecar, backend, key):
    nginx = start(Nginx, sidecar.url)
    with leaving("curl", f"{nginx.url}/endless?key={key}") as left:
        expect.soon_after(left, backend.wait_aborted(key))
