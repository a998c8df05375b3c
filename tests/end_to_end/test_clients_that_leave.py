"""A client that leaves is missed by the backend within a second.

What counts is the moment its connection closes. That is not always the moment the
program said so: Chromium may read on for five seconds to use the connection again.
"""

import pytest

from harness import expect
from harness.backends import ORDINARY
from harness.clients import GENERAL, leaving
from harness.tap import Tap
from harness.wire import ask, now_ms


@pytest.mark.parametrize("client", GENERAL)
@pytest.mark.parametrize("backend", ORDINARY, indirect=True)
def test_the_backend_misses_a_client_in_mid_stream(sidecar, backend, client, key):
    with Tap(sidecar.port) as tap, leaving(client, f"{tap.url}/endless?key={key}"):
        expect.soon_after(tap.left(key), backend.wait_aborted(key))


@pytest.mark.parametrize("client", GENERAL)
@pytest.mark.parametrize("backend", ["express"], indirect=True)
def test_the_backend_misses_a_client_of_an_idle_stream(sidecar, backend, client, key):
    """No write can fail here: the news has to come from the sidecar."""
    with Tap(sidecar.port) as tap, leaving(client, f"{tap.url}/idle?key={key}", 1):
        expect.soon_after(tap.left(key), backend.wait_aborted(key))


@pytest.mark.parametrize("backend", ["express"], indirect=True)
def test_the_backend_misses_a_client_before_the_head(sidecar, backend, key):
    """It asks and goes while the backend is still thinking."""
    with ask(f"{sidecar.url}/headless?key={key}"):
        backend.wait_opened(key)
        left = now_ms()
    expect.soon_after(left, backend.wait_aborted(key))
