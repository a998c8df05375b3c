"""SDKs of models on a route that keeps streams: they are given nothing that they could break on."""

import pytest

from harness.clients import Client
from harness.kept import GRACE
from harness.tap import Tap
from test_llm_sdks import MANNERS, SDKS, meaning

pytestmark = pytest.mark.parametrize("backend", ["llm"], indirect=True)

# A comment with its blank line, which becomes an event in some once an id was seen.
ALL = [*MANNERS, *((*sdk, "comments") for sdk in SDKS)]


@pytest.mark.parametrize(("sdk", "api", "manner"), ALL)
def test_an_sdk_hears_the_same_as_directly(
    backend, sidecar_with, sdk, api, manner, key
):
    with (
        Tap(sidecar_with(GRACE + 'heartbeat.interval = "200ms"').port) as tap,
        Client(sdk, f"{backend.url}/{manner}/{key}", api=api) as direct,
        Client(sdk, f"{tap.url}/{manner}/{key}", api=api) as proxied,
    ):
        expected, heard = direct.until_end(), proxied.until_end()
    assert meaning(heard) == meaning(expected)
    assert len(heard.events) >= 7
    assert b"\nid: _" not in tap.heard
    assert (b"\nid: " in tap.heard) == (manner == "ids")


@pytest.mark.parametrize(
    ("sdk", "api", "manner"), [("openai_python", "chat", "comments")]
)
def test_ids_for_everybody_would_harm(sidecar_with, sdk, api, manner, key):
    """The control: there is a reason for looking at `Accept`."""
    sidecar = sidecar_with(f'{GRACE}resume.ids = "always"')
    url = f"{sidecar.url}/{manner}/{key}"
    with (
        Client(sdk, url, api=api) as client,
        pytest.raises(AssertionError, match="the client failed"),
    ):
        client.until_end()
